/**
 * Following an ext file system while its guest writes: each look takes the transactions that have been finished since,
 * and tells what they change. It has a version of its own to compare with; those who serve users have theirs.
 */
import type { Log, Source } from "../../images/image.js";
import { type BlockCache, readFully } from "../../versions/block-cache.js";
import type { Commit } from "../../versions/commit.js";
import type { Changes } from "../changes.js";
import type { Follower, Look, Step } from "../follower.js";
import { Difference } from "./difference.js";
import { addFastCommit, supersedeFastCommits } from "./fast-commit-difference.js";
import { Compat } from "./features.js";
import { type FastCommit, fastCommitOperations, type LoggedFastCommit } from "./journal/fast-commit.js";
import type { Journal, LoggedBlock, Transaction } from "./journal/journal.js";
import { Parts } from "./parts.js";
import { SUPERBLOCK_OFFSET, Superblock } from "./superblock.js";
import { committedGeometry, openVersion, superblockBlock, type Version } from "./version.js";

/** Transactions that one look takes at most, so that others have their turn. */
const MOST_TRANSACTIONS = 16;

const OVERRUN: Look = { reopen: "overrun" };
const CHANGED: Look = { reopen: "changed" };

const NO_BLOCKS = new Float64Array(0);
const NO_BYTES = new Uint8Array(0);

export class ExtFollower implements Follower {
  readonly #source: Source;
  readonly #log: Log;
  readonly #version: Version;
  #parts: Parts;
  #difference: Difference | undefined;
  #settled: number | undefined;
  /** The superblock in its place, as last seen: while nothing is in the journal, it tells of a mount, a fsck, a mkfs. */
  readonly #superblock = Buffer.alloc(Superblock.size);
  readonly #now = Buffer.alloc(Superblock.size);

  /** Opens the committed version. Throws IoError when it cannot be read. */
  constructor(source: Source, cache: BlockCache, log: Log) {
    this.#source = source;
    this.#log = log;
    this.#readSuperblock(this.#superblock);
    this.#version = openVersion(source, cache, log);
    const { geometry, view, fastCommits } = this.#version;
    this.#parts = new Parts(geometry, view, log, fastCommits);
  }

  look(): Look {
    const journal = this.#version.journal?.journal;
    if (journal === undefined) return this.#superblockChanged() ? CHANGED : undefined;
    const steps: Step[] = [];
    while (steps.length < MOST_TRANSACTIONS) {
      const transaction = journal.next();
      if (transaction === undefined) break;
      const commit = this.#commit(journal, transaction);
      // The log was used again before it was read.
      if (commit === undefined) return OVERRUN;
      const { commitSeconds: seconds, commitNanoseconds: nanoseconds } = transaction;
      steps.push({ commit, changes: this.#apply(commit), seconds, nanoseconds });
    }
    this.#takeFastCommits(journal, steps);
    if (steps.length > 0) return { steps };
    if (journal.status === "overrun") return OVERRUN;
    if (journal.status === "empty")
      return this.#superblockChanged() ? CHANGED : this.#settle(journal.sequence);
    return this.#settle(journal.superblock.sequence);
  }

  /** Fast commits are a part of the transaction after those that were taken: after all of them, in order. */
  #takeFastCommits(journal: Journal, steps: Step[]): void {
    const { geometry } = this.#parts;
    if (!geometry.hasCompat(Compat.FAST_COMMIT) || journal.status !== "waiting") return;
    while (steps.length < MOST_TRANSACTIONS) {
      const logged = journal.nextFastCommit(geometry.inodeSize);
      if (logged === undefined) return;
      const operations = fastCommitOperations(logged.blocks, geometry.blockSize);
      if (operations.length === 0) continue;
      const changes = addFastCommit(this.#parts, operations);
      steps.push({ commit: logicalCommit(logged, journal), changes, ...timeOf(operations, changes) });
    }
  }

  #settle(sequence: number): Look {
    if (this.#settled === sequence || this.#version.view.copies === 0) return undefined;
    this.#settled = sequence;
    this.#version.view.settle(sequence);
    return { steps: [], settled: sequence };
  }

  #apply(commit: Commit) {
    this.#difference ??= new Difference(this.#parts);
    const difference = this.#difference;
    const changes = supersedeFastCommits(this.#parts, () => difference.apply(commit));
    const { view } = this.#version;
    if (commit.blocks.includes(superblockBlock(view))) {
      const geometry = committedGeometry(view, this.#parts.geometry, this.#log);
      // Grown: there are more groups, and so more inode tables.
      if (geometry.blocksCount !== this.#parts.geometry.blocksCount) {
        this.#parts = new Parts(geometry, view, this.#log);
        this.#difference = undefined;
      }
    }
    return changes;
  }

  /** Reads a transaction's copies; undefined if they are no longer what was logged. */
  #commit(journal: Journal, transaction: Transaction): Commit | undefined {
    const { blockSize } = this.#version.view;
    const { device } = this.#version.journal as NonNullable<Version["journal"]>;
    try {
      const revoked = Float64Array.from(new Set(transaction.revoked));
      const newest = new Map<number, LoggedBlock>();
      for (const logged of transaction.blocks) newest.set(logged.block, logged);
      for (const block of revoked) newest.delete(block);
      const copies = [...newest.values()];
      const bytes = Buffer.from(new SharedArrayBuffer(copies.length * blockSize));
      copies.forEach((logged, index) => {
        journal.readCopy(logged, bytes, index * blockSize);
      });
      if (!journal.holds(transaction.sequence)) return undefined;
      return {
        sequence: transaction.sequence,
        blocks: Float64Array.from(copies, ({ block }) => block),
        bytes,
        places: Float64Array.from(copies, ({ index, escaped }) => (escaped ? 0 : device.physical(index))),
        revoked,
        settled: journal.superblock.sequence,
      };
    } catch (error) {
      this.#log(`transaction ${transaction.sequence} could not be taken: ${(error as Error).message}`);
      return undefined;
    }
  }

  #superblockChanged(): boolean {
    this.#readSuperblock(this.#now);
    return !this.#now.equals(this.#superblock);
  }

  #readSuperblock(into: Buffer): void {
    readFully(this.#source, into, into.length, SUPERBLOCK_OFFSET);
  }
}

function logicalCommit({ sequence, number, blocks }: LoggedFastCommit, journal: Journal): Commit {
  return {
    sequence,
    blocks: NO_BLOCKS,
    bytes: NO_BYTES,
    places: NO_BLOCKS,
    revoked: NO_BLOCKS,
    settled: journal.superblock.sequence,
    logical: { number, records: blocks },
  };
}

/**
 * Fast commits do not say when they were made: when the latest of the inodes that one records was changed, by the guest's
 * clock; without any about now.
 */
function timeOf(operations: FastCommit, { inodes }: Changes): { seconds: number; nanoseconds: number } {
  const recorded = new Set(operations.flatMap(({ kind, ino }) => (kind === "inode" ? [ino] : [])));
  let seconds = 0;
  let nanoseconds = 0;
  for (const { ino, now } of inodes) {
    if (now === undefined || !recorded.has(ino) || now.ctime < seconds) continue;
    nanoseconds = now.ctime > seconds ? now.ctimeNsec : Math.max(nanoseconds, now.ctimeNsec);
    seconds = now.ctime;
  }
  if (seconds > 0) return { seconds, nanoseconds };
  const now = Date.now();
  return { seconds: Math.floor(now / 1000), nanoseconds: (now % 1000) * 1_000_000 };
}
