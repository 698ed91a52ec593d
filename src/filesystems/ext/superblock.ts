/** The superblock (struct ext4_super_block; ext4 documentation, "The Super Block"), and what follows from it. */

import { EIO, IoError } from "../../images/io-error.js";
import { crc32c } from "../../layout/crc32c.js";
import { bytes, i32, type Of, structure, text, u8, u16, u32, u64, uuid } from "../../layout/struct.js";
import { Compat, Incompat, RoCompat, unreadableFeatures } from "./features.js";

/** Bytes from the start of the volume to the superblock. */
export const SUPERBLOCK_OFFSET = 1024;
export const SUPERBLOCK_MAGIC = 0xef53;

export const Superblock = structure("ext4_super_block", 1024, {
  s_inodes_count: u32(0x0),
  s_blocks_count_lo: u32(0x4),
  s_r_blocks_count_lo: u32(0x8),
  s_free_blocks_count_lo: u32(0xc),
  s_free_inodes_count: u32(0x10),
  s_first_data_block: u32(0x14),
  s_log_block_size: u32(0x18),
  s_log_cluster_size: u32(0x1c),
  s_blocks_per_group: u32(0x20),
  s_clusters_per_group: u32(0x24),
  s_inodes_per_group: u32(0x28),
  s_mtime: u32(0x2c),
  s_wtime: u32(0x30),
  s_magic: u16(0x38),
  s_state: u16(0x3a),
  s_creator_os: u32(0x48),
  s_rev_level: u32(0x4c),
  s_first_ino: u32(0x54),
  s_inode_size: u16(0x58),
  s_feature_compat: u32(0x5c),
  s_feature_incompat: u32(0x60),
  s_feature_ro_compat: u32(0x64),
  s_uuid: uuid(0x68),
  s_uuid_bytes: bytes(0x68, 16),
  s_volume_name: text(0x78, 16),
  s_last_mounted: text(0x88, 64),
  s_reserved_gdt_blocks: u16(0xce),
  s_journal_uuid: uuid(0xd0),
  s_journal_inum: u32(0xe0),
  s_journal_dev: u32(0xe4),
  s_last_orphan: u32(0xe8),
  s_hash_seed: bytes(0xec, 16),
  s_def_hash_version: u8(0xfc),
  s_desc_size: u16(0xfe),
  s_first_meta_bg: u32(0x104),
  s_blocks_count_hi: u32(0x150),
  s_r_blocks_count_hi: u32(0x154),
  s_free_blocks_count_hi: u32(0x158),
  s_min_extra_isize: u16(0x15c),
  s_flags: i32(0x160),
  s_mmp_block: u64(0x168),
  s_log_groups_per_flex: u8(0x174),
  s_checksum_type: u8(0x175),
  s_overhead_clusters: u32(0x248),
  s_backup_bgs_0: u32(0x24c),
  s_backup_bgs_1: u32(0x250),
  s_prj_quota_inum: u32(0x26c),
  s_checksum_seed: u32(0x270),
  s_encoding: u16(0x27c),
  s_encoding_flags: u16(0x27e),
  s_orphan_file_inum: u32(0x280),
  s_checksum: u32(0x3fc),
});
export type Superblock = Of<typeof Superblock>;

/** EXT4_GOOD_OLD_FIRST_INO */
const GOOD_OLD_FIRST_INODE = 11;

/** s_flags: the directory hash takes bytes as unsigned. */
const FLAGS_UNSIGNED_HASH = 0x2;

/** More groups than 256 TiB of blocks of 4 KiB make: all of them are looked at to tell how much space is free. */
const MOST_GROUPS = 2 ** 21;

/** The numbers that follow from a superblock, checked. Sizes in bytes, counts in blocks unless they say otherwise. */
export class Geometry {
  readonly blockSize: number;
  readonly blocksCount: number;
  readonly reservedBlocks: number;
  readonly inodesCount: number;
  readonly inodeSize: number;
  /** The first inode that can be a user's file, and the one that lists orphans; 0: none. */
  readonly firstInode: number;
  readonly orphanFileInode: number;
  readonly firstDataBlock: number;
  readonly blocksPerGroup: number;
  readonly inodesPerGroup: number;
  readonly groups: number;
  readonly clusterBlocks: number;
  readonly descriptorSize: number;
  readonly descriptorsPerBlock: number;
  readonly firstMetaGroup: number;
  readonly reservedDescriptorBlocks: number;
  readonly compat: number;
  readonly incompat: number;
  readonly roCompat: number;
  readonly backupGroups: readonly [number, number];
  readonly checksums: boolean;
  readonly checksumSeed: number;
  readonly hashVersion: number;
  readonly hashUnsigned: boolean;
  /** Four words; all zero means the default seed. */
  readonly hashSeed: Uint32Array;
  readonly overheadClusters: number;
  readonly journalInode: number;
  /** The inode of the projects' quotas, and the block of the multiple mount protection; 0: none. */
  readonly projectQuotaInode: number;
  readonly mountGuardBlock: number;
  readonly label: string;
  readonly uuid: string;
  readonly uuidBytes: Buffer;

  /** Throws IoError (EIO) when the superblock makes no sense or needs a feature that is not known here. */
  constructor(superblock: Superblock) {
    if (superblock.s_magic !== SUPERBLOCK_MAGIC) throw bad("no superblock");
    this.compat = superblock.s_feature_compat;
    this.incompat = superblock.s_feature_incompat;
    this.roCompat = superblock.s_feature_ro_compat;
    const revision0 = superblock.s_rev_level === 0;
    if (revision0) {
      this.compat = 0;
      this.incompat = 0;
      this.roCompat = 0;
    }
    const unreadable = unreadableFeatures(this.incompat);
    if (unreadable.length > 0) {
      throw new IoError(
        EIO,
        `needs the feature${unreadable.length > 1 ? "s" : ""} ${unreadable.join(", ")}, not known here`,
      );
    }
    this.checksums = this.hasRoCompat(RoCompat.METADATA_CSUM);
    if (this.checksums) {
      if (superblock.s_checksum_type !== 1) throw bad(`checksum type ${superblock.s_checksum_type}`);
      const sum = crc32c(0xffffffff, superblock.buffer, superblock.base, superblock.base + 0x3fc);
      if (sum !== superblock.s_checksum) throw bad("wrong checksum");
    }
    if (superblock.s_log_block_size > 6) throw bad(`s_log_block_size ${superblock.s_log_block_size}`);
    this.blockSize = 1024 << superblock.s_log_block_size;
    const high = this.hasIncompat(Incompat.BIT64);
    this.blocksCount = superblock.s_blocks_count_lo + (high ? superblock.s_blocks_count_hi * 2 ** 32 : 0);
    this.reservedBlocks =
      superblock.s_r_blocks_count_lo + (high ? superblock.s_r_blocks_count_hi * 2 ** 32 : 0);
    if (this.blocksCount * this.blockSize > 2 ** 53) throw bad(`${this.blocksCount} blocks`);
    this.inodesCount = superblock.s_inodes_count;
    this.inodeSize = revision0 ? 128 : superblock.s_inode_size;
    if (
      this.inodeSize < 128 ||
      this.inodeSize > this.blockSize ||
      (this.inodeSize & (this.inodeSize - 1)) !== 0
    ) {
      throw bad(`s_inode_size ${this.inodeSize}`);
    }
    this.orphanFileInode = this.hasCompat(Compat.ORPHAN_FILE) ? superblock.s_orphan_file_inum : 0;
    this.firstInode = revision0 ? GOOD_OLD_FIRST_INODE : superblock.s_first_ino;
    this.firstDataBlock = superblock.s_first_data_block;
    this.blocksPerGroup = superblock.s_blocks_per_group;
    this.inodesPerGroup = superblock.s_inodes_per_group;
    const bigalloc = this.hasRoCompat(RoCompat.BIGALLOC);
    const clusterShift = bigalloc ? superblock.s_log_cluster_size - superblock.s_log_block_size : 0;
    if (clusterShift < 0 || clusterShift > 20)
      throw bad(`s_log_cluster_size ${superblock.s_log_cluster_size}`);
    this.clusterBlocks = 1 << clusterShift;
    if (this.blocksPerGroup < 8 || this.blocksPerGroup > this.blockSize * 8 * this.clusterBlocks) {
      throw bad(`s_blocks_per_group ${this.blocksPerGroup}`);
    }
    if (this.inodesPerGroup < 1 || this.inodesPerGroup > this.blockSize * 8) {
      throw bad(`s_inodes_per_group ${this.inodesPerGroup}`);
    }
    if (this.firstDataBlock >= this.blocksCount) throw bad(`s_first_data_block ${this.firstDataBlock}`);
    this.groups = Math.ceil((this.blocksCount - this.firstDataBlock) / this.blocksPerGroup);
    if (this.groups > MOST_GROUPS) throw bad(`${this.groups} groups`);
    // The kernel has them equal, too (ext4_check_geometry): that holds groups and blocks to what inodes there can be.
    if (this.groups * this.inodesPerGroup !== this.inodesCount)
      throw bad(`s_inodes_count ${this.inodesCount}`);
    this.descriptorSize = high ? superblock.s_desc_size : 32;
    if (
      high &&
      (this.descriptorSize < 64 ||
        this.descriptorSize > 1024 ||
        (this.descriptorSize & (this.descriptorSize - 1)) !== 0)
    ) {
      throw bad(`s_desc_size ${this.descriptorSize}`);
    }
    this.descriptorsPerBlock = this.blockSize / this.descriptorSize;
    this.firstMetaGroup = this.hasIncompat(Incompat.META_BG)
      ? superblock.s_first_meta_bg
      : Number.POSITIVE_INFINITY;
    this.reservedDescriptorBlocks = superblock.s_reserved_gdt_blocks;
    this.backupGroups = [superblock.s_backup_bgs_0, superblock.s_backup_bgs_1];
    this.uuidBytes = Buffer.from(superblock.s_uuid_bytes);
    this.checksumSeed = this.hasIncompat(Incompat.CSUM_SEED)
      ? superblock.s_checksum_seed
      : crc32c(0xffffffff, this.uuidBytes, 0, 16);
    this.hashVersion = superblock.s_def_hash_version;
    this.hashUnsigned = (superblock.s_flags & FLAGS_UNSIGNED_HASH) !== 0;
    const seed = superblock.s_hash_seed;
    this.hashSeed = Uint32Array.from([0, 4, 8, 12], (at) => seed.readUInt32LE(at));
    this.overheadClusters = superblock.s_overhead_clusters;
    this.journalInode = superblock.s_journal_inum;
    this.projectQuotaInode = this.hasRoCompat(RoCompat.PROJECT) ? superblock.s_prj_quota_inum : 0;
    this.mountGuardBlock = this.hasIncompat(Incompat.MMP) ? superblock.s_mmp_block : 0;
    this.label = superblock.s_volume_name;
    this.uuid = superblock.s_uuid;
  }

  hasCompat(feature: number): boolean {
    return (this.compat & feature) !== 0;
  }

  hasIncompat(feature: number): boolean {
    return (this.incompat & feature) !== 0;
  }

  hasRoCompat(feature: number): boolean {
    return (this.roCompat & feature) !== 0;
  }
}

function bad(what: string): IoError {
  return new IoError(EIO, `the superblock is bad: ${what}`);
}
