/**
 * Following an ext file system while its guest writes: each look takes the transactions that have been finished since,
 * and tells what they change. It has a version of its own to compare with; those who serve users have theirs.
 */
import type { Log, Source, Spot } from "../../images/image.js";
import type { BlockCache } from "../../versions/block-cache.js";
import {
  type Commit,
  isAfter,
  isPast,
  type LogicalChanges,
  type Position,
  positionOf,
  precedingSequence,
} from "../../versions/commit.js";
import type { Changes } from "../changes.js";
import { FileType } from "../filesystem.js";
import type { Follower, Look, Step, TakenPart } from "../follower.js";
import { Difference, type Later } from "./difference.js";
import { addFastCommit, supersedeFastCommits } from "./fast-commit-difference.js";
import { Compat } from "./features.js";
import { ExtFileMaps } from "./file-maps.js";
import { HeldSizes } from "./held-sizes.js";
import { Inode, InodeFlags } from "./inode.js";
import { InodeTables } from "./inode-tables.js";
import { type FastCommit, fastCommitOperations } from "./journal/fast-commit.js";
import type { Journal } from "./journal/journal.js";
import { Peek } from "./journal/peek.js";
import { Parts } from "./parts.js";
import { SUPERBLOCK_OFFSET } from "./superblock.js";
import { SuperblockInPlace } from "./superblock-in-place.js";
import { readInline } from "./symlink.js";
import { readCommit } from "./taking.js";
import {
  committedGeometry,
  type OpenJournal,
  openVersion,
  superblockBlock,
  type Version,
} from "./version.js";

/** Transactions that one look takes at most, so that others have their turn. */
const MOST_TRANSACTIONS = 16;
/** Transactions that are held at most before they are applied. */
const MOST_GATHERED = 64;

/** ms in which no machine is cut off and starts again. */
const RESTART = 1000;
/** ms between looks at files whose bytes were not all there. */
const REVEAL_EVERY = 20;

const OVERRUN: Look = { reopen: "overrun" };
const CHANGED: Look = { reopen: "changed" };

const NO_BLOCKS = new Float64Array(0);
const NO_BYTES = new Uint8Array(0);

export class ExtFollower implements Follower {
  readonly maps = new ExtFileMaps(() => this.#parts);
  readonly #log: Log;
  readonly #version: Version;
  #parts: Parts;
  #difference: Difference | undefined;
  readonly #held: HeldSizes;
  #tables: InodeTables | undefined;
  #looked = 0;
  #settled: number | undefined;
  /**
   * Copies of transactions before this one are in their places, or of no account since a transaction that has been taken.
   * The journal may say more: a block that a transaction gives back is not put in its place as an earlier one had it.
   */
  #settledSurely: number;
  /** Finished transactions that have been read, and not been applied. */
  readonly #upcoming: Omit<Step, "changes">[] = [];
  /** Fast commits that somebody has taken before, and that are to be taken again. */
  readonly #again: TakenPart[];
  /** How far they have been. */
  #takenAgain: Position | undefined;
  /** Whether the journal had no more the last time that it was asked. */
  #isExhausted = false;
  /** Undefined: no journal is followed. */
  readonly #peek: Peek | undefined;
  /** Whether the log was used again before it was read. */
  #isLost = false;
  /** While nothing is in the journal, it tells of a mount, a fsck, a mkfs. */
  readonly #superblock: SuperblockInPlace;
  /** Whether there has been a mount since the last transaction. */
  #isMounted = false;
  #lookedAt = performance.now();

  /**
   * Opens the committed version; if possible the one that transaction `after` made. `taken`: fast commits of a later
   * one, see followFileSystem. Throws IoError when it cannot be read.
   */
  constructor(source: Source, cache: BlockCache, log: Log, after?: number, taken: readonly TakenPart[] = []) {
    this.#log = log;
    this.#superblock = new SuperblockInPlace(source);
    this.#version = openVersion(source, cache, log, after);
    const { view, journal, geometry, fastCommits } = this.#version;
    this.#parts = new Parts(geometry, view, log, fastCommits);
    this.#held = new HeldSizes(view.blockSize);
    this.#again = this.#version.isAsAsked ? [...taken] : [];
    this.#peek = journal && new Peek(source, journal.journal, journal.device);
    this.#settledSurely = journal?.journal.settled ?? 0;
    this.begunAfter = journal && precedingSequence(journal.journal.sequence);
    if (journal?.journal.status === "empty") this.#isMounted = this.#superblock.isInUse;
    else if (journal !== undefined) {
      const bytes = view.locate(superblockBlock(view));
      this.#superblock.noteLogged(bytes, view.at + this.#superblockAt);
    }
  }

  /** Where the superblock lies in its block. */
  get #superblockAt(): number {
    return SUPERBLOCK_OFFSET % this.#version.view.blockSize;
  }

  get isResumed(): boolean {
    return this.#version.isAsAsked;
  }

  readonly begunAfter: number | undefined;

  spots(): readonly Spot[] | undefined {
    const { journal: open, view } = this.#version;
    const superblock = this.#superblock.spot;
    if (open === undefined || this.#peek === undefined) return [superblock];
    const { status, settled } = open.journal;
    // Fast commits lie elsewhere; a damaged transaction may be one that is not wholly written yet.
    const isTold = status === "empty" || status === "waiting";
    if (!isTold || !this.#isExhausted || this.#isLost || this.#upcoming.length > 0) return undefined;
    if (!this.#held.isEmpty || this.#parts.geometry.hasCompat(Compat.FAST_COMMIT)) return undefined;
    if (this.#settled !== settled && view.copies > 0) return undefined;
    const spots = this.#peek.spots();
    return status === "empty" ? [...spots, superblock] : spots;
  }

  look(quietAt = this.#lookedAt): Look {
    const open = this.#version.journal;
    if (open === undefined) return this.#superblock.look() === "same" ? undefined : CHANGED;
    const { journal } = open;
    this.#lookedAt = performance.now();
    // A guest at rest costs no more than this.
    if (!this.#isExhausted || this.#peek?.isQuiet(true) !== true) this.#gather(open);
    const steps: Step[] = [];
    while (steps.length < MOST_TRANSACTIONS) {
      const [upcoming] = this.#upcoming;
      if (upcoming === undefined) break;
      const { commit, seconds, nanoseconds } = upcoming;
      this.#takeAgain(commit.sequence, steps);
      steps.push({ commit, changes: this.#apply(commit, open), seconds, nanoseconds });
      this.#upcoming.shift();
    }
    if (this.#upcoming.length === 0 && !this.#isLost) this.#takeFastCommits(journal, steps);
    const revealed = this.#revealed();
    if (steps.length > 0) return { steps, revealed };
    // The log was used again before it was read.
    if (this.#isLost) return OVERRUN;
    if (journal.status === "overrun") return this.#afterMount(open, quietAt, revealed);
    const rest = journal.status === "empty" ? this.#superblock.look() : "same";
    if (rest === "changed") return CHANGED;
    if (rest === "mounted") this.#isMounted = true;
    if (rest !== "same") return this.#reread(journal.settled, revealed);
    return this.#settle(this.#settledSurely) ?? (revealed.length > 0 ? { steps: [], revealed } : undefined);
  }

  read(ino: number, generation: number, position: number, length: number): Buffer | undefined {
    const parts = this.#parts;
    const inode = parts.inodes.read(ino, new Inode(parts.geometry));
    const isReadable = inode.type === FileType.REGULAR && !inode.hasFlag(InodeFlags.ENCRYPT);
    if (!isReadable || inode.fields.i_generation !== generation) return undefined;
    const there = this.#held.there(inode, generation, parts.inodes.size(inode), parts);
    const bytes = Buffer.alloc(Math.max(0, Math.min(length, there - position)));
    if (bytes.length === 0) return bytes;
    if (inode.hasFlag(InodeFlags.INLINE_DATA)) readInline(parts, inode, position, bytes.length, bytes, 0);
    else parts.content.read(inode, position, bytes.length, bytes, 0);
    return bytes;
  }

  /** Goes on with a log that a mount has begun anew, if it was that and nothing was missed. */
  #afterMount(open: OpenJournal, quietAt: number, revealed: readonly number[]): Look {
    const { journal } = open;
    const rest = this.#superblock.look();
    const lost = rest === "changed" ? CHANGED : OVERRUN;
    // The mount may have put in place what fast commits say, with no transaction that tells of it.
    if (this.#parts.geometry.hasCompat(Compat.FAST_COMMIT)) return lost;
    const isMounted = this.#isMounted || (rest !== "same" && this.#superblock.mounts === 1);
    this.#isMounted = false;
    if (!journal.beginAnew(isMounted, this.#lookedAt - quietAt < RESTART)) return lost;
    if (rest === "changed") {
      // What was logged since can be in its place by now.
      this.#gather(open);
      if (!this.#upcoming.some(({ commit }) => this.#logsSuperblock(commit))) return lost;
    }
    return this.#reread(journal.settled, revealed);
  }

  /** Whether a commit logs the superblock that was last seen in its place. */
  #logsSuperblock({ blocks, bytes }: Commit): boolean {
    const { view } = this.#version;
    const logged = blocks.indexOf(superblockBlock(view));
    return logged >= 0 && this.#superblock.isLike(bytes, logged * view.blockSize + this.#superblockAt);
  }

  #reread(settled: number, revealed: readonly number[]): Look {
    const { view } = this.#version;
    this.#settled = settled;
    view.settle(settled);
    view.forgetPlaces();
    this.#parts.forget();
    return { steps: [], settled, reread: true, revealed };
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
  #gather(open: OpenJournal): void {
    this.#isExhausted = false;
    const { settled } = open.journal;
    while (!this.#isLost && this.#upcoming.length < MOST_GATHERED) {
      const transaction = open.journal.next();
      if (transaction === undefined) {
        this.#isExhausted = true;
        // All that had been finished when the journal said so has been taken.
        this.#settledSurely = settled;
        return;
      }
      const commit = readCommit(open, transaction, this.#log, this.#settledSurely);
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

  /** Fast commits are a part of the transaction after those that were taken: after all of them, in order. */
  #takeFastCommits(journal: Journal, steps: Step[]): void {
    const { geometry } = this.#parts;
    if (!geometry.hasCompat(Compat.FAST_COMMIT) || journal.status !== "waiting") return;
    this.#takeAgain(journal.sequence, steps);
    while (steps.length < MOST_TRANSACTIONS) {
      const logged = journal.nextFastCommit(geometry.inodeSize);
      if (logged === undefined) return;
      const { sequence, number, blocks: records } = logged;
      const commit = logicalCommit(sequence, { number, records }, journal.settled);
      if (this.#takenAgain !== undefined && !isPast(positionOf(commit), this.#takenAgain)) continue;
      const operations = fastCommitOperations(records, geometry.blockSize);
      this.#held.addFromFastCommit(operations, this.#parts);
      const changes = addFastCommit(this.#parts, operations);
      steps.push({ commit, changes, ...timeOf(operations, changes) });
    }
  }

  /**
   * Takes the fast commits again that were taken before, if they are parts of transaction `next`. What they changed is
   * told as it was then: the disk may be of a later version by now.
   */
  #takeAgain(next: number, steps: Step[]): void {
    for (let [part] = this.#again; part !== undefined; [part] = this.#again) {
      const { sequence, logical, changes, seconds, nanoseconds } = part;
      if (isAfter(sequence, next)) return;
      this.#again.shift();
      if (sequence !== next) continue;
      const { buffer, byteOffset, length } = logical.records;
      const records = Buffer.from(buffer, byteOffset, length);
      const operations = fastCommitOperations(records, this.#parts.geometry.blockSize);
      this.#held.addFromFastCommit(operations, this.#parts);
      this.#parts.addFastCommit(operations);
      const commit = logicalCommit(sequence, logical, this.#version.journal?.journal.settled ?? sequence);
      this.#takenAgain = positionOf(commit);
      steps.push({ commit, changes, seconds, nanoseconds });
    }
  }

  #settle(sequence: number): Look {
    if (this.#settled === sequence || this.#version.view.copies === 0) return undefined;
    this.#settled = sequence;
    this.#version.view.settle(sequence);
    return { steps: [], settled: sequence, revealed: [] };
  }

  #apply(commit: Commit, open: OpenJournal): Changes {
    this.#difference ??= new Difference(this.#parts);
    this.#tables ??= new InodeTables(this.#parts.geometry, this.#parts.groups);
    this.#held.addFrom(commit, this.#parts, this.#tables);
    const difference = this.#difference;
    this.#isMounted = false;
    this.#superblock.noteUse();
    const isUnknown = () => this.#isLost || this.#upcoming.length >= MOST_GATHERED;
    const later: Later = {
      look: () => this.#gather(open),
      isNewer: (block, bytes, at) => isUnknown() || this.#isUpcoming(block, bytes, at),
      // The commit itself is the first of them.
      isLast: () => !isUnknown() && this.#upcoming.length === 1,
    };
    const changes = supersedeFastCommits(this.#parts, () => difference.apply(commit, later));
    const { view } = this.#version;
    const logged = commit.blocks.indexOf(superblockBlock(view));
    if (logged >= 0) {
      this.#superblock.noteLogged(commit.bytes, logged * view.blockSize + this.#superblockAt);
      const geometry = committedGeometry(view, this.#parts.geometry, this.#log);
      // Grown: there are more groups, and so more inode tables.
      if (geometry.blocksCount !== this.#parts.geometry.blocksCount) {
        this.#parts = new Parts(geometry, view, this.#log);
        this.#difference = new Difference(this.#parts, difference);
        this.#tables = undefined;
      }
    }
    return changes;
  }
}

function logicalCommit(sequence: number, logical: LogicalChanges, settled: number): Commit {
  return {
    sequence,
    blocks: NO_BLOCKS,
    bytes: NO_BYTES,
    places: NO_BLOCKS,
    revoked: NO_BLOCKS,
    settled,
    logical,
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
