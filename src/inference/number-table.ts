/** A table from numbers to numbers in typed arrays: some 16 bytes an entry, and it can be handed to another thread. */

/** What a table consists of. */
export interface NumberTableParts {
  readonly slots: Uint32Array;
  readonly size: number;
  readonly seed: number;
}

const SMALLEST = 16;

/** Keys from 1 to 2^32 - 1, values from 0 on. Open addressing; keys come from guests, so the hash is seeded. */
export class NumberTable {
  /** Key and value of each slot; key 0: free. */
  #slots: Uint32Array;
  #mask: number;
  #size: number;
  readonly #seed: number;

  constructor(parts?: NumberTableParts) {
    this.#slots = parts?.slots ?? new Uint32Array(SMALLEST * 2);
    this.#mask = this.#slots.length / 2 - 1;
    this.#size = parts?.size ?? 0;
    this.#seed = parts?.seed ?? Math.floor(Math.random() * 2 ** 32);
  }

  get size(): number {
    return this.#size;
  }

  get bytes(): number {
    return this.#slots.byteLength;
  }

  /** The value of a key; undefined if it has none. */
  get(key: number): number | undefined {
    const at = this.#find(key);
    return this.#slots[at * 2] === 0 ? undefined : this.#slots[at * 2 + 1];
  }

  set(key: number, value: number): void {
    const at = this.#find(key);
    const isNew = this.#slots[at * 2] === 0;
    this.#slots[at * 2] = key;
    this.#slots[at * 2 + 1] = value;
    if (isNew && ++this.#size * 4 > (this.#mask + 1) * 3) this.#grow();
  }

  delete(key: number): void {
    const slots = this.#slots;
    let gap = this.#find(key);
    if (slots[gap * 2] === 0) return;
    this.#size--;
    // What comes later and may not stay behind a free slot moves up.
    for (let at = (gap + 1) & this.#mask; slots[at * 2] !== 0; at = (at + 1) & this.#mask) {
      const home = this.#hash(slots[at * 2] as number);
      if (((at - home) & this.#mask) < ((at - gap) & this.#mask)) continue;
      slots[gap * 2] = slots[at * 2] as number;
      slots[gap * 2 + 1] = slots[at * 2 + 1] as number;
      gap = at;
    }
    slots[gap * 2] = 0;
  }

  /** Keys and values, in no order. */
  *entries(): Generator<readonly [number, number]> {
    for (let at = 0; at < this.#slots.length; at += 2) {
      if (this.#slots[at] !== 0) yield [this.#slots[at] as number, this.#slots[at + 1] as number];
    }
  }

  /** The table itself, no copy. */
  toParts(): NumberTableParts {
    return { slots: this.#slots, size: this.#size, seed: this.#seed };
  }

  /** The slot of a key, or the free one in which it would be. */
  #find(key: number): number {
    const slots = this.#slots;
    let at = this.#hash(key);
    for (let found = slots[at * 2]; found !== key && found !== 0; found = slots[at * 2])
      at = (at + 1) & this.#mask;
    return at;
  }

  #hash(key: number): number {
    let h = key ^ this.#seed;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return (h ^ (h >>> 16)) & this.#mask;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Uint32Array(old.length * 2);
    this.#mask = old.length - 1;
    for (let at = 0; at < old.length; at += 2) {
      const key = old[at] as number;
      if (key === 0) continue;
      const to = this.#find(key) * 2;
      this.#slots[to] = key;
      this.#slots[to + 1] = old[at + 1] as number;
    }
  }
}
