/** What a guest did to its disk, in the form that every capture yields. */

/**
 * - `write`: bytes, in `data` unless the capture leaves them out
 * - `zeroes`: the range reads as zeros from now on
 * - `discard`: the guest needs the range no longer; what it holds from now on is not said
 * - `flush`: what was acknowledged before it was asked for is durable; it has no range
 * - `gap`: the range was written to, and what was written is lost: only the disk itself tells
 */
export type WriteKind = "write" | "zeroes" | "discard" | "flush" | "gap";

/** By the numbers that stand for them where records are sent from one thread or process to another. */
export const WRITE_KINDS: readonly WriteKind[] = ["write", "zeroes", "discard", "flush", "gap"];

/** One request, in the order in which requests took effect. */
export interface WriteRecord {
  readonly kind: WriteKind;
  /** Bytes from the disk's beginning. */
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
  /**
   * `length` bytes of a `write`, or undefined if its source leaves them out, as nobody wants them; undefined for all
   * others. Nobody may change them.
   */
  readonly data: Buffer | undefined;
  /** The guest asked for the write itself to be durable before it is acknowledged. */
  readonly fua: boolean;
  /** Counts a disk's requests from 1 on. A gap has the number of the last write that it stands for. */
  readonly sequence: number;
  /** The host's clock when the request was done, ms since 1970; 0 where the source does not tell. */
  readonly time: number;
}

/** Takes records as they happen. */
export interface WriteSink {
  /**
   * Takes one. Must not throw. A promise asks the disk's writer to wait for it before it writes more; undefined, the
   * usual answer, lets it go on.
   */
  take(record: WriteRecord): Promise<void> | undefined;
}
