/** Extents of a volume in typed arrays: where each lies, whose it is, and what it holds. 16 bytes each; 20 past 2^32 blocks. */
import type { BlockKind } from "../filesystems/block-kind.js";
import type { BlockSink } from "../filesystems/crawler.js";
import { sortedOrder } from "./sorted-order.js";

/** An extent's count takes 24 bits; a longer one is several. */
const KIND_SHIFT = 24;
const MOST_COUNT = 2 ** KIND_SHIFT - 1;
/** Extents that there is room for at first. */
const FIRST_ROOM = 1024;

type Blocks = Uint32Array | Float64Array;

/** What a table consists of: can be posted to another thread. */
export interface ExtentParts {
  readonly physical: Blocks;
  readonly counts: Uint32Array;
  readonly inodes: Uint32Array;
  readonly logical: Uint32Array;
}

export class ExtentTable implements BlockSink {
  /** How many there are. */
  length = 0;
  readonly #isWide: boolean;
  #physical: Blocks;
  /** Count and kind. */
  #counts: Uint32Array;
  #inodes: Uint32Array;
  #logical: Uint32Array;

  /** `blocks`: how many the volume has; `room`: for so many extents at first. */
  constructor(blocks: number, room = FIRST_ROOM) {
    this.#isWide = blocks > 2 ** 32;
    this.#physical = this.#isWide ? new Float64Array(room) : new Uint32Array(room);
    this.#counts = new Uint32Array(room);
    this.#inodes = new Uint32Array(room);
    this.#logical = new Uint32Array(room);
  }

  static from({ physical, counts, inodes, logical }: ExtentParts): ExtentTable {
    const table = new ExtentTable(physical instanceof Float64Array ? Number.POSITIVE_INFINITY : 0, 0);
    table.#physical = physical;
    table.#counts = counts;
    table.#inodes = inodes;
    table.#logical = logical;
    table.length = counts.length;
    return table;
  }

  get bytes(): number {
    return this.#counts.length * (this.#isWide ? 20 : 16);
  }

  /** The parts, cut to what there is, with their memory. */
  toParts(): ExtentParts {
    return {
      physical: this.#physical.slice(0, this.length),
      counts: this.#counts.slice(0, this.length),
      inodes: this.#inodes.slice(0, this.length),
      logical: this.#logical.slice(0, this.length),
    };
  }

  physical(index: number): number {
    return this.#physical[index] as number;
  }

  count(index: number): number {
    return (this.#counts[index] as number) & MOST_COUNT;
  }

  end(index: number): number {
    return this.physical(index) + this.count(index);
  }

  kind(index: number): BlockKind {
    return ((this.#counts[index] as number) >>> KIND_SHIFT) as BlockKind;
  }

  inode(index: number): number {
    return this.#inodes[index] as number;
  }

  logical(index: number): number {
    return this.#logical[index] as number;
  }

  /** Adds one; to the last, if it goes on from there. */
  extent(physical: number, count: number, inode: number, logical: number, kind: BlockKind): void {
    const last = this.length - 1;
    if (last >= 0 && this.#isNext(last, physical, inode, logical, kind)) {
      const before = this.count(last);
      const more = Math.min(count, MOST_COUNT - before);
      this.#counts[last] = ((kind << KIND_SHIFT) | (before + more)) >>> 0;
      if (more === count) return;
      this.extent(physical + more, count - more, inode, inode === 0 ? 0 : logical + more, kind);
      return;
    }
    for (let done = 0; done < count; done += MOST_COUNT) {
      const index = this.#grow();
      this.#physical[index] = physical + done;
      this.#counts[index] = ((kind << KIND_SHIFT) | Math.min(MOST_COUNT, count - done)) >>> 0;
      this.#inodes[index] = inode;
      this.#logical[index] = inode === 0 ? 0 : logical + done;
    }
  }

  /** Adds an extent of another table. */
  add(from: ExtentTable, index: number): void {
    const to = this.#grow();
    this.#physical[to] = from.physical(index);
    this.#counts[to] = from.#counts[index] as number;
    this.#inodes[to] = from.inode(index);
    this.#logical[to] = from.logical(index);
  }

  /** The first extent that begins after a block. */
  after(block: number): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#physical[middle] as number) <= block) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The same extents in the order in which they lie, each block in one at most: in the first that was added. */
  sorted(): ExtentTable {
    if (this.#isSorted) return this;
    const order = sortedOrder(this.#physical, this.length);
    const table = new ExtentTable(this.#isWide ? Number.POSITIVE_INFINITY : 0, this.length);
    let end = 0;
    for (const index of order) {
      const from = this.physical(index);
      const to = from + this.count(index);
      // Blocks that two inodes share, as attributes, or that a guest at work moved from one to the other.
      if (to <= end) continue;
      const skipped = Math.max(0, end - from);
      const logical = this.inode(index) === 0 ? 0 : this.logical(index) + skipped;
      table.extent(from + skipped, to - from - skipped, this.inode(index), logical, this.kind(index));
      end = to;
    }
    return table;
  }

  get #isSorted(): boolean {
    for (let n = 1; n < this.length; n++) if (this.physical(n) < this.end(n - 1)) return false;
    return true;
  }

  #isNext(last: number, physical: number, inode: number, logical: number, kind: BlockKind): boolean {
    return (
      this.end(last) === physical &&
      this.#inodes[last] === inode &&
      this.kind(last) === kind &&
      (inode === 0 || (this.#logical[last] as number) + this.count(last) === logical) &&
      this.count(last) < MOST_COUNT
    );
  }

  #grow(): number {
    if (this.length === this.#counts.length) {
      const room = Math.max(FIRST_ROOM, Math.ceil(this.length * 1.5));
      const physical = this.#isWide ? new Float64Array(room) : new Uint32Array(room);
      physical.set(this.#physical);
      this.#physical = physical;
      this.#counts = grown(this.#counts, room);
      this.#inodes = grown(this.#inodes, room);
      this.#logical = grown(this.#logical, room);
    }
    return this.length++;
  }
}

function grown(words: Uint32Array, room: number): Uint32Array {
  const larger = new Uint32Array(room);
  larger.set(words);
  return larger;
}
