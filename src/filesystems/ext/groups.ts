/** Block groups and their descriptors (struct ext4_group_desc; ext4 documentation, "Block Group Descriptors"). */
import { EIO, IoError } from "../../images/io-error.js";
import { crc16 } from "../../layout/crc16.js";
import { crc32c } from "../../layout/crc32c.js";
import { structure, u16, u32 } from "../../layout/struct.js";
import type { View } from "../../versions/view.js";
import { Compat, RoCompat } from "./features.js";
import type { Geometry } from "./superblock.js";

const GroupDescriptor = structure("ext4_group_desc", 32, {
  bg_block_bitmap_lo: u32(0x0),
  bg_inode_bitmap_lo: u32(0x4),
  bg_inode_table_lo: u32(0x8),
  bg_free_blocks_count_lo: u16(0xc),
  bg_free_inodes_count_lo: u16(0xe),
  bg_used_dirs_count_lo: u16(0x10),
  bg_flags: u16(0x12),
  bg_itable_unused_lo: u16(0x1c),
  bg_checksum: u16(0x1e),
});

/** The upper halves, in descriptors of 64 bytes and more. */
const GroupDescriptorHigh = structure("ext4_group_desc (64bit)", 64, {
  bg_block_bitmap_hi: u32(0x20),
  bg_inode_bitmap_hi: u32(0x24),
  bg_inode_table_hi: u32(0x28),
  bg_free_blocks_count_hi: u16(0x2c),
  bg_free_inodes_count_hi: u16(0x2e),
  bg_itable_unused_hi: u16(0x32),
});

/** bg_flags: the group's inode table and inode bitmap were never written. */
const INODE_UNINIT = 0x1;
/** Offset of bg_checksum, which counts as absent (crc16) or zero (crc32c) in the sum. */
const CHECKSUM_AT = 0x1e;

/** The group descriptors of one view. */
export class Groups {
  readonly #geometry: Geometry;
  readonly #view: View;
  readonly #high: boolean;
  readonly #descriptor = GroupDescriptor.at(Buffer.alloc(32));
  readonly #descriptorHigh = GroupDescriptorHigh.at(Buffer.alloc(64));
  readonly #scratch = Buffer.alloc(4);
  /** The group asked for last: inodes come in runs. */
  #lastGroup = -1;
  #lastTable = 0;

  constructor(geometry: Geometry, view: View) {
    this.#geometry = geometry;
    this.#view = view;
    this.#high = geometry.descriptorSize >= 64;
  }

  /**
   * How many groups have their descriptors on the volume: of one that is cut short, or whose superblock lies, not all.
   * Later blocks of descriptors never lie before earlier ones.
   */
  get there(): number {
    const { groups, descriptorsPerBlock } = this.#geometry;
    const blocks = this.#view.blocksThere;
    let low = 0;
    let high = Math.ceil(groups / descriptorsPerBlock);
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.descriptorBlock(middle) < blocks) low = middle + 1;
      else high = middle;
    }
    return Math.min(groups, low * descriptorsPerBlock);
  }

  /** The first block of a group's inode table. Throws IoError (EIO) when the descriptor is bad. */
  inodeTable(group: number): number {
    if (group === this.#lastGroup) return this.#lastTable;
    this.#locate(group);
    const low = this.#descriptor.bg_inode_table_lo;
    this.#lastTable = this.#high ? low + this.#descriptorHigh.bg_inode_table_hi * 2 ** 32 : low;
    this.#lastGroup = group;
    return this.#lastTable;
  }

  /** Forgets what is remembered of descriptors, when the view has changed. */
  forget(): void {
    this.#lastGroup = -1;
  }

  /** Whether the inode's bit is set in its group's bitmap; `index` counts within the group. */
  inodeInUse(group: number, index: number): boolean {
    const block = this.#inodeBitmap(group);
    if (block === 0) return false;
    const buffer = this.#view.locate(block);
    return (((buffer[this.#view.at + (index >> 3)] as number) >> (index & 7)) & 1) !== 0;
  }

  /**
   * Copies the bitmap of a group's inodes into `into` (a bit each, the lowest first); returns how many of them have ever
   * been used (bg_itable_unused counts the others at the end). Throws IoError.
   */
  usedInodes(group: number, into: Buffer): number {
    const { inodesPerGroup, checksums } = this.#geometry;
    const block = this.#inodeBitmap(group);
    if (block === 0) return 0;
    // Only with checksums does the kernel keep the count.
    const hasCount = checksums || this.#geometry.hasRoCompat(RoCompat.GDT_CSUM);
    const high = this.#high ? this.#descriptorHigh.bg_itable_unused_hi * 0x10000 : 0;
    const unused = hasCount ? this.#descriptor.bg_itable_unused_lo + high : 0;
    const buffer = this.#view.locate(block);
    buffer.copy(into, 0, this.#view.at, this.#view.at + Math.ceil(inodesPerGroup / 8));
    return Math.max(0, inodesPerGroup - unused);
  }

  /** The block of a group's block bitmap. Throws IoError. */
  blockBitmap(group: number): number {
    this.#locate(group);
    const low = this.#descriptor.bg_block_bitmap_lo;
    return this.#high ? low + this.#descriptorHigh.bg_block_bitmap_hi * 2 ** 32 : low;
  }

  /** The block of a group's inode bitmap, whether or not it was ever written. Throws IoError. */
  inodeBitmap(group: number): number {
    this.#locate(group);
    const low = this.#descriptor.bg_inode_bitmap_lo;
    return this.#high ? low + this.#descriptorHigh.bg_inode_bitmap_hi * 2 ** 32 : low;
  }

  /** The block of a group's inode bitmap; 0 if it was never written, as no inode was ever used. */
  #inodeBitmap(group: number): number {
    const block = this.inodeBitmap(group);
    if ((this.#descriptor.bg_flags & INODE_UNINIT) !== 0) return 0;
    if (block >= this.#geometry.blocksCount)
      throw new IoError(EIO, `group ${group}: its inode bitmap lies outside`);
    return block;
  }

  /** Free blocks (in clusters) and free inodes of a group. */
  free(group: number, out: { clusters: number; inodes: number }): void {
    this.#locate(group);
    const high = this.#high;
    out.clusters =
      this.#descriptor.bg_free_blocks_count_lo +
      (high ? this.#descriptorHigh.bg_free_blocks_count_hi * 0x10000 : 0);
    out.inodes =
      this.#descriptor.bg_free_inodes_count_lo +
      (high ? this.#descriptorHigh.bg_free_inodes_count_hi * 0x10000 : 0);
  }

  /** Whether a group holds a copy of the superblock and of the descriptors (ext4_bg_has_super). */
  hasSuperblock(group: number): boolean {
    const geometry = this.#geometry;
    if (group === 0) return true;
    if (geometry.hasCompat(Compat.SPARSE_SUPER2)) return geometry.backupGroups.includes(group);
    if (group === 1 || !geometry.hasRoCompat(RoCompat.SPARSE_SUPER)) return true;
    return group % 2 === 1 && (isPower(group, 3) || isPower(group, 5) || isPower(group, 7));
  }

  /** How many blocks of descriptors a group holds (ext4_bg_num_gdb). */
  descriptorBlocks(group: number): number {
    const geometry = this.#geometry;
    const metaGroup = Math.floor(group / geometry.descriptorsPerBlock);
    if (metaGroup >= geometry.firstMetaGroup) {
      const within = group % geometry.descriptorsPerBlock;
      return within === 0 || within === 1 || within === geometry.descriptorsPerBlock - 1 ? 1 : 0;
    }
    if (!this.hasSuperblock(group)) return 0;
    return Math.min(geometry.firstMetaGroup, Math.ceil(geometry.groups / geometry.descriptorsPerBlock));
  }

  #locate(group: number): void {
    const geometry = this.#geometry;
    const buffer = this.#view.locate(this.descriptorBlock(Math.floor(group / geometry.descriptorsPerBlock)));
    const at = this.#view.at + (group % geometry.descriptorsPerBlock) * geometry.descriptorSize;
    this.#descriptor.move(buffer, at);
    if (this.#high) this.#descriptorHigh.move(buffer, at);
    this.#verify(group, buffer, at);
  }

  /** Where the n-th block of descriptors lies (descriptor_loc in the kernel's super.c). */
  descriptorBlock(n: number): number {
    const geometry = this.#geometry;
    const superblockBlock = geometry.blockSize === 1024 ? 1 : 0;
    if (n < geometry.firstMetaGroup) return superblockBlock + 1 + n;
    const group = n * geometry.descriptorsPerBlock;
    let within = this.hasSuperblock(group) ? 1 : 0;
    if (geometry.blockSize === 1024 && n === 0 && geometry.firstDataBlock === 0) within++;
    return geometry.firstDataBlock + group * geometry.blocksPerGroup + within;
  }

  #verify(group: number, buffer: Buffer, at: number): void {
    const geometry = this.#geometry;
    if (!geometry.checksums && !geometry.hasRoCompat(RoCompat.GDT_CSUM)) return;
    const end = at + geometry.descriptorSize;
    this.#scratch.writeUInt32LE(group, 0);
    let sum: number;
    if (geometry.checksums) {
      sum = crc32c(geometry.checksumSeed, this.#scratch, 0, 4);
      sum = crc32c(sum, buffer, at, at + CHECKSUM_AT);
      sum = crc32c(sum, ZEROS, 0, 2);
      if (end > at + CHECKSUM_AT + 2) sum = crc32c(sum, buffer, at + CHECKSUM_AT + 2, end);
    } else {
      sum = crc16(0xffff, geometry.uuidBytes, 0, 16);
      sum = crc16(sum, this.#scratch, 0, 4);
      sum = crc16(sum, buffer, at, at + CHECKSUM_AT);
      if (end > at + CHECKSUM_AT + 2) sum = crc16(sum, buffer, at + CHECKSUM_AT + 2, end);
    }
    if ((sum & 0xffff) !== this.#descriptor.bg_checksum) {
      throw new IoError(EIO, `group ${group}: its descriptor has a wrong checksum`);
    }
  }
}

const ZEROS = Buffer.alloc(4);

function isPower(n: number, base: number): boolean {
  let power = base;
  while (power < n) power *= base;
  return power === n;
}
