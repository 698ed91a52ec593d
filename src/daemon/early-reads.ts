/**
 * Files that are read soon after the start and were changed shortly before it. Their bytes may be still in the guest's
 * cache, though its file system has committed the change; who follows the guest knows of later changes only.
 */
import type { ChangedReads } from "../cloud/cloud-tree.js";

/** ms for which a change may wait in a guest's cache, and some for clocks that differ (see AGAIN_AFTER in following.ts). */
const LATEST = 60_000;

export class EarlyReads implements ChangedReads {
  changedSince = (Date.now() - LATEST) / 1000;
  readonly #until = performance.now() + LATEST;
  readonly #told = new Map<number, number>();
  readonly #tell: (high: number, low: number) => void;

  /** `tell` is called for each such file. */
  constructor(tell: (high: number, low: number) => void) {
    this.#tell = tell;
  }

  read(high: number, low: number): void {
    if (performance.now() > this.#until) {
      this.changedSince = Number.POSITIVE_INFINITY;
      this.#told.clear();
    } else if (this.#told.get(low) !== high) {
      this.#told.set(low, high);
      this.#tell(high, low);
    }
  }
}
