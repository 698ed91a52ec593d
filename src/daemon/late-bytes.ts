/**
 * Files whose bytes may come later than the commit that tells of a change: one that is written over in place changes its
 * mtime in the journal at once, its bytes when the guest writes its cache back, or with an fsync that leaves no trace in
 * the journal, as another's has committed the mtime before. The kernel's copies of what has been read are dropped again
 * until then.
 */
import type { ReadMarks } from "../cloud/read-marks.js";
import type { Notifications } from "./notifying.js";

/** ms between looks at which files have been read. */
const EVERY = 100;
/**
 * ms after a change for which a file's bytes may be yet to come: Linux waits 30 s at most, and looks every 5 s
 * (dirty_expire_centisecs, dirty_writeback_centisecs).
 */
const WRITTEN_WITHIN = 36_000;
/** Files that are remembered. */
const MOST_PENDING = 10_000;

/** A file whose bytes may still change. */
interface Pending {
  readonly high: number;
  readonly low: number;
  readonly changed: number;
  /** Whether it may have been read before it was remembered. */
  isRead: boolean;
}

export class LateBytes {
  readonly #pending = new Map<string, Pending>();
  readonly #isTold: (high: number) => boolean;
  readonly #marks: ReadMarks;
  #notifier: Notifications | undefined;
  /** While files are pending. */
  #timer: NodeJS.Timeout | undefined;

  /**
   * `isTold`: whether somebody tells, by the upper half of a node id, when bytes come, so that nothing need be guessed.
   * `marks`: what has been read.
   */
  constructor(isTold: (high: number) => boolean, marks: ReadMarks) {
    this.#isTold = isTold;
    this.#marks = marks;
  }

  start(notifier: Notifications): void {
    this.#notifier = notifier;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#notifier = undefined;
  }

  /** A file has changed. `changed`: ms. */
  remember(high: number, low: number, changed: number): void {
    if (this.#notifier === undefined) return;
    const key = `${high} ${low}`;
    this.#pending.delete(key);
    if (this.#pending.size >= MOST_PENDING) this.#pending.delete(this.#pending.keys().next().value as string);
    this.#pending.set(key, { high, low, changed, isRead: true });
    this.#timer ??= setInterval(() => this.#dropAgain(), EVERY);
  }

  #dropAgain(): void {
    const now = performance.now();
    this.#marks.nextRound();
    for (const [key, pending] of this.#pending) {
      // Once more after the end: its bytes may have come just before.
      if (now - pending.changed >= WRITTEN_WITHIN) this.#pending.delete(key);
      const isRead = this.#marks.take(pending.high, pending.low) || pending.isRead;
      // It is remembered all the same: who tells may end.
      pending.isRead = isRead && this.#isTold(pending.high);
      if (isRead && !pending.isRead) this.#notifier?.invalidateInode(pending.high, pending.low);
    }
    if (this.#pending.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
