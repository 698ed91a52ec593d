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

/** A complete fast commit as the journal has it. */
export interface LoggedFastCommit {
  /** The transaction that it is a part of, and its place among that transaction's fast commits, from 1 on. */
  readonly sequence: number;
  readonly number: number;
  /** Its blocks, in shared memory: see `fastCommitOperations`. */
  readonly blocks: Buffer;
}

/** More records than this are not taken; the usual area, 256 blocks of 4 KiB, has room for a fifth of them. */
const MOST_RECORDS = 400_000;
/** Bytes of one fast commit, and blocks that are remembered as holding no complete one. */
const MOST_BYTES = 64 << 20;
const MOST_SEEN = 64;

/** How far a block's records lead: to the end of the fast commit, on to the next block, or nowhere. */
type BlockEnd = "tail" | "next" | "nowhere";

/**
 * The complete fast commits of one transaction, the one that would come next (ext4_fc_replay_scan), one by one, on a
 * disk at rest as well as on one whose guest goes on writing. Each begins with a block of its own, as the record that
 * ends one takes up the rest of its block (ext4_fc_write_tail).
 */
export class FastCommitArea {
  readonly sequence: number;
  readonly #device: JournalDevice;
  readonly #superblock: JournalSuperblock;
  readonly #inodeSize: number;
  readonly #log: Log;
  readonly #block: Buffer;
  /** Where the next fast commit begins. */
  #index: number;
  #number = 0;
  #records = 0;
  #sum = 0;
  /** The blocks from there on, as they were when they held no complete fast commit. */
  #seen: readonly Buffer[] = [];

  /** `inodeSize` in bytes. `log` is told of what ends the area. */
  constructor(
    device: JournalDevice,
    superblock: JournalSuperblock,
    sequence: number,
    inodeSize: number,
    log: Log,
  ) {
    this.sequence = sequence;
    this.#device = device;
    this.#superblock = superblock;
    this.#inodeSize = inodeSize;
    this.#log = log;
    this.#block = Buffer.alloc(superblock.blockSize);
    this.#index = superblock.fastCommitFirst;
  }

  /** The next fast commit, if it is there and complete; else a later call looks again. Throws what the device throws. */
  next(): LoggedFastCommit | undefined {
    if (this.#records > MOST_RECORDS || this.#isAsSeen()) return undefined;
    const { fastCommitEnd, blockSize } = this.#superblock;
    const blocks: Buffer[] = [];
    let end: BlockEnd = "next";
    const records = this.#records;
    this.#sum = 0;
    for (let index = this.#index; end === "next" && index < fastCommitEnd; index++) {
      const block = Buffer.allocUnsafe(blockSize);
      this.#device.read(index, block, 0);
      blocks.push(block);
      end = this.#check(block, index);
      if ((blocks.length + 1) * blockSize > MOST_BYTES) break;
    }
    if (end === "tail" && this.#records > MOST_RECORDS) {
      this.#log(`the journal has more than ${MOST_RECORDS} fast commit records; only the first are read`);
      return undefined;
    }
    if (end !== "tail") {
      this.#records = records;
      this.#seen = blocks.length <= MOST_SEEN ? blocks : [];
      return undefined;
    }
    this.#seen = [];
    this.#index += blocks.length;
    this.#number++;
    const shared = Buffer.from(new SharedArrayBuffer(blocks.length * blockSize));
    blocks.forEach((block, n) => {
      block.copy(shared, n * blockSize);
    });
    return { sequence: this.sequence, number: this.#number, blocks: shared };
  }

  /** Whether nothing has been written since there was no complete fast commit. */
  #isAsSeen(): boolean {
    const seen = this.#seen;
    for (let n = 0; n < seen.length; n++) {
      this.#device.read(this.#index + n, this.#block, 0);
      if (!this.#block.equals(seen[n]!)) return false;
    }
    return seen.length > 0;
  }

  #check(block: Buffer, index: number): BlockEnd {
    if (index === this.#superblock.fastCommitFirst && block.readUInt16LE(0) !== Tag.HEAD) return "nowhere";
    for (let at = 0; at + RECORD_HEADER <= block.length; ) {
      const tag = block.readUInt16LE(at);
      const length = block.readUInt16LE(at + 2);
      const value = at + RECORD_HEADER;
      if (value + length > block.length || !isLength(tag, length, this.#inodeSize)) return "nowhere";
      if (tag === Tag.HEAD && !isHeadOf(block, value, this.sequence, this.#log)) return "nowhere";
      if (tag === Tag.TAIL) {
        const sum = crc32c(this.#sum, block, at, value + 4);
        const isOurs = block.readUInt32LE(value) === this.sequence && block.readUInt32LE(value + 4) === sum;
        return isOurs ? "tail" : "nowhere";
      }
      this.#sum = crc32c(this.#sum, block, at, value + length);
      this.#records++;
      at = value + length;
    }
    return "next";
  }
}

/** What the blocks of a fast commit say that FastCommitArea has found complete. `blockSize` in bytes. */
export function fastCommitOperations(blocks: Buffer, blockSize: number): FastCommit {
  const operations: FastCommitOperation[] = [];
  for (let start = 0; start < blocks.length; start += blockSize) {
    const block = blocks.subarray(start, start + blockSize);
    for (let at = 0; at + RECORD_HEADER <= block.length; ) {
      const tag = block.readUInt16LE(at);
      const length = block.readUInt16LE(at + 2);
      if (tag === Tag.TAIL) return operations;
      const operation = readOperation(tag, block, at + RECORD_HEADER, length);
      if (operation !== undefined) operations.push(operation);
      at += RECORD_HEADER + length;
    }
  }
  return operations;
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
