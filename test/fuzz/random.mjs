/** Numbers that look random and are the same for the same seed (mulberry32). */
export class Random {
  #state;

  constructor(seed) {
    // Neighbouring seeds must not begin alike.
    this.#state = Math.imul(seed ^ (seed / 2 ** 32), 0x9e3779b1) ^ 0x5bd1e995;
  }

  /** 32 bits. */
  bits() {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** A whole number from 0 up to, and without, `limit`. */
  below(limit) {
    return Math.floor((this.bits() / 2 ** 32) * limit);
  }

  /** Whether something happens that does so once in `n` times. */
  oneIn(n) {
    return this.below(n) === 0;
  }

  pick(list) {
    return list[this.below(list.length)];
  }
}
