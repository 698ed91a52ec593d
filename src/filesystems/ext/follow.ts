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
import { Compat } from "./features.js";
import { HeldSizes } from "./held-sizes.js";
import { Inode } from "./inode.js";
import { InodeTables } from "./inode-tables.js";
import type { Journal, LoggedBlock, Transaction } from "./journal/journal.js";
import { Parts } from "./parts.js";
import { SUPERBLOCK_OFFSET, Superblock } from "./superblock.js";
import { committedGeometry, openVersion, superblockBlock, type Version } from "./version.js";

/** Transactions that one look takes at most, so that others have their turn. */
const MOST_TRANSACTIONS = 16;
/** Transactions that are held at most before they are applied. */
const MOST_GATHERED = 64;

/** ms between looks at files whose bytes were not all there. */
const REVEAL_EVERY = 20;

const OVERRUN: Look = { reopen: "overrun" };
const CHANGED: Look = { reopen: "changed" };

export class ExtFollower implements Follower {
  readonly #source: Source;
  readonly #log: Log;
  readonly #version: Version;
  #parts: Parts;
  #difference: Difference | undefined;
  readonly #held: HeldSizes;
  #tables: InodeTables | undefined;
  #looked = 0;
  #settled: number | undefined;
  /** Finished transactions that have been read, and not been applied. */
  readonly #upcoming: Omit<Step, "changes">[] = [];
  /** Whether the log was used again before it was read. */
  #isLost = false;
  /** The superblock in its place, as last seen: while nothing is in the journal, it tells of a mount, a fsck, a mkfs. */
  readonly #superblock = Buffer.alloc(Superblock.size);
  readonly #now = Buffer.alloc(Superblock.size);

  /**
   * Opens the committed version; if possible the one that transaction `after` made. Throws IoError when it cannot be
   * read.
   */
  constructor(source: Source, cache: BlockCache, log: Log, after?: number) {
    this.#source = source;
    this.#log = log;
    this.#readSuperblock(this.#superblock);
    this.#version = openVersion(source, cache, log, after);
    this.#parts = new Parts(this.#version.geometry, this.#version.view, log);
    this.#held = new HeldSizes(this.#version.view.blockSize);
  }

  get isResumed(): boolean {
    return this.#version.isAsAsked;
  }

  look(): Look {
    const journal = this.#version.journal?.journal;
    if (journal === undefined) return this.#superblockChanged() ? CHANGED : undefined;
    this.#gather(journal);
    const steps: Step[] = [];
    while (steps.length < MOST_TRANSACTIONS) {
      const [upcoming] = this.#upcoming;
      if (upcoming === undefined) break;
      // What fast commits have shown is not in this follower's own version.
      if (this.#version.fastCommits.length > 0) return CHANGED;
      const { commit, seconds, nanoseconds } = upcoming;
      steps.push({ commit, changes: this.#apply(commit, journal), seconds, nanoseconds });
      this.#upcoming.shift();
    }
    const revealed = this.#revealed();
    if (steps.length > 0) return { steps, revealed };
    // The log was used again before it was read.
    if (this.#isLost || journal.status === "overrun") return OVERRUN;
    if (this.#hasNewFastCommits(journal)) return CHANGED;
    if (journal.status === "empty" && this.#superblockChanged()) return CHANGED;
    const isEmpty = journal.status === "empty";
    const settled = this.#settle(isEmpty ? journal.sequence : journal.superblock.sequence);
    return settled ?? (revealed.length > 0 ? { steps: [], revealed } : undefined);
  }

  /** Looks, not too often, at files whose bytes were not all there. */
  #revealed(): number[] {
    if (this.#held.isEmpty) return [];
    const now = performance.now();
    if (now - this.#looked < REVEAL_EVERY) return [];
    this.#looked = now;
    return this.#held.revealed(this.#parts, new Inode(this.#parts.geometry), now);
  }

  /** Takes the transactions that are finished from the journal. */
  #gather(journal: Journal): void {
    while (!this.#isLost && this.#upcoming.length < MOST_GATHERED) {
      const transaction = journal.next();
      if (transaction === undefined) return;
      const commit = this.#commit(journal, transaction);
      if (commit === undefined) this.#isLost = true;
      else {
        const { commitSeconds: seconds, commitNanoseconds: nanoseconds } = transaction;
        this.#upcoming.push({ commit, seconds, nanoseconds });
      }
    }
  }

  /**
   * Whether a block's bytes are what a transaction logged that is not applied yet. Whatever is in a block's place was
   * logged by a finished transaction first: so it is none of them only if it was there before all of them.
   */
  #isUpcoming(block: number, bytes: Buffer, at: number): boolean {
    const { blockSize } = this.#version.view;
    return this.#upcoming.some(({ commit }) => {
      const index = commit.blocks.indexOf(block);
      if (index < 0) return false;
      return (
        bytes.compare(commit.bytes, index * blockSize, (index + 1) * blockSize, at, at + blockSize) === 0
      );
    });
  }

  #hasNewFastCommits(journal: Journal): boolean {
    const { geometry } = this.#parts;
    if (!geometry.hasCompat(Compat.FAST_COMMIT) || journal.status !== "waiting") return false;
    return journal.fastCommits(geometry.inodeSize).length !== this.#version.fastCommits.length;
  }

  #settle(sequence: number): Look {
    if (this.#settled === sequence || this.#version.view.copies === 0) return undefined;
    this.#settled = sequence;
    this.#version.view.settle(sequence);
    return { steps: [], settled: sequence, revealed: [] };
  }

  #apply(commit: Commit, journal: Journal): Changes {
    this.#difference ??= new Difference(this.#parts);
    this.#tables ??= new InodeTables(this.#parts.geometry, this.#parts.groups);
    this.#held.addFrom(commit, this.#parts, this.#tables);
    let hasGathered = false;
    const changes = this.#difference.apply(commit, (block, bytes, at) => {
      if (!hasGathered) this.#gather(journal);
      hasGathered = true;
      return this.#isLost || this.#upcoming.length >= MOST_GATHERED || this.#isUpcoming(block, bytes, at);
    });
    const { view } = this.#version;
    if (commit.blocks.includes(superblockBlock(view))) {
      const geometry = committedGeometry(view, this.#parts.geometry, this.#log);
      // Grown: there are more groups, and so more inode tables.
      if (geometry.blocksCount !== this.#parts.geometry.blocksCount) {
        this.#parts = new Parts(geometry, view, this.#log);
        this.#difference = undefined;
        this.#tables = undefined;
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
