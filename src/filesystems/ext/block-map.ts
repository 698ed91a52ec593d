/** Walking through the map of a file from end to end: the blocks that it consists of, and those that it leads to. */
import { FileType } from "../filesystem.js";
import { I_BLOCK, I_BLOCK_SIZE, type Inode, InodeFlags, type Inodes } from "./inode.js";
import type { Geometry } from "./superblock.js";
import { isFastLink } from "./symlink.js";

/** struct ext4_extent_header's eh_magic, and EXT4_MAX_EXTENT_DEPTH. */
const MAGIC = 0xf30a;
const MAX_DEPTH = 5;
/** Bytes of an extent tree's header, and of its entries. */
const HEADER = 12;
const ENTRY = 12;
/** A longer ee_len marks the extent as unwritten (EXT_INIT_MAX_LEN). */
const MAX_WRITTEN = 32768;
/** i_block's first entries are blocks of data, then one each of single, double and triple indirect ones. */
const DIRECT = 12;

export interface MapVisitor {
  /**
   * A block of the map, `level` levels above those that lead to contents (0: it does so itself); returns its bytes, or
   * undefined to go no further there. The bytes are looked at until the next block of the same level is asked for.
   */
  map(block: number, level: number): Buffer | undefined;
  /** `count` blocks of contents from `physical` on, of which the first is the file's block `logical`. */
  run(physical: number, count: number, logical: number, isUnwritten: boolean): void;
}

export class BlockMap {
  /** Of the inode walked through last: how many blocks its map has and leads to. */
  allocated = 0;
  /** Whether a structure of it was bad. */
  isBad = false;
  readonly #geometry: Geometry;
  #visitor!: MapVisitor;

  constructor(geometry: Geometry) {
    this.#geometry = geometry;
  }

  /** Walks through the map of an inode that has one. How far a hostile one leads is up to the visitor. */
  walk(inode: Inode, visitor: MapVisitor): void {
    this.isBad = false;
    this.allocated = 0;
    this.#visitor = visitor;
    const { raw } = inode;
    if (inode.hasFlag(InodeFlags.EXTENTS)) {
      this.#extents(raw, I_BLOCK, I_BLOCK_SIZE, -1);
      return;
    }
    this.#pointers(raw, I_BLOCK, DIRECT, 0, 0);
    let first = DIRECT;
    for (let level = 1; level <= 3; level++) {
      this.#pointers(raw, I_BLOCK + (DIRECT + level - 1) * 4, 1, level, first);
      first += this.#span(level);
    }
  }

  /** Whether a file can have a block. */
  isThere(block: number): boolean {
    return block > this.#geometry.firstDataBlock && block < this.#geometry.blocksCount;
  }

  /** How many blocks of contents one pointer leads to. */
  #span(level: number): number {
    return (this.#geometry.blockSize / 4) ** level;
  }

  /** `level`: 0 where the pointers lead to contents, else how many blocks of pointers lie between. */
  #pointers(buffer: Buffer, at: number, count: number, level: number, first: number): void {
    const span = this.#span(level);
    for (let n = 0; n < count; n++) {
      const block = buffer.readUInt32LE(at + n * 4);
      if (block === 0) continue;
      this.allocated++;
      const logical = first + n * span;
      if (level === 0) this.#run(block, 1, logical, false);
      else {
        const bytes = this.#map(block, level - 1);
        if (bytes !== undefined) this.#pointers(bytes, 0, this.#geometry.blockSize / 4, level - 1, logical);
      }
    }
  }

  #extents(buffer: Buffer, at: number, room: number, above: number): void {
    const entries = buffer.readUInt16LE(at + 2);
    const max = buffer.readUInt16LE(at + 4);
    const depth = buffer.readUInt16LE(at + 6);
    const isSound = buffer.readUInt16LE(at) === MAGIC && entries <= max && HEADER + max * ENTRY <= room;
    if (!isSound || (above < 0 ? depth > MAX_DEPTH : depth !== above - 1)) {
      this.isBad = true;
      return;
    }
    for (let n = 0; n < entries; n++) {
      const entry = at + HEADER + n * ENTRY;
      if (depth === 0) {
        const stored = buffer.readUInt16LE(entry + 4);
        const isUnwritten = stored > MAX_WRITTEN;
        const length = isUnwritten ? stored - MAX_WRITTEN : stored;
        this.allocated += length;
        const physical = buffer.readUInt32LE(entry + 8) + buffer.readUInt16LE(entry + 6) * 2 ** 32;
        this.#run(physical, length, buffer.readUInt32LE(entry), isUnwritten);
      } else {
        this.allocated++;
        const child = buffer.readUInt32LE(entry + 4) + buffer.readUInt16LE(entry + 8) * 2 ** 32;
        const bytes = this.#map(child, depth - 1);
        if (bytes !== undefined) this.#extents(bytes, 0, bytes.length, depth);
      }
    }
  }

  #map(block: number, level: number): Buffer | undefined {
    if (this.isThere(block)) return this.#visitor.map(block, level);
    this.isBad = true;
    return undefined;
  }

  #run(physical: number, count: number, logical: number, isUnwritten: boolean): void {
    if (count > 0 && this.isThere(physical) && this.isThere(physical + count - 1))
      this.#visitor.run(physical, count, logical, isUnwritten);
    else this.isBad = true;
  }
}

/** Whether an inode's i_block is a map of blocks. */
export function hasMap(geometry: Geometry, inodes: Inodes, inode: Inode): boolean {
  const { type } = inode;
  if (type !== FileType.REGULAR && type !== FileType.DIRECTORY && type !== FileType.LINK) return false;
  if (inode.hasFlag(InodeFlags.INLINE_DATA)) return false;
  return type !== FileType.LINK || !isFastLink({ geometry, inodes }, inode, inode.fields.i_size_lo);
}
