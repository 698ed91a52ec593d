/** Records of a few 32-bit words each, in slabs that stay where they are as more come. */

/** Records of a slab, a power of two. */
const SLAB_BITS = 12;
const SLAB = 1 << SLAB_BITS;

/** What records consist of. */
export interface RecordsParts {
  readonly slabs: readonly Uint32Array[];
  readonly length: number;
}

export class Records {
  /** Words of a record. */
  readonly #each: number;
  readonly #slabs: Uint32Array[];
  #length: number;

  constructor(each: number, parts?: RecordsParts) {
    this.#each = each;
    this.#slabs = [...(parts?.slabs ?? [])];
    this.#length = parts?.length ?? 0;
  }

  /** How many there are. */
  get length(): number {
    return this.#length;
  }

  get bytes(): number {
    return this.#slabs.length * SLAB * this.#each * 4;
  }

  /** Adds records that are all zeros; returns the index of the first. */
  grow(count: number): number {
    const first = this.#length;
    this.#length += count;
    while (this.#slabs.length * SLAB < this.#length) this.#slabs.push(new Uint32Array(SLAB * this.#each));
    return first;
  }

  /** The slab that a record lies in, at `at(index)`. */
  words(index: number): Uint32Array {
    return this.#slabs[Math.floor(index / SLAB)] as Uint32Array;
  }

  at(index: number): number {
    return (index & (SLAB - 1)) * this.#each;
  }

  /** The records themselves, no copy. */
  toParts(): RecordsParts {
    return { slabs: this.#slabs, length: this.#length };
  }
}
