/**
 * The nodes of one place that the kernel has: it was told of them, and has not forgotten them since. A node id has a short
 * digest of the inode's generation only. This tells which file a node is of, one after the other in an inode, and sees to
 * it that no two of them have the same node at the same time.
 *
 * For each inode there are a bit and three words, in pages that are made when they are needed: the file that it was told
 * for last, if that has its generation's first digest. The few others are on a list: files that have been deleted and are
 * still open, and those that have another digest.
 */
import { DIGESTS, digest } from "./ids.js";

const PAGE = 1024;
/** Nodes on the list: more than a host has files open. */
const MOST_OTHERS = 1_000_000;

interface Page {
  readonly told: Uint8Array;
  readonly generations: Uint32Array;
  /** How often the kernel was told of it and has not forgotten it; 0: it does not have the node. */
  readonly counts: Uint32Array;
}

/** A node that is not in a page. */
interface OtherNode {
  readonly digest: number;
  readonly generation: number;
  count: number;
}

export class ToldInodes {
  readonly #pages = new Map<number, Page>();
  #lastPage = -1;
  #last: Page | undefined;
  /** By inode. */
  readonly #others = new Map<number, OtherNode[]>();
  #othersCount = 0;

  /** The digest that the node of a file is to have. */
  digest(ino: number, generation: number): number {
    const first = digest(generation);
    const page = this.#page(ino);
    if (
      page !== undefined &&
      (page.counts[ino % PAGE] as number) > 0 &&
      page.generations[ino % PAGE] === generation
    )
      return first;
    const others = this.#othersCount === 0 ? undefined : this.#others.get(ino);
    if (others !== undefined) {
      for (const other of others) if (other.generation === generation) return other.digest;
    }
    for (let which = 0; which < DIGESTS; which++) {
      const found = digest(generation, which);
      const holder = this.#holder(ino, found);
      if (holder === undefined || holder === generation) return found;
    }
    return first;
  }

  /**
   * Whether the node with that digest is the file with that generation: the kernel was told so; or, if it has no such node
   * (but an NFS handle, say), the digest is one of the generation's.
   */
  isOf(ino: number, ofDigest: number, generation: number): boolean {
    const holder = this.#holder(ino, ofDigest);
    if (holder !== undefined) return holder === generation;
    for (let which = 0; which < DIGESTS; which++) if (digest(generation, which) === ofDigest) return true;
    return false;
  }

  /** The kernel is told of a node. Returns whether it has another digest than its generation's first. */
  add(ino: number, withDigest: number, generation: number): boolean {
    const page = this.#page(ino) ?? this.#newPage(ino);
    const at = ino % PAGE;
    page.told[at >> 3] = (page.told[at >> 3] as number) | (1 << (at & 7));
    const isFirst = digest(generation) === withDigest;
    const other = this.#other(ino, withDigest);
    const count = page.counts[at] as number;
    if (other?.generation === generation) other.count++;
    else if (!isFirst) this.#addOther(ino, { digest: withDigest, generation, count: 1 });
    else if (count > 0 && page.generations[at] === generation) page.counts[at] = count + 1;
    else {
      const before = page.generations[at] as number;
      // With the same digest, the kernel gives up the one that was.
      if (count > 0 && digest(before) !== withDigest)
        this.#addOther(ino, { digest: digest(before), generation: before, count });
      page.generations[at] = generation;
      page.counts[at] = 1;
    }
    return !isFirst;
  }

  /** The kernel has forgotten a node that it was told of `times` times. */
  forget(ino: number, withDigest: number, times: number): void {
    const other = this.#other(ino, withDigest);
    if (other !== undefined) {
      other.count -= times;
      if (other.count <= 0) this.#removeOther(ino, other);
      return;
    }
    const page = this.#page(ino);
    if (page === undefined || digest(page.generations[ino % PAGE] as number) !== withDigest) return;
    page.counts[ino % PAGE] = Math.max(0, (page.counts[ino % PAGE] as number) - times);
  }

  /** Adds an inode that was told by somebody else, nobody knows for which file. */
  inherit(ino: number): void {
    const page = this.#page(ino) ?? this.#newPage(ino);
    const at = ino % PAGE;
    page.told[at >> 3] = (page.told[at >> 3] as number) | (1 << (at & 7));
  }

  /** The digests of the nodes of an inode that the kernel has, and the generations of their files. */
  *nodes(ino: number): Generator<{ readonly digest: number; readonly generation: number }> {
    const page = this.#page(ino);
    const at = ino % PAGE;
    if (page !== undefined && (page.counts[at] as number) > 0) {
      const generation = page.generations[at] as number;
      yield { digest: digest(generation), generation };
    }
    yield* this.#others.get(ino) ?? [];
  }

  /** All inodes that the kernel was ever told of. */
  *[Symbol.iterator](): Generator<number> {
    for (const [number, { told }] of this.#pages) {
      for (const [at, byte] of told.entries()) {
        for (let bit = 0; byte >> bit !== 0; bit++) {
          if (((byte >> bit) & 1) !== 0) yield number * PAGE + at * 8 + bit;
        }
      }
    }
  }

  /** The generation of the file that the kernel has a node for; undefined: it has no such node. */
  #holder(ino: number, ofDigest: number): number | undefined {
    const other = this.#other(ino, ofDigest);
    if (other !== undefined) return other.generation;
    const page = this.#page(ino);
    if (page === undefined || page.counts[ino % PAGE] === 0) return undefined;
    const generation = page.generations[ino % PAGE] as number;
    return digest(generation) === ofDigest ? generation : undefined;
  }

  #addOther(ino: number, node: OtherNode): void {
    if (this.#othersCount >= MOST_OTHERS) {
      const [oldest, [node]] = this.#others.entries().next().value as [number, OtherNode[]];
      this.#removeOther(oldest, node as OtherNode);
    }
    this.#others.set(ino, [...(this.#others.get(ino) ?? []), node]);
    this.#othersCount++;
  }

  #removeOther(ino: number, node: OtherNode): void {
    const left = (this.#others.get(ino) ?? []).filter((other) => other !== node);
    if (left.length === 0) this.#others.delete(ino);
    else this.#others.set(ino, left);
    this.#othersCount--;
  }

  #other(ino: number, withDigest: number): OtherNode | undefined {
    return this.#othersCount === 0
      ? undefined
      : this.#others.get(ino)?.find((other) => other.digest === withDigest);
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
      generations: new Uint32Array(PAGE),
      counts: new Uint32Array(PAGE),
    };
    this.#pages.set(Math.floor(ino / PAGE), page);
    this.#last = page;
    return page;
  }
}
