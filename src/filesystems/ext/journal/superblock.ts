/** The journal's superblock, checked as the kernel does (journal_check_superblock, journal_load_superblock). */
import { crc32c } from "../../../layout/crc32c.js";
import { Errno, FileSystemError } from "../../filesystem.js";
import { BlockType, JOURNAL_MAGIC, JournalCompat, JournalIncompat, SuperblockLayout } from "./format.js";

const CHECKSUM_AT = 0xfc;
const CHECKSUM_TYPE_CRC32C = 4;
const ZEROS = Buffer.alloc(4);
const NO_UUID = "00000000-0000-0000-0000-000000000000";

/** JBD2_DEFAULT_FAST_COMMIT_BLOCKS: what s_num_fc_blks of 0 means. */
const DEFAULT_FAST_COMMIT_BLOCKS = 256;
/** The longest journal that mke2fs makes, in blocks; a longer one is a lie of a hostile disk. */
const LONGEST_JOURNAL = 10_240_000;

/**
 * How a journal's checksums are made. `v1`: one CRC over a transaction's descriptors and copies, in its commit block.
 * `v2` and `v3`: one in every descriptor, revoke and commit block and one for every copy, in its tag (16 or 32 bits).
 */
export type ChecksumVersion = "none" | "v1" | "v2" | "v3";

export class JournalSuperblock {
  /** Bytes. */
  readonly blockSize: number;
  /** The log's first block, and one past its last: where it wraps. */
  readonly first: number;
  readonly end: number;
  /** The first block for fast commits, and one past the last; equal when the journal has none. */
  readonly fastCommitFirst: number;
  readonly fastCommitEnd: number;
  /** The oldest transaction that may not be in its place yet, and the block where it starts; 0: the log is empty. */
  readonly sequence: number;
  readonly start: number;
  /** What the kernel noted when it gave the journal up (a positive errno); 0 if it did not. */
  readonly errno: number;
  readonly incompat: number;
  readonly uuid: string;
  readonly checksums: ChecksumVersion;
  /** What checksums of v2 and v3 begin with (j_csum_seed). */
  readonly checksumSeed: number;
  /** Bytes of a tag in descriptor blocks (journal_tag_bytes). */
  readonly tagBytes: number;
  /** Bytes of a block number in revoke blocks. */
  readonly revokeBytes: number;

  /**
   * `block` holds the journal's block 0, `blockSize` is the size in which it was read, `length` how many blocks there
   * are. Throws FileSystemError (EIO) when the superblock makes no sense or needs a feature that is not known here.
   */
  constructor(block: Buffer, blockSize: number, length: number) {
    const superblock = SuperblockLayout.at(block);
    const version = superblock.h_blocktype;
    if (
      superblock.h_magic !== JOURNAL_MAGIC ||
      (version !== BlockType.SUPERBLOCK_V1 && version !== BlockType.SUPERBLOCK_V2)
    ) {
      throw bad("no superblock");
    }
    if (superblock.s_blocksize !== blockSize) {
      throw bad(`s_blocksize ${superblock.s_blocksize} where blocks have ${blockSize} bytes`);
    }
    const featured = version === BlockType.SUPERBLOCK_V2;
    const compat = featured ? superblock.s_feature_compat : 0;
    this.incompat = featured ? superblock.s_feature_incompat : 0;
    const unknown = unknownFeatures(this.incompat);
    if (unknown !== 0) {
      throw bad(`it needs the feature 0x${unknown.toString(16)} (s_feature_incompat), not known here`);
    }
    this.checksums = checksumVersion(compat, this.incompat);
    if (this.checksums === "v2" || this.checksums === "v3") {
      if (superblock.s_checksum_type !== CHECKSUM_TYPE_CRC32C) {
        throw bad(`s_checksum_type ${superblock.s_checksum_type}`);
      }
      let sum = crc32c(0xffffffff, block, 0, CHECKSUM_AT);
      sum = crc32c(sum, ZEROS, 0, 4);
      sum = crc32c(sum, block, CHECKSUM_AT + 4, SuperblockLayout.size);
      if (sum !== superblock.s_checksum) throw bad("wrong checksum of the superblock");
    }
    const maxLength = superblock.s_maxlen;
    if (maxLength > length || maxLength > LONGEST_JOURNAL) {
      throw bad(`s_maxlen ${maxLength} where there are ${Math.min(length, LONGEST_JOURNAL)} blocks`);
    }
    this.blockSize = blockSize;
    this.first = superblock.s_first;
    this.fastCommitEnd = maxLength;
    if (this.hasIncompat(JournalIncompat.FAST_COMMIT)) {
      this.end = maxLength - (superblock.s_num_fc_blks || DEFAULT_FAST_COMMIT_BLOCKS);
      this.fastCommitFirst = Math.min(this.end + 1, maxLength);
    } else {
      this.end = maxLength;
      this.fastCommitFirst = maxLength;
    }
    if (this.first === 0 || this.first >= this.end)
      throw bad(`a log from block ${this.first} to ${this.end}`);
    this.sequence = superblock.s_sequence;
    this.start = superblock.s_start;
    if (this.start >= this.end) throw bad(`s_start ${this.start} in a log up to block ${this.end}`);
    // A negative errno, stored by old kernels as such.
    this.errno = Math.abs(superblock.s_errno | 0);
    this.uuid = featured ? superblock.s_uuid : NO_UUID;
    this.checksumSeed = crc32c(0xffffffff, superblock.s_uuid_bytes, 0, 16);
    this.tagBytes = tagBytes(this.incompat);
    this.revokeBytes = this.hasIncompat(JournalIncompat.BIT64) ? 8 : 4;
  }

  hasIncompat(feature: number): boolean {
    return (this.incompat & feature) !== 0;
  }

  /** Whether blocks and copies have checksums of their own. */
  get blockChecksums(): boolean {
    return this.checksums === "v2" || this.checksums === "v3";
  }

  /** The log's block after `index`, `blocks` further on. */
  advance(index: number, blocks: number): number {
    const next = index + blocks;
    return next < this.end ? next : this.first + ((next - this.end) % (this.end - this.first));
  }

  /**
   * Whether `other` describes a log of the same shape: only where it begins may differ, and whether it has had
   * revocations, which the kernel notes when it writes the first.
   */
  isLike(other: JournalSuperblock): boolean {
    return (
      this.first === other.first &&
      this.end === other.end &&
      ((this.incompat ^ other.incompat) & ~JournalIncompat.REVOKE) === 0 &&
      this.checksums === other.checksums &&
      this.checksumSeed === other.checksumSeed
    );
  }
}

function unknownFeatures(incompat: number): number {
  let known = 0;
  for (const feature of Object.values(JournalIncompat)) known |= feature;
  return (incompat & ~known) >>> 0;
}

function checksumVersion(compat: number, incompat: number): ChecksumVersion {
  const v1 = (compat & JournalCompat.CHECKSUM) !== 0;
  const v2 = (incompat & JournalIncompat.CSUM_V2) !== 0;
  const v3 = (incompat & JournalIncompat.CSUM_V3) !== 0;
  if (Number(v1) + Number(v2) + Number(v3) > 1) throw bad("checksums of two versions at once");
  if (v3) return "v3";
  if (v2) return "v2";
  return v1 ? "v1" : "none";
}

/** journal_tag_bytes: v2 added two bytes that nothing uses, and only v3 made the tag a new structure. */
function tagBytes(incompat: number): number {
  if ((incompat & JournalIncompat.CSUM_V3) !== 0) return 16;
  const high = (incompat & JournalIncompat.BIT64) !== 0 ? 4 : 0;
  return 8 + high + ((incompat & JournalIncompat.CSUM_V2) !== 0 ? 2 : 0);
}

function bad(what: string): FileSystemError {
  return new FileSystemError(Errno.EIO, `the journal is bad: ${what}`);
}
