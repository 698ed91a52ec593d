/** A set of inode numbers: a bit for each, in pages that are made when they are needed. */
const PAGE_BITS = 65536;

export class InodeSet {
  readonly #pages = new Map<number, Uint8Array>();
  #lastPage = -1;
  #last: Uint8Array = new Uint8Array(0);

  add(ino: number): void {
    const number = Math.floor(ino / PAGE_BITS);
    if (number !== this.#lastPage) this.#turnTo(number);
    const bit = ino % PAGE_BITS;
    this.#last[bit >> 3] = (this.#last[bit >> 3] as number) | (1 << (bit & 7));
  }

  *[Symbol.iterator](): Generator<number> {
    for (const [number, page] of this.#pages) {
      for (const [at, bits] of page.entries()) {
        for (let bit = 0; bits >> bit !== 0; bit++) {
          if (((bits >> bit) & 1) !== 0) yield number * PAGE_BITS + at * 8 + bit;
        }
      }
    }
  }

  #turnTo(number: number): void {
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = new Uint8Array(PAGE_BITS / 8);
      this.#pages.set(number, page);
    }
    this.#lastPage = number;
    this.#last = page;
  }
}
