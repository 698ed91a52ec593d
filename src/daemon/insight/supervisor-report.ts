/** What the supervisor knows of the daemon that a server does not: itself, and the processes that tap guests' writes. */
import type { CaptureKind } from "../../capture/feed/frames.js";
import type { QueueCounters } from "../../queue/write-queue.js";
import { ownFigures, type ProcessFigures } from "./process-figures.js";

/** The queue of a disk whose writes are told. */
export interface QueueFigures {
  readonly guest: string;
  /** `sda` */
  readonly disk: string;
  readonly capture: CaptureKind;
  readonly counters: QueueCounters;
}

/** What a process that taps says of itself. */
export interface TapFigures {
  readonly process: ProcessFigures;
  readonly queues: readonly QueueFigures[];
}

/** One as the supervisor sees it. `problem`: why it does not answer; "" if it does. */
export interface TapReport {
  /** `tap`: what guests reach by themselves; `attached`: running guests that are attached to. */
  readonly role: "tap" | "attached";
  readonly problem: string;
  readonly figures: TapFigures | undefined;
}

export interface SupervisorReport {
  readonly process: ProcessFigures;
  /** Servers that were started, the first and those that took over included. */
  readonly serverStarts: number;
  readonly taps: readonly TapReport[];
}

/** Something that can be asked about its process; undefined: there is none. */
export interface ReportingTap {
  report(): Promise<Omit<TapReport, "role"> | undefined>;
}

/** Asks all. Never rejects. */
export async function supervisorReport(
  taps: { readonly tap: ReportingTap | undefined; readonly attached: ReportingTap },
  serverStarts: number,
): Promise<SupervisorReport> {
  const asked = (["tap", "attached"] as const).map(async (role) => {
    const report = await taps[role]?.report();
    return report && { role, ...report };
  });
  const found = await Promise.all(asked);
  return {
    process: ownFigures(),
    serverStarts,
    taps: found.filter((report) => report !== undefined),
  };
}
