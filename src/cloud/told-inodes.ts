/**
 * The inodes that somebody was told of, each with the generation it was told with last: a bit and a word for each, in
 * pages that are made when they are needed.
 */
const PAGE = 1024;

interface Page {
  readonly bits: Uint8Array;
  readonly generations: Uint32Array;
}

export class ToldInodes {
  readonly #pages = new Map<number, Page>();
  #lastPage = -1;
  #last: Page | undefined;

  add(ino: number, generation: number): void {
    const page = this.#page(ino) ?? this.#newPage(ino);
    const at = ino % PAGE;
    page.bits[at >> 3] = (page.bits[at >> 3] as number) | (1 << (at & 7));
    page.generations[at] = generation;
  }

  /** Whether an inode was told with that generation, or not at all. */
  agree(ino: number, generation: number): boolean {
    const page = this.#page(ino);
    if (page === undefined) return true;
    const at = ino % PAGE;
    const isTold = (((page.bits[at >> 3] as number) >> (at & 7)) & 1) !== 0;
    return !isTold || page.generations[at] === generation;
  }

  *[Symbol.iterator](): Generator<number> {
    for (const [number, { bits }] of this.#pages) {
      for (const [at, byte] of bits.entries()) {
        for (let bit = 0; byte >> bit !== 0; bit++) {
          if (((byte >> bit) & 1) !== 0) yield number * PAGE + at * 8 + bit;
        }
      }
    }
  }

  #page(ino: number): Page | undefined {
    const number = Math.floor(ino / PAGE);
    if (number !== this.#lastPage) {
      this.#lastPage = number;
      this.#last = this.#pages.get(number);
    }
    return this.#last;
  }

  #newPage(ino: number): Page {
    const page = { bits: new Uint8Array(PAGE / 8), generations: new Uint32Array(PAGE) };
    this.#pages.set(Math.floor(ino / PAGE), page);
    this.#last = page;
    return page;
  }
}
