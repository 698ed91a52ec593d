/** The blocks that an inode has beside its data: of its map, of its attributes, and of what a directory or link holds. */
import { FileType } from "../../filesystem.js";
import { I_BLOCK, I_BLOCK_SIZE, type Inode, InodeFlags, type Inodes } from "../inode.js";
import type { Geometry } from "../superblock.js";
import { isFastLink } from "../symlink.js";

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
/** The most blocks of one directory that are looked through, as when it is listed. */
const MOST_CONTENTS = 65536;

export interface BlockVisitor {
  /** A block of the map; returns its bytes, or undefined to go no further there. */
  map(block: number): Buffer | undefined;
  /** A block of a directory's entries, or of a link's target. */
  content(block: number): void;
}

export class FileBlocks {
  /** Of the inode visited last: how many blocks its map has and leads to, and the block of its attributes. */
  allocated = 0;
  /** Whether a structure of it was bad. */
  isBad = false;
  readonly #geometry: Geometry;
  readonly #inodes: Inodes;
  #visitor!: BlockVisitor;
  #hasContent = false;
  #contents = 0;

  constructor(geometry: Geometry, inodes: Inodes) {
    this.#geometry = geometry;
    this.#inodes = inodes;
  }

  /** The block of extended attributes, which inodes may share; 0 for none. */
  attributes(inode: Inode): number {
    const block = this.#inodes.attributeBlock(inode);
    return this.#isThere(block) ? block : 0;
  }

  visit(inode: Inode, visitor: BlockVisitor): void {
    this.isBad = false;
    this.allocated = this.#inodes.attributeBlock(inode) === 0 ? 0 : 1;
    this.#visitor = visitor;
    this.#contents = 0;
    const { type, raw } = inode;
    if (type !== FileType.REGULAR && type !== FileType.DIRECTORY && type !== FileType.LINK) return;
    if (inode.hasFlag(InodeFlags.INLINE_DATA)) return;
    if (
      type === FileType.LINK &&
      isFastLink({ geometry: this.#geometry, inodes: this.#inodes }, inode, inode.fields.i_size_lo)
    )
      return;
    this.#hasContent = type !== FileType.REGULAR;
    if (inode.hasFlag(InodeFlags.EXTENTS)) this.#extents(raw, I_BLOCK, I_BLOCK_SIZE, -1);
    else {
      this.#pointers(raw, I_BLOCK, DIRECT, 0);
      for (let level = 1; level <= 3; level++)
        this.#pointers(raw, I_BLOCK + (DIRECT + level - 1) * 4, 1, level);
    }
  }

  /** `level`: 0 where the pointers lead to contents, else how many blocks of pointers lie between. */
  #pointers(buffer: Buffer, at: number, count: number, level: number): void {
    for (let n = 0; n < count; n++) {
      const block = buffer.readUInt32LE(at + n * 4);
      if (block === 0) continue;
      this.allocated++;
      if (level === 0) this.#content(block, 1);
      else {
        const bytes = this.#map(block);
        if (bytes !== undefined) this.#pointers(bytes, 0, this.#geometry.blockSize / 4, level - 1);
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
        const length = stored > MAX_WRITTEN ? stored - MAX_WRITTEN : stored;
        this.allocated += length;
        this.#content(buffer.readUInt32LE(entry + 8) + buffer.readUInt16LE(entry + 6) * 2 ** 32, length);
      } else {
        this.allocated++;
        const bytes = this.#map(buffer.readUInt32LE(entry + 4) + buffer.readUInt16LE(entry + 8) * 2 ** 32);
        if (bytes !== undefined) this.#extents(bytes, 0, bytes.length, depth);
      }
    }
  }

  #map(block: number): Buffer | undefined {
    if (this.#isThere(block)) return this.#visitor.map(block);
    this.isBad = true;
    return undefined;
  }

  #content(first: number, length: number): void {
    if (!this.#isThere(first) || !this.#isThere(first + length - 1)) {
      this.isBad = true;
      return;
    }
    if (!this.#hasContent) return;
    for (let n = 0; n < length && this.#contents < MOST_CONTENTS; n++, this.#contents++) {
      this.#visitor.content(first + n);
    }
  }

  #isThere(block: number): boolean {
    return block > this.#geometry.firstDataBlock && block < this.#geometry.blocksCount;
  }
}
