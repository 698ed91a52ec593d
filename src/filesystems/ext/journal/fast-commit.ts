/**
 * Fast commits: small logical changes that follow the last transaction in an area of their own at the journal's end
 * (fs/ext4/fast_commit.h). A record is a tag, a length and a value, all little-endian; a complete fast commit ends
 * with a TAIL record that carries its checksum, and no record spans two blocks.
 */

import type { Log } from "../../../images/image.js";
import { crc32c } from "../../../layout/crc32c.js";
import type { JournalDevice } from "./device.js";
import type { JournalSuperblock } from "./superblock.js";

/** fc_tag */
const Tag = {
  ADD_RANGE: 1,
  DEL_RANGE: 2,
  CREAT: 3,
  LINK: 4,
  UNLINK: 5,
  INODE: 6,
  PAD: 7,
  TAIL: 8,
  HEAD: 9,
} as const;

/** What one record says. File blocks and lengths are in blocks. */
export type FastCommitOperation =
  /** The file's blocks from `block` on are now the volume's from `physical` on. */
  | { kind: "add"; ino: number; block: number; length: number; physical: number; unwritten: boolean }
  /** The file's blocks from `block` on are now a hole. */
  | { kind: "delete"; ino: number; block: number; length: number }
  /** The directory `parent` has the name now; with `create` the inode is new. */
  | { kind: "create" | "link"; parent: number; ino: number; name: Buffer }
  /** The directory `parent` no longer has the name for that inode. */
  | { kind: "unlink"; parent: number; ino: number; name: Buffer }
  /** The inode as it is now, as many bytes as count (its i_block need not be right: see FastCommitState). */
  | { kind: "inode"; ino: number; raw: Buffer };

/** Bytes of a record before its value (ext4_fc_tl), of a HEAD's value, and of a TAIL's. */
const RECORD_HEADER = 4;
const HEAD_LENGTH = 8;
const TAIL_LENGTH = 8;
const RANGE_LENGTH = 16;
const DELETED_RANGE_LENGTH = 12;
/** Bytes of a directory entry's record before its name, and of an inode's before the inode. */
const ENTRY_HEADER = 8;
const INODE_HEADER = 4;
const LONGEST_NAME = 255;
const SMALLEST_INODE = 128;
/** An extent longer than this is unwritten, and so much shorter than it says (EXT_INIT_MAX_LEN). */
const LONGEST_WRITTEN_EXTENT = 32768;
/** EXT4_FC_SUPPORTED_FEATURES: none is defined. */
const KNOWN_FEATURES = 0;

/** The operations of one complete fast commit, in order: they hold together or not at all. */
export type FastCommit = readonly FastCommitOperation[];

/** More operations than this are not taken; the usual area, 256 blocks of 4 KiB, has room for a fifth of them. */
const MOST_OPERATIONS = 400_000;

/**
 * Reads the complete fast commits of transaction `sequence`, the one that would come next (ext4_fc_replay_scan), in
 * order. `inodeSize` in bytes. Throws what the device throws.
 */
export function readFastCommits(
  device: JournalDevice,
  superblock: JournalSuperblock,
  sequence: number,
  inodeSize: number,
  log: Log,
): FastCommit[] {
  const commits: FastCommit[] = [];
  const block = Buffer.alloc(superblock.blockSize);
  let operations: FastCommitOperation[] = [];
  let taken = 0;
  let sum = 0;
  for (let index = superblock.fastCommitFirst; index < superblock.fastCommitEnd; index++) {
    device.read(index, block, 0);
    if (index === superblock.fastCommitFirst && block.readUInt16LE(0) !== Tag.HEAD) return commits;
    for (let at = 0; at + RECORD_HEADER <= block.length; ) {
      const tag = block.readUInt16LE(at);
      const length = block.readUInt16LE(at + 2);
      const value = at + RECORD_HEADER;
      if (value + length > block.length || !isLength(tag, length, inodeSize)) return commits;
      if (tag === Tag.HEAD && !isHeadOf(block, value, sequence, log)) return commits;
      if (tag === Tag.TAIL) {
        sum = crc32c(sum, block, at, value + 4);
        if (block.readUInt32LE(value) !== sequence || block.readUInt32LE(value + 4) !== sum) return commits;
        commits.push(operations);
        operations = [];
        sum = 0;
      } else {
        sum = crc32c(sum, block, at, value + length);
        const operation = readOperation(tag, block, value, length);
        if (operation !== undefined) {
          operations.push(operation);
          taken++;
        }
      }
      at = value + length;
    }
    if (taken > MOST_OPERATIONS) {
      log(`the journal has more than ${MOST_OPERATIONS} fast commit records; only the first are read`);
      break;
    }
  }
  return commits;
}

function isHeadOf(block: Buffer, value: number, sequence: number, log: Log): boolean {
  const features = block.readUInt32LE(value);
  if ((features & ~KNOWN_FEATURES) !== 0) {
    log(`fast commits need the features 0x${features.toString(16)}, not known here; they are not read`);
    return false;
  }
  return block.readUInt32LE(value + 4) === sequence;
}

/** ext4_fc_value_len_isvalid */
function isLength(tag: number, length: number, inodeSize: number): boolean {
  switch (tag) {
    case Tag.ADD_RANGE:
      return length === RANGE_LENGTH;
    case Tag.DEL_RANGE:
      return length === DELETED_RANGE_LENGTH;
    case Tag.CREAT:
    case Tag.LINK:
    case Tag.UNLINK:
      return length > ENTRY_HEADER && length <= ENTRY_HEADER + LONGEST_NAME;
    case Tag.INODE:
      return length >= INODE_HEADER + SMALLEST_INODE && length <= INODE_HEADER + inodeSize;
    case Tag.PAD:
      return true;
    case Tag.TAIL:
      return length >= TAIL_LENGTH;
    case Tag.HEAD:
      return length === HEAD_LENGTH;
    default:
      return false;
  }
}

function readOperation(
  tag: number,
  block: Buffer,
  at: number,
  length: number,
): FastCommitOperation | undefined {
  switch (tag) {
    case Tag.ADD_RANGE: {
      const stored = block.readUInt16LE(at + 8);
      const unwritten = stored > LONGEST_WRITTEN_EXTENT;
      return {
        kind: "add",
        ino: block.readUInt32LE(at),
        block: block.readUInt32LE(at + 4),
        length: unwritten ? stored - LONGEST_WRITTEN_EXTENT : stored,
        physical: block.readUInt16LE(at + 10) * 2 ** 32 + block.readUInt32LE(at + 12),
        unwritten,
      };
    }
    case Tag.DEL_RANGE:
      return {
        kind: "delete",
        ino: block.readUInt32LE(at),
        block: block.readUInt32LE(at + 4),
        length: block.readUInt32LE(at + 8),
      };
    case Tag.CREAT:
    case Tag.LINK:
    case Tag.UNLINK:
      return {
        kind: tag === Tag.CREAT ? "create" : tag === Tag.LINK ? "link" : "unlink",
        parent: block.readUInt32LE(at),
        ino: block.readUInt32LE(at + 4),
        name: Buffer.from(block.subarray(at + ENTRY_HEADER, at + length)),
      };
    case Tag.INODE:
      return {
        kind: "inode",
        ino: block.readUInt32LE(at),
        raw: Buffer.from(block.subarray(at + INODE_HEADER, at + length)),
      };
    default:
      return undefined;
  }
}
