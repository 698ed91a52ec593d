/**
 * The inodes that somebody was told of, each with the generation it was told with last: a bit and a word for each, in
 * pages that are made when they are needed. A node id has a short digest of the generation only; this tells apart the
 * few files, one after the other in an inode, that have the same one.
 */
import { haveSameNode } from "./ids.js";

const PAGE = 1024;
/**
 * ms for which a node that has just been told for another file than before is not answered: until the kernel has been
 * told, its requests can be about the file that was.
 */
const CHANGEOVER = 20;
/** Such nodes that are remembered. */
const MOST_CHANGING = 1000;

interface Page {
  readonly told: Uint8Array;
  /** Whether the generation is known. */
  readonly known: Uint8Array;
  readonly generations: Uint32Array;
}

export class ToldInodes {
  readonly #pages = new Map<number, Page>();
  #lastPage = -1;
  #last: Page | undefined;
  /** When nodes were told for another file, ms. */
  readonly #changed = new Map<number, number>();

  add(ino: number, generation: number): void {
    const page = this.#page(ino) ?? this.#newPage(ino);
    const at = ino % PAGE;
    const before = page.generations[at] as number;
    const isOther = isSet(page.known, at) && before !== generation;
    if (isOther && haveSameNode(before, generation)) this.#change(ino);
    set(page.told, at);
    set(page.known, at);
    page.generations[at] = generation;
  }

  /** Adds an inode that was told by somebody else, nobody knows with which generation. */
  inherit(ino: number): void {
    set((this.#page(ino) ?? this.#newPage(ino)).told, ino % PAGE);
  }

  /**
   * Whether an inode was told with that generation, or nobody knows with which; not just after it was told with another
   * one.
   */
  agree(ino: number, generation: number): boolean {
    const page = this.#page(ino);
    if (page === undefined) return true;
    const at = ino % PAGE;
    if (!isSet(page.known, at)) return true;
    return page.generations[at] === generation && (this.#changed.size === 0 || !this.#isChanging(ino));
  }

  *[Symbol.iterator](): Generator<number> {
    for (const [number, { told }] of this.#pages) {
      for (const [at, byte] of told.entries()) {
        for (let bit = 0; byte >> bit !== 0; bit++) {
          if (((byte >> bit) & 1) !== 0) yield number * PAGE + at * 8 + bit;
        }
      }
    }
  }

  #change(ino: number): void {
    this.#changed.delete(ino);
    const [oldest] = this.#changed.keys();
    if (oldest !== undefined && this.#changed.size >= MOST_CHANGING) this.#changed.delete(oldest);
    this.#changed.set(ino, performance.now());
  }

  #isChanging(ino: number): boolean {
    const since = this.#changed.get(ino);
    if (since === undefined) return false;
    if (performance.now() - since < CHANGEOVER) return true;
    this.#changed.delete(ino);
    return false;
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
    const page = {
      told: new Uint8Array(PAGE / 8),
      known: new Uint8Array(PAGE / 8),
      generations: new Uint32Array(PAGE),
    };
    this.#pages.set(Math.floor(ino / PAGE), page);
    this.#last = page;
    return page;
  }
}

function isSet(bits: Uint8Array, at: number): boolean {
  return (((bits[at >> 3] as number) >> (at & 7)) & 1) !== 0;
}

function set(bits: Uint8Array, at: number): void {
  bits[at >> 3] = (bits[at >> 3] as number) | (1 << (at & 7));
}
