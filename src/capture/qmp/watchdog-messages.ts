/**
 * What a watchdog and its keeper tell each other, over the watchdog's standard input and output: lines. An empty one is a
 * heartbeat, and every tenth is answered by an empty one. Another one is a list, and is answered by its number.
 */
import type { GuardedGuest } from "./attachment.js";

/** ms from heartbeat to heartbeat, and between two looks whether there was one. */
export const BEAT = 100;

/** Of so many heartbeats one is answered. */
export const BEATS_ANSWERED = 10;

/** All that is guarded from now on. */
export interface GuardList {
  readonly number: number;
  /** Whose heartbeats these are, as `thisThread` has it. */
  readonly thread: string;
  readonly guests: readonly GuardedGuest[];
}

/** Splits what comes in pieces into lines. Neither end sends much, nor lies. */
export class Lines {
  #rest = "";

  take(piece: string): string[] {
    const lines = (this.#rest + piece).split("\n");
    this.#rest = lines.pop()!;
    return lines;
  }
}
