/**
 * Following an ext file system while its guest writes: each look takes the transactions that have been finished since,
 * and tells what they change. It has a version of its own to compare with; those who serve users have theirs.
 */
import type { Log, Source } from "../../images/image.js";
import { type BlockCache, readFully } from "../../versions/block-cache.js";
import type { Commit } from "../../versions/commit.js";
import type { Follower, Look } from "../follower.js";
import { Difference } from "./difference.js";
import { Compat } from "./features.js";
import type { Journal } from "./journal/journal.js";
import { Parts } from "./parts.js";
import { SUPERBLOCK_OFFSET, Superblock } from "./superblock.js";
import { readCommit } from "./taking.js";
import { committedGeometry, openVersion, superblockBlock, type Version } from "./version.js";

/** Transactions that one look takes at most, so that others have their turn. */
const MOST_TRANSACTIONS = 16;

const OVERRUN: Look = { reopen: "overrun" };
const CHANGED: Look = { reopen: "changed" };

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
    this.#parts = new Parts(this.#version.geometry, this.#version.view, log);
  }

  look(): Look {
    const open = this.#version.journal;
    if (open === undefined) return this.#superblockChanged() ? CHANGED : undefined;
    const { journal } = open;
    const steps = [];
    while (steps.length < MOST_TRANSACTIONS) {
      const transaction = journal.next();
      if (transaction === undefined) break;
      // What fast commits have shown is not in this follower's own version.
      if (this.#version.fastCommits.length > 0) return CHANGED;
      const commit = readCommit(open, transaction, this.#log);
      // The log was used again before it was read.
      if (commit === undefined) return OVERRUN;
      const { commitSeconds: seconds, commitNanoseconds: nanoseconds } = transaction;
      steps.push({ commit, changes: this.#apply(commit), seconds, nanoseconds });
    }
    if (steps.length > 0) return { steps };
    if (journal.status === "overrun") return OVERRUN;
    if (this.#hasNewFastCommits(journal)) return CHANGED;
    if (journal.status === "empty" && this.#superblockChanged()) return CHANGED;
    return this.#settle(journal.settled);
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
    return { steps: [], settled: sequence };
  }

  #apply(commit: Commit) {
    this.#difference ??= new Difference(this.#parts);
    const changes = this.#difference.apply(commit);
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

  #superblockChanged(): boolean {
    this.#readSuperblock(this.#now);
    return !this.#now.equals(this.#superblock);
  }

  #readSuperblock(into: Buffer): void {
    readFully(this.#source, into, into.length, SUPERBLOCK_OFFSET);
  }
}
