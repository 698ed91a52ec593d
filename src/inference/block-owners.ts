/**
 * What each block of a volume holds: as a crawl found it, and as commits have changed it since. What commits change lies in
 * a small table over the large one, and is folded into that now and then.
 */
import { BlockKind } from "../filesystems/block-kind.js";
import type { BlockSink } from "../filesystems/crawler.js";
import { ExtentTable } from "./extent-table.js";

/** Extents that the small table has at most, and how many times the root of the large one's. */
const LEAST_MOVED = 4096;
const MOVED_SHARE = 4;

/** Ranges of metadata that are told; of a volume with more, only what does not come and go with files. */
const MOST_RANGES = 200_000;

const NONE = new ExtentTable(0, 0);

export class BlockOwners {
  /** Of the block that was found last: what it holds, whose it is (0: nobody's), and its number within that file. */
  kind: BlockKind = BlockKind.NONE;
  inode = 0;
  logical = 0;
  /** The first block after it for which something else holds. */
  end = 0;
  readonly #blocks: number;
  #base: ExtentTable;
  /** Inodes whose extents in the large table do not count. */
  #movedInodes = new Set<number>();
  /** Those that they have now, in order; and those that are yet to be sorted in, of inodes that changed since. */
  #moved: ExtentTable = NONE;
  #changed: ExtentTable;
  #changedInodes = new Set<number>();

  /** `blocks`: how many the volume has; `found`: what a crawl found. */
  constructor(blocks: number, found: ExtentTable) {
    this.#blocks = blocks;
    this.#base = found.sorted();
    this.#changed = new ExtentTable(blocks);
  }

  /** Bytes of memory. */
  get bytes(): number {
    return this.#base.bytes + this.#moved.bytes + this.#changed.bytes;
  }

  /** How many extents are known. */
  get length(): number {
    return this.#base.length + this.#moved.length + this.#changed.length;
  }

  /** Finds what a block holds; the fields tell. */
  find(block: number): BlockKind {
    this.#settle();
    const over = this.#moved.after(block);
    if (over > 0 && block < this.#moved.end(over - 1)) return this.#found(this.#moved, over - 1, block);
    let end = over < this.#moved.length ? this.#moved.physical(over) : Number.POSITIVE_INFINITY;
    const base = this.#base;
    const next = base.after(block);
    const index = next - 1;
    if (index >= 0 && block < base.end(index)) {
      if (!this.#movedInodes.has(base.inode(index))) {
        this.#found(base, index, block);
        this.end = Math.min(this.end, end);
        return this.kind;
      }
      end = Math.min(end, base.end(index));
    } else if (next < base.length) end = Math.min(end, base.physical(next));
    this.kind = BlockKind.NONE;
    this.inode = 0;
    this.logical = 0;
    this.end = block < this.#blocks ? Math.min(end, this.#blocks) : Number.POSITIVE_INFINITY;
    return this.kind;
  }

  /** Has an inode lie where `tell` says from now on, and nowhere else. */
  replace(inode: number, tell: (sink: BlockSink) => void): void {
    // What was told of it before and is not sorted in yet would count as well.
    if (this.#changedInodes.has(inode)) this.#settle();
    this.#changedInodes.add(inode);
    tell(this.#changed);
  }

  /** Bytes of the volume that hold metadata: pairs of a first byte and the byte after the last, in order and apart. */
  metadata(blockSize: number): Float64Array {
    this.#fold();
    const all = this.#ranges(blockSize, BlockKind.DATA);
    return all.length <= 2 * MOST_RANGES ? all : this.#ranges(blockSize, BlockKind.DIRECTORY);
  }

  /** Those of kinds below `limit`. */
  #ranges(blockSize: number, limit: BlockKind): Float64Array {
    const base = this.#base;
    const ranges: number[] = [];
    for (let index = 0; index < base.length; index++) {
      if (base.kind(index) >= limit) continue;
      const start = base.physical(index) * blockSize;
      const end = base.end(index) * blockSize;
      if (ranges.at(-1) === start) ranges[ranges.length - 1] = end;
      else ranges.push(start, end);
    }
    return Float64Array.from(ranges);
  }

  #found(table: ExtentTable, index: number, block: number): BlockKind {
    this.kind = table.kind(index);
    this.inode = table.inode(index);
    this.logical = table.logical(index) + (this.inode === 0 ? 0 : block - table.physical(index));
    this.end = table.end(index);
    return this.kind;
  }

  /** Sorts in what has changed. */
  #settle(): void {
    if (this.#changedInodes.size === 0) return;
    const kept = new ExtentTable(this.#blocks, this.#moved.length + this.#changed.length);
    const now = this.#changed.sorted();
    const changed = this.#changedInodes;
    merge(kept, now, this.#moved, (inode) => changed.has(inode));
    this.#moved = kept;
    for (const inode of changed) this.#movedInodes.add(inode);
    this.#changed = new ExtentTable(this.#blocks);
    this.#changedInodes = new Set();
    const most = Math.max(LEAST_MOVED, MOVED_SHARE * Math.sqrt(this.#base.length));
    if (Math.max(this.#moved.length, this.#movedInodes.size) > most) this.#fold();
  }

  /** Makes one table of both. */
  #fold(): void {
    this.#settle();
    if (this.#movedInodes.size === 0) return;
    const moved = this.#movedInodes;
    const base = new ExtentTable(this.#blocks, this.#base.length + this.#moved.length);
    merge(base, this.#moved, this.#base, (inode) => moved.has(inode));
    this.#base = base;
    this.#moved = NONE;
    this.#movedInodes = new Set();
  }
}

/** Adds two sorted tables to another in order; of the second one without the inodes that `isGone`, and where the first has none. */
function merge(
  into: ExtentTable,
  first: ExtentTable,
  second: ExtentTable,
  isGone: (inode: number) => boolean,
): void {
  let at = 0;
  for (let index = 0; index < second.length; index++) {
    const inode = second.inode(index);
    if (inode !== 0 && isGone(inode)) continue;
    let start = second.physical(index);
    const end = second.end(index);
    while (start < end) {
      // What lies before, or over its beginning.
      while (at < first.length && first.end(at) <= start) into.add(first, at++);
      const next = at < first.length ? first.physical(at) : Number.POSITIVE_INFINITY;
      const until = Math.min(end, next);
      if (until > start) {
        const logical = inode === 0 ? 0 : second.logical(index) + start - second.physical(index);
        into.extent(start, until - start, inode, logical, second.kind(index));
      }
      start = Math.max(until, next < end ? first.end(at) : end);
    }
  }
  while (at < first.length) into.add(first, at++);
}
