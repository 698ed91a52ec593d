/**
 * The watchdog: a small process beside the one that acknowledges guests' writes. If that hangs, a guest that writes
 * waits, and its QEMU no longer answers; the watchdog kills it, which ends its connections, and the guest goes on. When
 * it is gone, the watchdog takes away what it has left in the guests' QEMUs, and ends.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { GuardedGuest } from "./attachment.js";
import { clearGuest } from "./clearing.js";
import { type Session, sessionOf } from "./session.js";
import { threadState } from "./thread-state.js";
import { BEAT, BEATS_ANSWERED, type GuardList, Lines } from "./watchdog-messages.js";

/** Looks in a row that find no heartbeat until the other one counts as hung. */
const MOST_SILENT = 4;
/** After so many it is looked at what it does. */
const SUSPECT = 2;
/** And if it wants the processor, and does not get it: the machine has too much to do. */
const MOST_STARVED = 7;
/** Who has had less than this part of a processor does not get it. */
const STARVED = 0.5;
/** What a look counts that comes this many ms late: the machine stood still, and perhaps not the other one alone. */
const LATE = BEAT;
const LATE_LOOK = 0.25;
/** How often a guest is tried to be cleared, and ms between. */
const TRIES = 10;
const PAUSE = 500;

/** Watches over the parent process, until that is gone. */
export function watch(): void {
  new Watchdog(process.ppid);
}

class Watchdog {
  readonly #parent: number;
  readonly #session: Session;
  readonly #timer: NodeJS.Timeout;
  #thread = "";
  /** When heartbeats had been missed for a while, and what the thread had had of a processor by then, ms. */
  #silentSince = 0;
  #usedBefore = 0;
  #guests: readonly GuardedGuest[] = [];
  #beats = 0;
  #silent = 0;
  #lastLook = performance.now();
  #isEnding = false;

  constructor(parent: number) {
    this.#parent = parent;
    this.#session = sessionOf(parent);
    // Whoever ends both wants the guests cleared, too.
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
    const lines = new Lines();
    process.stdout.on("error", () => {});
    process.stderr.on("error", () => {});
    process.stdin.on("error", () => this.#end());
    process.stdin.on("end", () => this.#end());
    process.stdin.setEncoding("utf8").on("data", (piece: string) => {
      this.#silent = 0;
      for (const line of lines.take(piece)) {
        if (line !== "") process.stdout.write(`${this.#take(line)}\n`);
        else if (++this.#beats % BEATS_ANSWERED === 0) process.stdout.write("\n");
      }
    });
    this.#timer = setInterval(() => this.#look(), BEAT);
  }

  /** Returns the list's number. */
  #take(line: string): number {
    const { number, thread, guests } = JSON.parse(line) as GuardList;
    this.#thread = thread;
    this.#guests = guests;
    return number;
  }

  #look(): void {
    const now = performance.now();
    const before = this.#silent;
    this.#silent += now - this.#lastLook > BEAT + LATE ? LATE_LOOK : 1;
    this.#lastLook = now;
    if (before < SUSPECT && this.#silent >= SUSPECT) {
      this.#silentSince = now;
      this.#usedBefore = threadState(this.#thread)?.used ?? 0;
    }
    // What has come in the meantime is read first.
    if (this.#silent >= MOST_SILENT) setImmediate(() => this.#judge());
  }

  #judge(): void {
    if (this.#silent < MOST_SILENT || this.#guests.length === 0 || this.#isEnding) return;
    // Its number is its own as long as this process is its child.
    if (process.ppid !== this.#parent) return;
    if (this.#silent < MOST_STARVED && this.#isStarved()) return;
    process.stderr.write(
      `slashcloud: process ${this.#parent} does not acknowledge guests' writes any more and is killed\n`,
    );
    process.kill(this.#parent, "SIGKILL");
  }

  #isStarved(): boolean {
    const state = threadState(this.#thread);
    if (state === undefined || !state.isRunnable) return false;
    return state.used - this.#usedBefore < STARVED * (performance.now() - this.#silentSince);
  }

  #end(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    clearInterval(this.#timer);
    void Promise.all(this.#guests.map((guest) => this.#clear(guest))).then(() => process.exit());
  }

  async #clear(guest: GuardedGuest): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        await clearGuest(guest, this.#session.owns);
        return;
      } catch (error) {
        if (tries < TRIES) await sleep(PAUSE);
        else {
          const { message } = error as Error;
          process.stderr.write(
            `slashcloud: ${message}; what is left in this guest is taken away when it is attached to again\n`,
          );
          return;
        }
      }
    }
  }
}
