/**
 * Which files have been read since their kernel's copies were dropped last, in memory that threads share: a file that
 * nobody has read since has no pages that could be old, and need not be dropped again. Files share marks; a mark too many
 * costs a notification.
 */

/** A power of two. */
const MARKS = 1 << 16;

export class ReadMarks {
  /** For another thread. */
  readonly shared: SharedArrayBuffer;
  readonly #marks: Uint8Array;
  /** By mark: the round in which it was taken last. */
  #rounds: Uint32Array | undefined;
  #round = 0;
  /** What was found then. */
  #taken: Uint8Array | undefined;

  constructor(shared = new SharedArrayBuffer(MARKS)) {
    this.shared = shared;
    this.#marks = new Uint8Array(shared);
  }

  /**
   * A file is about to be read. To be called before its bytes are: the kernel drops no page that it waits for, so whoever
   * takes the mark after this drops what this read brings.
   */
  mark(high: number, low: number): void {
    this.#marks[(low ^ high) & (MARKS - 1)] = 1;
  }

  /** Begins a round, in which each mark is taken once for all files that share it. */
  nextRound(): void {
    this.#round++;
  }

  /** Whether a file may have been read since the last round. To be called before it is dropped. */
  take(high: number, low: number): boolean {
    const at = (low ^ high) & (MARKS - 1);
    this.#rounds ??= new Uint32Array(MARKS);
    this.#taken ??= new Uint8Array(MARKS);
    if (this.#rounds[at] !== this.#round) {
      this.#rounds[at] = this.#round;
      this.#taken[at] = Atomics.exchange(this.#marks, at, 0);
    }
    return this.#taken[at] === 1;
  }
}
