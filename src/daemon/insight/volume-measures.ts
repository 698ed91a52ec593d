/** What is measured of a volume while it is followed. */
import type { Step } from "../../filesystems/follower.js";
import { LAG_BOUNDS, Lag, type LagCounts } from "./lag.js";
import { type Amount, NOTHING, Rate } from "./rate.js";

/** As it passes between threads. */
export interface VolumeFigures {
  /** Commits that were taken: transactions, and parts of transactions (fast commits). */
  readonly commits: Amount;
  /** Bytes that the guest wrote, as far as they were seen. */
  readonly written: Amount;
  /** From a commit, by the guest's clock, to its being taken, by the host's. */
  readonly commitLag: LagCounts;
  /** From the beginning of the look that found it. */
  readonly takeLag: LagCounts;
}

const NO_LAG: LagCounts = { last: undefined, count: 0, sum: 0, upTo: LAG_BOUNDS.map(() => 0) };

/** Of what is not followed. */
export const NO_FIGURES: VolumeFigures = {
  commits: NOTHING,
  written: NOTHING,
  commitLag: NO_LAG,
  takeLag: NO_LAG,
};

export class VolumeMeasures {
  readonly #commits = new Rate();
  readonly #written = new Rate();
  readonly #commitLag = new Lag();
  readonly #takeLag = new Lag();

  /**
   * A look that began at `begun` (ms of performance.now()) has found these, and they have been taken: readers see them.
   * `isStreamed`: bytes are told by a stream of writes, and not to be counted here. `isLate`: they are what was committed
   * while nobody looked, of which no lag is told.
   */
  took(steps: readonly Step[], begun: number, isStreamed: boolean, isLate: boolean): void {
    if (steps.length === 0) return;
    const now = performance.now();
    const today = Date.now();
    let bytes = 0;
    for (const { commit, seconds, nanoseconds } of steps) {
      bytes += commit.bytes.length;
      if (isLate) continue;
      this.#commitLag.note(today - seconds * 1000 - nanoseconds / 1e6);
      this.#takeLag.note(now - begun);
    }
    this.#commits.add(steps.length, now);
    if (!isStreamed) this.#written.add(bytes, now);
  }

  /** So many bytes were written, as a stream of writes tells. */
  wrote(bytes: number): void {
    this.#written.add(bytes, performance.now());
  }

  get figures(): VolumeFigures {
    const now = performance.now();
    return {
      commits: this.#commits.amount(now),
      written: this.#written.amount(now),
      commitLag: this.#commitLag.counts,
      takeLag: this.#takeLag.counts,
    };
  }
}
