/** A process that attaches to guests, as the tests drive it, and what QEMU tells of itself before and after. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { isDeepStrictEqual } from "node:util";
import type { AttachedDisk } from "../../src/capture/qmp/attachment.js";
import type { QmpClient } from "../../src/capture/qmp/qmp-client.js";
import { endWithTests } from "./images-mount.js";
import { until } from "./nbd-tap.js";

/** What qmp-tap.mjs tells. */
export interface Told {
  readonly kind: "attached" | "lost" | "done" | "failed" | "ended" | "log";
  readonly disks?: AttachedDisk[];
  readonly index?: number;
  readonly reason?: string;
  readonly canReattach?: boolean;
  readonly line?: string;
}

export interface AttachingOptions {
  readonly socket: string;
  readonly disks?: readonly string[];
  /**
   * By default the tap has a thread of its own, and what is written is recorded in the folder, as disk0.rec, ...; false:
   * it is in the main thread, and records nothing.
   */
  readonly thread?: boolean;
}

export class Attaching {
  readonly folder: string;
  readonly told: Told[] = [];
  readonly #child: ChildProcess;
  #hasEnded = false;
  #stderr = "";

  /** Begins in a folder that it makes. */
  constructor(folder: string, options: AttachingOptions) {
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
    const program = join(import.meta.dirname, "qmp-tap.mjs");
    this.#child = spawn(process.execPath, [program, JSON.stringify({ folder, ...options })], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    endWithTests(this.#child);
    this.#child.stdin!.on("error", () => {});
    this.#child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr += text;
    });
    createInterface({ input: this.#child.stdout! }).on("line", (line) => this.told.push(JSON.parse(line)));
    this.#child.on("exit", () => {
      this.#hasEnded = true;
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** The process of its watchdog. */
  get watchdog(): number {
    return Number(execFileSync("pgrep", ["-P", `${this.pid}`, "-f", "watchdog"], { encoding: "utf8" }));
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** What it and its watchdog complained of. */
  get complaints(): string {
    return this.#stderr + this.told.map(({ line }) => line ?? "").join("\n");
  }

  find(kind: Told["kind"]): Told | undefined {
    return this.told.find((one) => one.kind === kind);
  }

  /** Waits for something to be told. */
  async hears(kind: Told["kind"]): Promise<Told> {
    await until(
      () => this.find(kind) !== undefined || this.#hasEnded,
      `never told: ${kind}\n${this.complaints}`,
    );
    const told = this.find(kind);
    if (told === undefined) throw new Error(`it ended without: ${kind}\n${this.complaints}`);
    return told;
  }

  async attached(): Promise<AttachedDisk[]> {
    return (await this.hears("attached")).disks!;
  }

  /** Forgets what was told, and tells a command, which need not be answered. */
  tell(command: string): void {
    this.told.length = 0;
    this.#child.stdin!.write(`${command}\n`);
  }

  async does(command: string): Promise<void> {
    this.tell(command);
    await this.hears("done");
  }

  /** Ends the attachment; done when the process has ended. */
  async detach(): Promise<void> {
    this.tell("detach");
    await this.hears("ended");
    await this.ended();
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async ended(): Promise<void> {
    await until(() => this.#hasEnded, "it does not end");
  }
}

/** What changes as a guest writes: what its disks' files have. */
const CHANGING = new Set(["actual-size", "virtual-size"]);

/** All that QEMU tells of disks, but for what changes by itself. */
export async function blockState(monitor: QmpClient): Promise<unknown> {
  const queries = ["query-block", "query-named-block-nodes", "query-jobs", "query-block-exports"];
  const answers = await Promise.all(queries.map((query) => monitor.execute(query)));
  return answers.map((answer) =>
    (answer as unknown[])
      .map((one) => JSON.stringify(one, (key, value) => (CHANGING.has(key) ? undefined : value)))
      .sort(),
  );
}

/** Waits until a QEMU is as it was. */
export async function waitForState(monitor: QmpClient, state: unknown): Promise<void> {
  const limit = performance.now() + 90_000;
  for (;;) {
    const now = await blockState(monitor);
    if (isDeepStrictEqual(now, state)) return;
    if (performance.now() > limit) throw new Error(`QEMU is not as it was: ${JSON.stringify(now)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Writes that QEMU has done for a guest's disks. */
export interface Writes {
  readonly count: number;
  readonly failed: number;
  /** Those that the guest waited for longer than a second. */
  readonly slow: number;
  /** ms below which all are: 10, 100, 250, 500, 750, 1000, or Infinity. */
  readonly longest: number;
}

const BOUNDARIES = [10, 100, 250, 500, 750, 1000];

/** Counts from now on how long a guest waits for each write. */
export async function timeWrites(monitor: QmpClient): Promise<void> {
  for (const { qdev } of (await monitor.execute("query-block")) as Array<{ qdev?: string }>) {
    if (qdev === undefined) continue;
    await monitor.execute("block-latency-histogram-set", { id: qdev });
    await monitor.execute("block-latency-histogram-set", {
      id: qdev,
      "boundaries-write": BOUNDARIES.map((ms) => ms * 1e6),
    });
  }
}

export async function writes(monitor: QmpClient): Promise<Writes> {
  const all = (await monitor.execute("query-blockstats")) as Array<{
    stats: {
      wr_operations: number;
      failed_wr_operations: number;
      wr_latency_histogram?: { bins: number[] };
    };
  }>;
  const bins = BOUNDARIES.concat(Infinity).map((_, i) =>
    all.reduce((sum, { stats }) => sum + (stats.wr_latency_histogram?.bins[i] ?? 0), 0),
  );
  return {
    count: all.reduce((sum, { stats }) => sum + stats.wr_operations, 0),
    failed: all.reduce((sum, { stats }) => sum + stats.failed_wr_operations, 0),
    slow: bins.at(-1)!,
    longest: BOUNDARIES[bins.findLastIndex((count) => count > 0)] ?? Infinity,
  };
}
