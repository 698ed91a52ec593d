/** The ranges of one file that were written, joined where they touch. */

/** Ranges that are told: near ones become one, with what lies between. */
const MOST_TOLD = 64;
/** Ranges after which they are joined, for the memory that they take. */
const MOST_HELD = 1024;

export class WrittenRanges {
  /** First bytes and the bytes after the last ones. */
  #starts: number[] = [];
  #ends: number[] = [];
  #joinAt = MOST_HELD;

  add(start: number, end: number): void {
    const last = this.#starts.length - 1;
    if (last >= 0 && start === this.#ends[last]) this.#ends[last] = end;
    else {
      this.#starts.push(start);
      this.#ends.push(end);
      if (this.#starts.length < this.#joinAt) return;
      this.#join();
      // Scattered over a large file, there can be many: then only what will be told is held.
      if (this.#starts.length > MOST_HELD / 2) this.#reduce();
    }
  }

  /** Offsets and lengths in pairs, in order and apart. */
  toPairs(): readonly (readonly [number, number])[] {
    this.#join();
    this.#reduce();
    return this.#starts.map((start, n) => [start, (this.#ends[n] as number) - start] as const);
  }

  #join(): void {
    const order = this.#starts
      .map((_, n) => n)
      .sort((a, b) => (this.#starts[a] as number) - (this.#starts[b] as number));
    const starts: number[] = [];
    const ends: number[] = [];
    for (const n of order) {
      const [start, end] = [this.#starts[n] as number, this.#ends[n] as number];
      const last = ends.length - 1;
      if (last >= 0 && start <= (ends[last] as number)) ends[last] = Math.max(ends[last] as number, end);
      else {
        starts.push(start);
        ends.push(end);
      }
    }
    this.#starts = starts;
    this.#ends = ends;
  }

  /** Leaves the widest gaps only, where there are too many ranges. They are in order and apart. */
  #reduce(): void {
    const { length } = this.#starts;
    if (length <= MOST_TOLD) return;
    const gap = (n: number): number => (this.#starts[n] as number) - (this.#ends[n - 1] as number);
    const widest = Array.from({ length: length - 1 }, (_, n) => n + 1)
      .sort((a, b) => gap(b) - gap(a) || a - b)
      .slice(0, MOST_TOLD - 1)
      .sort((a, b) => a - b);
    const firsts = [0, ...widest];
    this.#ends = firsts.map((_, n) => this.#ends[(firsts[n + 1] ?? length) - 1] as number);
    this.#starts = firsts.map((first) => this.#starts[first] as number);
  }
}
