/**
 * Reading a jbd2 journal: its finished transactions, one by one, as the kernel's recovery would take them
 * (do_one_pass in fs/jbd2/recovery.c), on a disk at rest as well as on one whose guest goes on writing.
 */

import type { Log } from "../../../images/image.js";
import { IoError } from "../../../images/io-error.js";
import { crc32be } from "../../../layout/crc32be.js";
import { Errno, FileSystemError } from "../../filesystem.js";
import { commitHolds } from "./commit.js";
import { copyHolds, type LoggedBlock, readTags, revokedBlocks, revokedEnd, tailHolds } from "./descriptor.js";
import type { JournalDevice } from "./device.js";
import {
  type FastCommit,
  FastCommitArea,
  fastCommitOperations,
  type LoggedFastCommit,
} from "./fast-commit.js";
import {
  BlockType,
  CommitLayout,
  followingSequence,
  HeaderLayout,
  isLater,
  JOURNAL_MAGIC,
  JournalIncompat,
  SuperblockLayout,
} from "./format.js";
import { JournalSuperblock } from "./superblock.js";

export type { LoggedBlock } from "./descriptor.js";
export type { JournalDevice } from "./device.js";

/** A finished transaction. */
export interface Transaction {
  readonly sequence: number;
  /** When it was committed: seconds since 1970 and nanoseconds of that second, by the guest's clock. */
  readonly commitSeconds: number;
  readonly commitNanoseconds: number;
  /** Its copies, in the order of the log; those of blocks that it also revokes do not count. */
  readonly blocks: readonly LoggedBlock[];
  /**
   * The file system blocks whose copies in this and in earlier transactions do not count. Read from the journal when
   * iterated: throws FileSystemError (EIO) if it has been overwritten since.
   */
  readonly revoked: Iterable<number>;
  /** The journal's block where it starts, and the one where the next one does. */
  readonly start: number;
  readonly next: number;
}

/**
 * Why there is no next transaction. `waiting`: it is not finished, or not there at all. `empty`: all is in its place
 * (s_start is 0). `overrun`: the log does not go on from here, since it was used again before all was taken or begun
 * anew (a mount, a fsck): take everything afresh after `reload`. `damaged`: there is one, but its checksums do not
 * hold or it makes no sense; `reason` says what.
 */
export type JournalStatus = "waiting" | "empty" | "overrun" | "damaged";

/** How often the superblock is read again when it makes no sense, for it may have been read while it was written. */
const SUPERBLOCK_ATTEMPTS = 3;

export class Journal {
  readonly #device: JournalDevice;
  readonly #log: Log;
  readonly #block: Buffer;
  readonly #copy: Buffer;
  /** The superblock that was read and checked last, and its bytes. */
  readonly #checkedBytes = Buffer.alloc(SuperblockLayout.size);
  #checked: JournalSuperblock | undefined;
  #superblock: JournalSuperblock;
  #status: JournalStatus = "waiting";
  #reason = "";
  /** Where the next transaction is expected (0: nowhere, the log was empty), and its number. */
  #position = 0;
  #sequence = 0;
  /** Blocks from the log's start, as the superblock last told it, to #position. */
  #span = 0;
  #lastCommitSeconds = 0;
  #fastCommits: FastCommitArea | undefined;
  #awaited = 0;
  /** What the superblock last said that the next transaction would be, while all was known to be in its place. */
  #emptied: number | undefined;

  /**
   * Reads the superblock. Throws FileSystemError (EIO) when it makes no sense or needs a feature that is not known
   * here. `log` is told of damage that ends the log.
   */
  constructor(device: JournalDevice, log: Log) {
    this.#device = device;
    this.#log = log;
    this.#block = Buffer.alloc(device.blockSize);
    this.#copy = Buffer.alloc(device.blockSize);
    this.#superblock = this.#readSuperblock();
    this.#begin(this.#superblock);
  }

  /** As last read: by the constructor, `reload`, or a `next` that found nothing. */
  get superblock(): JournalSuperblock {
    return this.#superblock;
  }

  /** Why the last call of `next` returned nothing. */
  get status(): JournalStatus {
    return this.#status;
  }

  /** What is damaged, when that is the status. */
  get reason(): string {
    return this.#reason;
  }

  /** The number of the transaction that is expected next. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Transactions before this one are in their places. */
  get settled(): number {
    return this.#status === "empty" ? this.#sequence : this.#superblock.sequence;
  }

  /**
   * The block that is still missing of the next transaction: there is none to be had before that is one of its own.
   * 0: the log is empty.
   */
  get awaited(): number {
    return this.#status === "empty" ? 0 : this.#awaited;
  }

  /**
   * Passes over transactions up to `sequence`, which were taken elsewhere: the next one begins at block `next`. Throws
   * as the constructor.
   */
  pass(sequence: number, next: number): void {
    if (!isLater(sequence, this.#sequence) && sequence !== this.#sequence) return;
    // A mount that begins the log anew may have given the journal other features.
    if (this.#status === "empty") this.#superblock = this.#readSuperblock();
    this.#position = next;
    this.#awaited = next;
    this.#sequence = followingSequence(sequence);
    this.#status = "waiting";
    this.#emptied = undefined;
    this.#measure(this.#superblock);
  }

  /**
   * Goes on where the log was begun anew, when the status is `overrun`. `isMounted`: there was a mount since the last
   * call of `next`, and just one. `isClean`: the file system cannot have been in use till it was cut off. Returns false,
   * and changes nothing, unless the number with which the log begins tells that no transaction has been finished before
   * that was not taken. Throws as the constructor.
   */
  beginAnew(isMounted: boolean, isClean: boolean): boolean {
    const now = this.#readSuperblock();
    if (now.start === 0) return false;
    const ahead = (now.sequence - (this.#emptied ?? this.#sequence)) >>> 0;
    // An unmount counts two on from the last transaction (jbd2_journal_destroy), a mount one more; after a crash the
    // mount alone counts two on (jbd2_journal_recover).
    const isNext =
      (ahead === 0 && this.#emptied !== undefined) ||
      (isMounted && (ahead === 1 || (ahead === 2 && this.#emptied === undefined && isClean)));
    if (isNext) this.#begin(now);
    return isNext;
  }

  /** Reads the superblock again and starts from where it says that the log does. Throws as the constructor. */
  reload(): void {
    this.#begin(this.#readSuperblock());
  }

  /**
   * The next finished transaction, or undefined: `status` says why. A later call looks again, at the log and at the
   * superblock, unless the status is `overrun`. Throws FileSystemError (EIO) when the superblock has become bad.
   */
  next(): Transaction | undefined {
    if (this.#status === "overrun") return undefined;
    const wasEmpty = this.#status === "empty";
    if (wasEmpty && !this.#lookAtSuperblock() && (this.#status === "empty" || this.#position === 0))
      return undefined;
    const { status } = this;
    let transaction = this.#readNext();
    if (transaction === undefined) {
      // Not one that was finished, and put in its place with all else, between two looks.
      if (status === "overrun") {
        this.#status = status;
        return undefined;
      }
      if (this.#lookAtSuperblock() || this.#status !== "empty") return undefined;
      // It may have been finished, and put in its place, between the two looks.
      transaction = this.#position === 0 ? undefined : this.#readNext();
      if (transaction === undefined) {
        this.#status = "empty";
        return undefined;
      }
    }
    this.#position = transaction.next;
    this.#awaited = transaction.next;
    this.#sequence = followingSequence(transaction.sequence);
    this.#lastCommitSeconds = transaction.commitSeconds;
    this.#emptied = undefined;
    return transaction;
  }

  /**
   * Reads a logged block as it is to be in its place. Throws FileSystemError (EIO) if it cannot be read, or is not
   * what was logged (journals without checksums do not tell: see `holds`).
   */
  readCopy(logged: LoggedBlock, target: Buffer, targetOffset: number): void {
    this.#device.read(logged.index, target, targetOffset);
    if (!copyHolds(this.#superblock, logged, target, targetOffset)) {
      throw new FileSystemError(
        Errno.EIO,
        `journal block ${logged.index} is not the copy of block ${logged.block} that transaction ${logged.sequence} logged`,
      );
    }
    if (logged.escaped) target.writeUInt32BE(JOURNAL_MAGIC, targetOffset);
  }

  /**
   * Whether the copies of transaction `sequence` that have been read until now were what it logged, though the guest
   * goes on writing: the log has not been used again, or each copy has told by its checksum. Throws FileSystemError
   * (EIO) when the superblock is bad.
   */
  holds(sequence: number): boolean {
    if (this.#superblock.checksums === "v3") return true;
    const now = this.#readSuperblock();
    return now.start !== 0 && now.isLike(this.#superblock) && !isLater(now.sequence, sequence);
  }

  /**
   * The complete fast commits that follow the last transaction, in order. To be asked after `next` has returned
   * undefined. `inodeSize` in bytes. Throws FileSystemError (EIO) if they cannot be read.
   */
  fastCommits(inodeSize: number): FastCommit[] {
    this.#fastCommits = undefined;
    const commits: FastCommit[] = [];
    for (let next = this.nextFastCommit(inodeSize); next; next = this.nextFastCommit(inodeSize))
      commits.push(fastCommitOperations(next.blocks, this.#superblock.blockSize));
    return commits;
  }

  /** The one after the last of these, once it is there and complete. Costs little while it is not. Throws likewise. */
  nextFastCommit(inodeSize: number): LoggedFastCommit | undefined {
    if (this.#position === 0 || this.#status !== "waiting") return undefined;
    if (this.#fastCommits?.sequence !== this.#sequence) {
      const { superblock } = this;
      this.#fastCommits = new FastCommitArea(this.#device, superblock, this.#sequence, inodeSize, this.#log);
    }
    return this.#fastCommits?.next();
  }

  #begin(superblock: JournalSuperblock): void {
    this.#superblock = superblock;
    this.#position = superblock.start;
    this.#awaited = superblock.start;
    this.#sequence = superblock.sequence;
    this.#status = superblock.start === 0 ? "empty" : "waiting";
    this.#emptied = superblock.start === 0 ? superblock.sequence : undefined;
    this.#reason = "";
    this.#span = 0;
    this.#lastCommitSeconds = 0;
    this.#fastCommits = undefined;
  }

  #readSuperblock(): JournalSuperblock {
    const end = Math.min(SuperblockLayout.size, this.#block.length);
    for (let attempt = 1; ; attempt++) {
      this.#device.read(0, this.#block, 0);
      // At rest every look finds the same.
      if (this.#checked !== undefined && this.#block.compare(this.#checkedBytes, 0, end, 0, end) === 0)
        return this.#checked;
      try {
        this.#checked = new JournalSuperblock(this.#block, this.#device.blockSize, this.#device.length);
        this.#block.copy(this.#checkedBytes, 0, 0, end);
        return this.#checked;
      } catch (error) {
        if (attempt === SUPERBLOCK_ATTEMPTS) throw error;
      }
    }
  }

  /**
   * Finds out whether the log still goes on from here. The kernel writes to the superblock that the log starts later
   * before it uses the log's blocks again, so this alone tells; what lies at #position may be older than the journal.
   * Returns whether there may be a transaction to read.
   */
  #lookAtSuperblock(): boolean {
    const now = this.#readSuperblock();
    if (now.start === 0) {
      // A guest that shuts down counts one on (jbd2_journal_destroy), unless the log is empty already.
      const isAllTaken =
        this.#emptied === undefined
          ? now.sequence === this.#sequence || now.sequence === followingSequence(this.#sequence)
          : now.sequence === this.#emptied;
      this.#status = isAllTaken ? "empty" : "overrun";
      this.#emptied = isAllTaken ? now.sequence : undefined;
      return false;
    }
    const before = this.#superblock;
    if (
      this.#position === 0 ||
      !now.isLike(before) ||
      isLater(now.sequence, this.#sequence) ||
      isLater(before.sequence, now.sequence) ||
      (now.sequence === this.#sequence && now.start !== this.#position)
    ) {
      this.#status = "overrun";
      return false;
    }
    this.#measure(now);
    return true;
  }

  /** Takes over where the log starts now. */
  #measure(now: JournalSuperblock): void {
    const length = now.end - now.first;
    const isHere = now.sequence === this.#sequence;
    this.#superblock = now;
    this.#span = isHere ? 0 : (this.#position - now.start + length) % length || length;
  }

  /** Reads the transaction at #position, if it is there and finished; otherwise notes why not. */
  #readNext(): Transaction | undefined {
    this.#status = "waiting";
    try {
      const transaction = this.#readTransaction();
      return transaction !== undefined && this.#fits(transaction) ? transaction : undefined;
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      this.#damaged(error.message);
      return undefined;
    }
  }

  /** Whether a transaction and all before it fit into the log, which only a hostile one's do not. */
  #fits(transaction: Transaction): boolean {
    const { first, end } = this.#superblock;
    const length = end - first;
    const blocks = (transaction.next - transaction.start + length) % length || length;
    if (this.#span + blocks > length) {
      const now = this.#readSuperblock();
      // Where the log starts after this transaction already, or anew, there is nothing before it.
      const isBefore = now.start === 0 || isLater(now.sequence, transaction.sequence);
      if (isBefore || !now.isLike(this.#superblock)) this.#span = 0;
      else this.#measure(now);
      if (this.#span + blocks > length) {
        this.#damaged(`transaction ${transaction.sequence} reaches the log's own start`);
        return false;
      }
    }
    this.#span += blocks;
    return true;
  }

  #readTransaction(): Transaction | undefined {
    const superblock = this.#superblock;
    const sequence = this.#sequence;
    const start = this.#position;
    this.#awaited = start;
    const length = superblock.end - superblock.first;
    const block = this.#block;
    const blocks: LoggedBlock[] = [];
    const revoking: number[] = [];
    let position = start;
    let walked = 0;
    let broken = -1;
    let sum = 0xffffffff;
    while (this.#readHeader(position, sequence)) {
      const header = position;
      position = superblock.advance(position, 1);
      walked++;
      switch (block.readUInt32BE(4)) {
        case BlockType.DESCRIPTOR: {
          if (!tailHolds(superblock, block)) broken = header;
          const copies = blocks.length;
          const count = readTags(superblock, block, sequence, position, blocks);
          if (superblock.checksums === "v1") {
            sum = crc32be(sum, block, 0, superblock.blockSize);
            for (let n = 0; n < count && walked + n < length; n++) {
              this.#device.read(blocks[copies + n]!.index, this.#copy, 0);
              sum = crc32be(sum, this.#copy, 0, superblock.blockSize);
            }
          }
          position = superblock.advance(position, count);
          walked += count;
          break;
        }
        case BlockType.REVOKE:
          if (!tailHolds(superblock, block)) broken = header;
          if (revokedEnd(superblock, block) === undefined) {
            this.#damaged(`the revoke block ${header} of transaction ${sequence} is longer than a block`);
            return undefined;
          }
          revoking.push(header);
          break;
        case BlockType.COMMIT:
          if (!this.#isFinished(sequence, broken, sum)) return undefined;
          return this.#finished(blocks, revoking, start, position);
        default:
          return undefined;
      }
      if (walked >= length) {
        this.#damaged(`transaction ${sequence} does not end`);
        return undefined;
      }
    }
    this.#awaited = position;
    return undefined;
  }

  /** Reads a block; whether it is one of that transaction's own (not a copy). */
  #readHeader(index: number, sequence: number): boolean {
    this.#device.read(index, this.#block, 0);
    return this.#block.readUInt32BE(0) === JOURNAL_MAGIC && this.#block.readUInt32BE(8) === sequence;
  }

  /**
   * Whether the commit block in #block ends its transaction. One that is older than the transaction before is a relic
   * of an earlier journal in the same place, with checksums that do not hold; otherwise such checksums are damage,
   * except where commit blocks may reach the disk before what they commit.
   */
  #isFinished(sequence: number, broken: number, sum: number): boolean {
    const superblock = this.#superblock;
    const commitHeld = broken < 0 && commitHolds(superblock, this.#block, sum);
    if (commitHeld) return true;
    const relic = CommitLayout.at(this.#block).h_commit_sec < this.#lastCommitSeconds;
    if (!relic && (broken >= 0 || !superblock.hasIncompat(JournalIncompat.ASYNC_COMMIT))) {
      const where = broken >= 0 ? `its block ${broken}` : "its commit block";
      this.#damaged(`wrong checksum in transaction ${sequence}, ${where}`);
    }
    return false;
  }

  #finished(blocks: LoggedBlock[], revoking: number[], start: number, next: number): Transaction | undefined {
    const commit = CommitLayout.at(this.#block);
    const transaction: Transaction = {
      sequence: this.#sequence,
      commitSeconds: commit.h_commit_sec,
      commitNanoseconds: commit.h_commit_nsec,
      blocks,
      revoked: { [Symbol.iterator]: () => this.#revoked(transaction.sequence, revoking) },
      start,
      next,
    };
    return this.#isTorn(transaction) ? undefined : transaction;
  }

  /**
   * Whether a transaction's copies are not all there though its commit block is: where the kernel does not wait for
   * the copies before it writes the commit block, and the transaction is the last one.
   */
  #isTorn(transaction: Transaction): boolean {
    const superblock = this.#superblock;
    if (!superblock.hasIncompat(JournalIncompat.ASYNC_COMMIT) || !superblock.blockChecksums) return false;
    if (this.#readHeader(transaction.next, followingSequence(transaction.sequence))) return false;
    for (const logged of transaction.blocks) {
      this.#device.read(logged.index, this.#copy, 0);
      if (!copyHolds(superblock, logged, this.#copy, 0)) return true;
    }
    return false;
  }

  *#revoked(sequence: number, revoking: readonly number[]): Generator<number> {
    const block = Buffer.alloc(this.#superblock.blockSize);
    for (const index of revoking) {
      this.#device.read(index, block, 0);
      const header = HeaderLayout.at(block);
      const end = revokedEnd(this.#superblock, block);
      if (
        header.h_magic !== JOURNAL_MAGIC ||
        header.h_blocktype !== BlockType.REVOKE ||
        header.h_sequence !== sequence ||
        end === undefined ||
        !tailHolds(this.#superblock, block)
      ) {
        throw new FileSystemError(Errno.EIO, `journal block ${index} has been overwritten`);
      }
      yield* revokedBlocks(this.#superblock, block, end);
    }
  }

  #damaged(reason: string): void {
    if (this.#reason !== reason) this.#log(`the journal is damaged: ${reason}`);
    this.#status = "damaged";
    this.#reason = reason;
  }
}
