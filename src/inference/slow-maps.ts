/**
 * Files whose maps take long to walk through, as those of many small pieces: they are not walked through again with each
 * commit, so that no more than a small part of the time goes there.
 */

/** Pieces of a map that is walked through each time; of a longer one, ms for each piece until the next walk. */
const QUICK = 2000;
const REST = 0.02;
/** Files that are remembered. */
const MOST = 10_000;

export class SlowMaps {
  /** By inode: ms of the next walk. */
  readonly #notBefore = new Map<number, number>();
  /** Those that have changed since their last one. */
  readonly #postponed = new Set<number>();

  /** An inode's map has been walked through, and had so many pieces. */
  walked(ino: number, pieces: number, now: number): void {
    this.#postponed.delete(ino);
    this.#notBefore.delete(ino);
    if (pieces <= QUICK) return;
    if (this.#notBefore.size >= MOST) this.#notBefore.clear();
    this.#notBefore.set(ino, now + pieces * REST);
  }

  /** An inode has changed: whether its map is walked through later. */
  postpones(ino: number, now: number): boolean {
    if (this.#notBefore.size === 0 || now >= (this.#notBefore.get(ino) ?? 0)) return false;
    this.#postponed.add(ino);
    return true;
  }

  /** Those whose time has come. */
  due(now: number): number[] {
    if (this.#postponed.size === 0) return [];
    return [...this.#postponed].filter((ino) => now >= (this.#notBefore.get(ino) ?? 0));
  }

  clear(): void {
    this.#notBefore.clear();
    this.#postponed.clear();
  }
}
