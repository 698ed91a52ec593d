/** What a daemon says of itself and of what it follows: the answer of `/v1/status`. */
import type { PublisherStatus } from "../events/redis/publisher.js";
import type { ReopenReason } from "../filesystems/follower.js";
import type { WriteCounters } from "../inference/writes.js";
import type { GuestProblem as UnavailableGuest } from "./guest-problem.js";
import type { ProcessFigures } from "./insight/process-figures.js";
import type { Amount } from "./insight/rate.js";
import type { QueueFigures } from "./insight/supervisor-report.js";
import type { VolumeFigures } from "./insight/volume-measures.js";

/** A guest that ought to be shown and is not, or not yet. */
export type { GuestProblem as UnavailableGuest } from "./guest-problem.js";

/** What became of a stream of writes, in bytes; see WriteCounters. */
export interface WriteStatus extends WriteCounters {
  /** Whether it is known what the volume's blocks hold: only then it is told of files. */
  readonly isReady: boolean;
  /** Bytes of memory that this takes. */
  readonly mapBytes: number;
  /** Writes that wait for a commit that explains them. */
  readonly waiting: { readonly ranges: number; readonly bytes: number };
}

/** How a guest's writes come to be known: by looking at its image, or as they happen. */
export interface CaptureStatus {
  readonly capture: "watch" | "stream" | "none";
  readonly writes?: WriteStatus;
}

/**
 * `followed`: current by transaction. `unreadable`: what was read before is shown, and it is tried again. `unfollowed`: it
 * is read afresh each second. Not in the tree: `unsupported`, and `damaged`, as it could not be opened.
 */
export const VOLUME_STATES = ["followed", "unreadable", "unfollowed", "unsupported", "damaged"] as const;

/** How following a volume goes. */
export interface FollowedStatus extends CaptureStatus {
  readonly guest: string;
  /** `sda1` */
  readonly volume: string;
  readonly state: (typeof VOLUME_STATES)[number];
  /** The last transaction that was taken since the start; undefined: none. */
  readonly transaction: number | undefined;
  /** How often it had to be read afresh since the start, when last (ISO 8601), and why. */
  readonly reopened: number;
  readonly lastReopened: string | undefined;
  readonly reason: ReopenReason | undefined;
  /** When the image was last seen (ms since 1970): all that was committed by then is shown. Undefined: not yet. */
  readonly seenAt: number | undefined;
  /** Why it is not followed, or not current; "" if it is. */
  readonly problem: string;
  readonly figures: VolumeFigures;
}

/**
 * How far what is shown is behind the guest, ms. Undefined: nothing has been committed since the start. Nobody but the guest
 * knows what it has committed and not written yet, so there is no single number: `look` is a bound on what can be missing,
 * the others tell of the last commit.
 */
export interface LagStatus {
  /**
   * From the last commit to its being in the tree: its time is the guest's clock's, in steps of some 4 ms, and so has in
   * it how far that clock is from the host's; it can be negative. What was committed while nobody looked does not count.
   */
  readonly commit: number | undefined;
  /** From the beginning of the look that found the last commit to its being in the tree, and the kernel's being told. */
  readonly take: number | undefined;
  /** Since the image was last seen: what was written to it before is shown. */
  readonly look: number | undefined;
}

export interface VolumeStatus extends Omit<FollowedStatus, "seenAt" | "figures"> {
  /** Where the guest has it mounted; none: nowhere, or it cannot be shown. */
  readonly mountPoints: readonly string[];
  /** Whether there is a map of its names, so that events have paths. */
  readonly hasPaths: boolean;
  /** Whether what is shown may be older than a moment ago, as it cannot be read, or is not followed; see `problem`. */
  readonly isStale: boolean;
  readonly lag: LagStatus;
  /** Commits that were taken, parts of transactions (fast commits) included. */
  readonly commits: Amount;
  /** Bytes that the guest wrote: all if `capture` is `stream`, else those that its journal's transactions brought. */
  readonly written: Amount;
  readonly events: Amount;
}

export interface GuestStatus {
  readonly guest: string;
  readonly events: Amount;
  readonly commits: Amount;
  readonly written: Amount;
  /** ms since that of its volumes was seen that was not for longest; undefined: none is followed. */
  readonly look: number | undefined;
  readonly isStale: boolean;
}

/** A process of the daemon. `problem`: why it does not answer; "" if it does. */
export interface ProcessStatus extends Partial<ProcessFigures> {
  /** `tap`: what guests reach by themselves; `attached`: running guests that are attached to. */
  readonly role: "supervisor" | "server" | "tap" | "attached";
  readonly problem: string;
}

/** What users asked of the tree. Errors are answers, too: that there is no such file, most often. */
export interface RequestStatus {
  readonly total: number;
  readonly errors: number;
}

/** Something that is not well. */
export interface Problem {
  /** `guest web`, `volume web/sda1`, `redis`, `process tap`. */
  readonly what: string;
  readonly reason: string;
}

export interface DaemonStatus {
  readonly pid: number;
  readonly host: string;
  /** When the server started, ISO 8601: what is counted is counted from then on. */
  readonly since: string;
  /** Empty: all is well. */
  readonly problems: readonly Problem[];
  readonly guests: readonly string[];
  /** Those that ought to be shown and are not, or not yet. */
  readonly unavailable: readonly UnavailableGuest[];
  /** Of all volumes together. */
  readonly events: Amount;
  readonly commits: Amount;
  readonly written: Amount;
  /** By guest. */
  readonly activity: readonly GuestStatus[];
  readonly processes: readonly ProcessStatus[];
  /** Times that a server was started; undefined: that is not known just now. */
  readonly serverStarts: number | undefined;
  /** The queues in which guests' writes wait. */
  readonly queues: readonly QueueFigures[];
  /** Undefined: the driver does not count them. */
  readonly requests: RequestStatus | undefined;
  readonly volumes: readonly VolumeStatus[];
  /** Undefined: events are not published. */
  readonly redis: PublisherStatus | undefined;
}
