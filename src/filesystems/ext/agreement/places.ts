/** Where the metadata lies that stays in its place: superblock, group descriptors, inode bitmaps, inode tables. */
import { RoCompat } from "../features.js";
import type { Groups } from "../groups.js";
import { InodeTables } from "../inode-tables.js";
import type { Parts } from "../parts.js";
import { type Geometry, SUPERBLOCK_OFFSET } from "../superblock.js";

/** Offsets in struct ext4_group_desc. */
const INODE_BITMAP_LO = 0x4;
const FLAGS = 0x12;
const INODE_BITMAP_HI = 0x24;
/** bg_flags: neither the group's inode bitmap nor its table was ever written. */
const INODE_UNINIT = 0x1;

export class Places {
  readonly superblock: number;
  /** The blocks of group descriptors, in their order. */
  readonly descriptors: readonly number[];
  readonly tables: InodeTables;
  readonly inodesPerBlock: number;
  readonly #geometry: Geometry;
  readonly #groups: Groups;
  readonly #ordinals: ReadonlyMap<number, number>;
  /** Groups by their inode bitmaps, as far as those have been looked for. */
  readonly #bitmaps = new Map<number, number>();

  /** Reads all descriptors. Throws IoError. */
  constructor({ geometry, groups }: Parts) {
    this.#geometry = geometry;
    this.#groups = groups;
    this.superblock = Math.floor(SUPERBLOCK_OFFSET / geometry.blockSize);
    const count = Math.ceil(groups.there / geometry.descriptorsPerBlock);
    this.descriptors = Array.from({ length: count }, (_, n) => groups.descriptorBlock(n));
    this.#ordinals = new Map(this.descriptors.map((block, n) => [block, n]));
    this.tables = new InodeTables(geometry, groups);
    this.inodesPerBlock = geometry.blockSize / geometry.inodeSize;
  }

  /** Whether a block is none that a file could have for its map. */
  isFixed(block: number): boolean {
    return (
      block === this.superblock ||
      this.#ordinals.has(block) ||
      this.#bitmaps.has(block) ||
      this.tables.firstInode(block) !== 0
    );
  }

  /** The inode bitmaps that are in use by what a block of descriptors says; none if it is no such block. */
  bitmapsOf(block: number, bytes: Buffer): number[] {
    const ordinal = this.#ordinals.get(block);
    if (ordinal === undefined) return [];
    const { blocksCount, descriptorSize, descriptorsPerBlock, groups } = this.#geometry;
    const hasFlags = this.#geometry.checksums || this.#geometry.hasRoCompat(RoCompat.GDT_CSUM);
    const found: number[] = [];
    for (let n = 0; n < descriptorsPerBlock; n++) {
      const group = ordinal * descriptorsPerBlock + n;
      if (group >= groups) break;
      const at = n * descriptorSize;
      if (hasFlags && (bytes.readUInt16LE(at + FLAGS) & INODE_UNINIT) !== 0) continue;
      const high = descriptorSize >= 64 ? bytes.readUInt32LE(at + INODE_BITMAP_HI) : 0;
      const bitmap = high * 2 ** 32 + bytes.readUInt32LE(at + INODE_BITMAP_LO);
      if (bitmap === 0 || bitmap >= blocksCount) continue;
      this.#bitmaps.set(bitmap, group);
      found.push(bitmap);
    }
    return found;
  }

  /** The blocks of an inode table that have inodes in use, by what its bitmap says; none if it is no bitmap. */
  tableBlocksOf(bitmap: number, bytes: Buffer): number[] {
    const group = this.#bitmaps.get(bitmap);
    if (group === undefined) return [];
    const start = this.#tableStart(group);
    if (start === 0) return [];
    const { inodesPerGroup } = this.#geometry;
    const found: number[] = [];
    for (let index = 0; index < this.tables.blocksEach; index++) {
      const first = index * this.inodesPerBlock;
      const last = Math.min(first + this.inodesPerBlock, inodesPerGroup);
      if (anySet(bytes, first, last)) found.push(start + index);
    }
    return found;
  }

  /** The block of the inode table that holds an inode; 0 if there is none. */
  tableBlock(ino: number): number {
    const { inodesPerGroup, inodesCount } = this.#geometry;
    if (ino < 1 || ino > inodesCount) return 0;
    const start = this.#tableStart(Math.floor((ino - 1) / inodesPerGroup));
    return start === 0 ? 0 : start + Math.floor(((ino - 1) % inodesPerGroup) / this.inodesPerBlock);
  }

  /** Where a group's inode table begins; 0 if it is not to be used. */
  #tableStart(group: number): number {
    try {
      const start = this.#groups.inodeTable(group);
      return this.tables.firstInode(start) === 0 ? 0 : start;
    } catch {
      return 0;
    }
  }
}

function anySet(bytes: Buffer, first: number, last: number): boolean {
  for (let bit = first; bit < last; ) {
    const byte = bytes[bit >> 3] as number;
    if ((bit & 7) === 0 && bit + 8 <= last) {
      if (byte !== 0) return true;
      bit += 8;
    } else {
      if (((byte >> (bit & 7)) & 1) !== 0) return true;
      bit++;
    }
  }
  return false;
}
