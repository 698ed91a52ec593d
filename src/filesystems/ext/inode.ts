/** Inodes (struct ext4_inode; ext4 documentation, "Inode Table"): finding one, checking it, what stat tells of it. */
import { EIO, IoError } from "../../images/io-error.js";
import { crc32c } from "../../layout/crc32c.js";
import { i32, structure, u16, u32 } from "../../layout/struct.js";
import type { View } from "../../versions/view.js";
import { type Attributes, Errno, FileSystemError, FileType } from "../filesystem.js";
import { Incompat, RoCompat } from "./features.js";
import type { Groups } from "./groups.js";
import type { Geometry } from "./superblock.js";

/** Bytes of an inode that every revision has (EXT4_GOOD_OLD_INODE_SIZE). */
export const GOOD_OLD_SIZE = 128;
/** Where i_block lies, and its bytes. */
export const I_BLOCK = 0x28;
export const I_BLOCK_SIZE = 60;
const CHECKSUM_LO_AT = 0x7c;
const CHECKSUM_HI_AT = 0x82;

const RawInode = structure("ext4_inode", GOOD_OLD_SIZE, {
  i_mode: u16(0x0),
  i_uid: u16(0x2),
  i_size_lo: u32(0x4),
  i_atime: i32(0x8),
  i_ctime: i32(0xc),
  i_mtime: i32(0x10),
  i_dtime: u32(0x14),
  i_gid: u16(0x18),
  i_links_count: u16(0x1a),
  i_blocks_lo: u32(0x1c),
  i_flags: u32(0x20),
  i_generation: u32(0x64),
  i_file_acl_lo: u32(0x68),
  i_size_high: u32(0x6c),
  l_i_blocks_high: u16(0x74),
  l_i_file_acl_high: u16(0x76),
  l_i_uid_high: u16(0x78),
  l_i_gid_high: u16(0x7a),
});

/** Offsets of the fields beyond the first 128 bytes; each is there only if i_extra_isize reaches over it. */
const Extra = {
  I_EXTRA_ISIZE: 0x80,
  I_CTIME_EXTRA: 0x84,
  I_MTIME_EXTRA: 0x88,
  I_ATIME_EXTRA: 0x8c,
  I_CRTIME: 0x90,
  I_CRTIME_EXTRA: 0x94,
} as const;

/** i_flags */
export const InodeFlags = {
  ENCRYPT: 0x800,
  INDEX: 0x1000,
  HUGE_FILE: 0x40000,
  EXTENTS: 0x80000,
  VERITY: 0x100000,
  EA_INODE: 0x200000,
  INLINE_DATA: 0x10000000,
  CASEFOLD: 0x40000000,
} as const;

/** One inode, copied out of its table; used again for others. */
export class Inode {
  ino = 0;
  /** The raw inode: the geometry's inodeSize bytes. */
  readonly raw: Buffer;
  readonly fields;
  /** The checksum seed of all that belongs to this inode: number and generation (ext4_inode_info.i_csum_seed). */
  checksumSeed = 0;

  constructor(geometry: Geometry) {
    this.raw = Buffer.alloc(geometry.inodeSize);
    this.fields = RawInode.at(this.raw);
  }

  get mode(): number {
    return this.fields.i_mode;
  }

  get type(): number {
    return this.fields.i_mode & FileType.MASK;
  }

  hasFlag(flag: number): boolean {
    return (this.fields.i_flags & flag) !== 0;
  }

  /** Where extended attributes may begin within the raw inode: after the fields that i_extra_isize covers. */
  get extraEnd(): number {
    if (this.raw.length === GOOD_OLD_SIZE) return GOOD_OLD_SIZE;
    return Math.min(this.raw.length, GOOD_OLD_SIZE + this.raw.readUInt16LE(Extra.I_EXTRA_ISIZE));
  }
}

/** Inodes that are not as their tables say (fast commits change them). */
export interface InodeOverlay {
  /** The raw inode, i_mode 0 if it has been deleted; undefined: as the table says. Throws IoError. */
  inode(ino: number): Buffer | undefined;
}

/** The inode tables of one view. */
export class Inodes {
  /** Set while fast commits are in force. */
  overlay: InodeOverlay | undefined;
  readonly #geometry: Geometry;
  readonly #view: View;
  readonly #groups: Groups;
  readonly #scratch = Buffer.alloc(4);

  constructor(geometry: Geometry, view: View, groups: Groups) {
    this.#geometry = geometry;
    this.#view = view;
    this.#groups = groups;
  }

  /**
   * Copies an inode into `into` and checks it. Throws ESTALE when the number is of no inode in use, EIO when the inode
   * or its group's descriptor is bad.
   */
  read(ino: number, into: Inode): Inode {
    const geometry = this.#geometry;
    if (ino < 1 || ino > geometry.inodesCount)
      throw new FileSystemError(Errno.ESTALE, `inode ${ino} does not exist`);
    into.ino = ino;
    const changed = this.overlay?.inode(ino);
    if (changed === undefined) this.#copy(ino, into);
    else changed.copy(into.raw);
    const { fields } = into;
    if (fields.i_mode === 0) throw new FileSystemError(Errno.ESTALE, `inode ${ino} is not in use`);
    if (geometry.checksums) this.#verify(into);
    if (fields.i_links_count === 0 && !this.#isInUse(ino)) {
      throw new FileSystemError(Errno.ESTALE, `inode ${ino} has been deleted`);
    }
    return into;
  }

  /** As `read`; false, without an error, for an inode that is not in use or, unless `orNot`, has no names. */
  readNamed(ino: number, into: Inode, orNot = false): boolean {
    into.ino = ino;
    const changed = this.overlay?.inode(ino);
    if (changed === undefined) this.#copy(ino, into);
    else changed.copy(into.raw);
    if (into.fields.i_mode === 0 || (into.fields.i_links_count === 0 && !orNot)) return false;
    if (this.#geometry.checksums) this.#verify(into);
    return true;
  }

  /** Whether an inode that is in the journal has been written to its place as well. Throws IoError. */
  isInPlace(ino: number): boolean {
    if (this.overlay?.inode(ino) !== undefined) return false;
    const { inodeSize, blockSize } = this.#geometry;
    const within = (((ino - 1) % this.#geometry.inodesPerGroup) * inodeSize) % blockSize;
    return this.#view.isInPlace(this.#blockOf(ino), within, inodeSize);
  }

  /** Whether an inode's place is the only one that it has. Throws IoError. */
  isSettled(ino: number): boolean {
    return !this.#view.hasCopy(this.#blockOf(ino));
  }

  /** Copies a raw inode out of its table. */
  #copy(ino: number, into: Inode): void {
    const { inodeSize, blockSize } = this.#geometry;
    const within = (((ino - 1) % this.#geometry.inodesPerGroup) * inodeSize) % blockSize;
    const buffer = this.#view.locate(this.#blockOf(ino), true);
    const at = this.#view.at + within;
    buffer.copy(into.raw, 0, at, at + inodeSize);
  }

  /** The block that has an inode. Throws IoError. */
  #blockOf(ino: number): number {
    const { inodesPerGroup, inodeSize, blockSize, blocksCount } = this.#geometry;
    const group = Math.floor((ino - 1) / inodesPerGroup);
    const position = ((ino - 1) % inodesPerGroup) * inodeSize;
    const block = this.#groups.inodeTable(group) + Math.floor(position / blockSize);
    if (block >= blocksCount) throw new IoError(EIO, `inode ${ino}: its table lies outside the file system`);
    return block;
  }

  /** Whether an inode without names is still in use: deleted, but open in the guest. */
  #isInUse(ino: number): boolean {
    const { inodesPerGroup } = this.#geometry;
    return this.#groups.inodeInUse(Math.floor((ino - 1) / inodesPerGroup), (ino - 1) % inodesPerGroup);
  }

  /** The file's size in bytes (ext4_isize). Throws EIO when it is beyond what any file can have. */
  size(inode: Inode): number {
    const { fields } = inode;
    const high =
      inode.type === FileType.REGULAR || this.#geometry.hasIncompat(Incompat.LARGEDIR)
        ? fields.i_size_high
        : 0;
    const size = fields.i_size_lo + high * 2 ** 32;
    if (high > 0x1f_ffff) throw new IoError(EIO, `inode ${inode.ino}: a size of ${size}`);
    return size;
  }

  /** The block of extended attributes, 0 for none. */
  attributeBlock(inode: Inode): number {
    const { fields } = inode;
    return this.#geometry.hasIncompat(Incompat.BIT64)
      ? fields.i_file_acl_lo + fields.l_i_file_acl_high * 2 ** 32
      : fields.i_file_acl_lo;
  }

  /** Fills `out` with what stat(2) tells. */
  attributes(inode: Inode, out: Attributes): void {
    const { fields, raw } = inode;
    const type = inode.type;
    out.ino = inode.ino;
    out.generation = fields.i_generation;
    out.mode = fields.i_mode;
    out.nlink = fields.i_links_count;
    out.uid = (fields.l_i_uid_high * 0x10000 + fields.i_uid) >>> 0;
    out.gid = (fields.l_i_gid_high * 0x10000 + fields.i_gid) >>> 0;
    out.size = this.size(inode);
    out.blksize = this.#geometry.blockSize;
    out.blocks = this.#blocks(inode);
    out.major = 0;
    out.minor = 0;
    if (type === FileType.CHARACTER || type === FileType.BLOCK) this.#device(raw, out);
    const extraEnd = inode.extraEnd;
    const atime = extraWord(raw, Extra.I_ATIME_EXTRA, extraEnd);
    const mtime = extraWord(raw, Extra.I_MTIME_EXTRA, extraEnd);
    const ctime = extraWord(raw, Extra.I_CTIME_EXTRA, extraEnd);
    // Of each extra word, the lower two bits extend the seconds, the rest are the nanoseconds.
    out.atime = fields.i_atime + (atime & 3) * 2 ** 32;
    out.atimeNsec = atime >>> 2;
    out.mtime = fields.i_mtime + (mtime & 3) * 2 ** 32;
    out.mtimeNsec = mtime >>> 2;
    out.ctime = fields.i_ctime + (ctime & 3) * 2 ** 32;
    out.ctimeNsec = ctime >>> 2;
    out.btime = 0;
    out.btimeNsec = 0;
    if (extraEnd >= Extra.I_CRTIME + 4) {
      const crtime = extraWord(raw, Extra.I_CRTIME_EXTRA, extraEnd);
      out.btime = raw.readInt32LE(Extra.I_CRTIME) + (crtime & 3) * 2 ** 32;
      out.btimeNsec = crtime >>> 2;
    }
  }

  /** i_blocks in units of 512 bytes (ext4_inode_blocks). */
  #blocks(inode: Inode): number {
    const { fields } = inode;
    if (!this.#geometry.hasRoCompat(RoCompat.HUGE_FILE)) return fields.i_blocks_lo;
    const blocks = fields.i_blocks_lo + fields.l_i_blocks_high * 2 ** 32;
    return inode.hasFlag(InodeFlags.HUGE_FILE) ? blocks * (this.#geometry.blockSize / 512) : blocks;
  }

  /** i_block[0] in the old encoding of 8 bits each, else i_block[1] in the new one (ext4_iget). */
  #device(raw: Buffer, out: Attributes): void {
    const old = raw.readUInt32LE(I_BLOCK);
    if (old !== 0) {
      out.major = (old >>> 8) & 0xff;
      out.minor = old & 0xff;
      return;
    }
    const device = raw.readUInt32LE(I_BLOCK + 4);
    out.major = (device >>> 8) & 0xfff;
    out.minor = (device & 0xff) | ((device >>> 12) & 0xfff00);
  }

  /** Sets the checksum seed of an inode that was not read by `read`. */
  setSeed(inode: Inode): void {
    if (!this.#geometry.checksums) return;
    const scratch = this.#scratch;
    scratch.writeUInt32LE(inode.ino, 0);
    const seed = crc32c(this.#geometry.checksumSeed, scratch, 0, 4);
    scratch.writeUInt32LE(inode.fields.i_generation, 0);
    inode.checksumSeed = crc32c(seed, scratch, 0, 4);
  }

  /** Checks i_checksum and sets the seed (ext4_inode_csum). */
  #verify(inode: Inode): void {
    const { raw } = inode;
    this.setSeed(inode);
    const seed = inode.checksumSeed;
    const low = raw.readUInt16LE(CHECKSUM_LO_AT);
    const size = raw.length;
    const hasHigh = size > GOOD_OLD_SIZE && inode.extraEnd >= CHECKSUM_HI_AT + 2;
    const high = hasHigh ? raw.readUInt16LE(CHECKSUM_HI_AT) : 0;
    raw.writeUInt16LE(0, CHECKSUM_LO_AT);
    if (hasHigh) raw.writeUInt16LE(0, CHECKSUM_HI_AT);
    let sum = crc32c(seed, raw, 0, size);
    raw.writeUInt16LE(low, CHECKSUM_LO_AT);
    if (hasHigh) raw.writeUInt16LE(high, CHECKSUM_HI_AT);
    if (!hasHigh) sum &= 0xffff;
    if (sum >>> 0 !== (high * 0x10000 + low) >>> 0) {
      throw new IoError(EIO, `inode ${inode.ino}: wrong checksum`);
    }
  }
}

/** Inline data takes no block, but the kernel counts what it would take (ext4_file_getattr). */
export function countInlineData(inode: Inode, out: Attributes): void {
  if (inode.type === FileType.REGULAR && inode.hasFlag(InodeFlags.INLINE_DATA))
    out.blocks += Math.ceil(out.size / 512);
}

function extraWord(raw: Buffer, offset: number, extraEnd: number): number {
  return extraEnd >= offset + 4 ? raw.readUInt32LE(offset) : 0;
}
