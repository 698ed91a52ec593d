/** Files whose bytes may come later than the commit that tells of a change: the kernel's copies of them are dropped again. */
import type { Notifications } from "./notifying.js";

/**
 * A file that is written over in place changes its mtime in the journal at once, its bytes when the guest writes its
 * cache back: ms after a change at which the kernel's copy of a file is dropped again. Linux waits 30 s at most, and
 * looks every 5 s (dirty_expire_centisecs, dirty_writeback_centisecs).
 */
const AGAIN_AFTER = [1000, 3000, 6000, 12_000, 20_000, 36_000];
/** Files that are remembered for that. */
const MOST_AGAIN = 10_000;
/**
 * Those that changed last are dropped more often, in ms: when others' fsync has committed a file's mtime and size before its
 * bytes were written, its own fsync writes the bytes and leaves no trace in the journal.
 */
const LATEST_EVERY = 100;
const MOST_LATEST = 64;
/** A file whose bytes may still change. */
interface Pending {
  readonly high: number;
  readonly low: number;
  readonly changed: number;
  done: number;
}

export class LateBytes {
  readonly #pending = new Map<string, Pending>();
  readonly #isTold: (high: number) => boolean;
  #notifier: Notifications | undefined;
  /** While files are pending. */
  #timer: NodeJS.Timeout | undefined;

  /** `isTold`: whether somebody tells, by the upper half of a node id, when bytes come, so that nothing need be guessed. */
  constructor(isTold: (high: number) => boolean) {
    this.#isTold = isTold;
  }

  start(notifier: Notifications): void {
    this.#notifier = notifier;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#notifier = undefined;
  }

  /** A file has changed. `changed`: ms. */
  remember(high: number, low: number, changed: number): void {
    if (this.#notifier === undefined) return;
    const key = `${high} ${low}`;
    this.#pending.delete(key);
    if (this.#pending.size >= MOST_AGAIN) this.#pending.delete(this.#pending.keys().next().value as string);
    this.#pending.set(key, { high, low, changed, done: 0 });
    this.#timer ??= setInterval(() => this.#notifyAgain(), LATEST_EVERY);
  }

  #notifyAgain(): void {
    const now = performance.now();
    let left = this.#pending.size;
    for (const [key, pending] of this.#pending) {
      const isLatest = left-- <= MOST_LATEST;
      const due = AGAIN_AFTER[pending.done];
      if (due === undefined) this.#pending.delete(key);
      else if (isLatest || now - pending.changed >= due) {
        if (now - pending.changed >= due) pending.done++;
        // It is remembered all the same: who tells may end.
        if (!this.#isTold(pending.high)) this.#notifier?.invalidateInode(pending.high, pending.low);
      }
    }
    if (this.#pending.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
