/**
 * Following an ext file system that has no journal. The kernel writes its metadata back in any order, so that what lies
 * in place may contradict itself at any moment. So copies are kept of all metadata, in the version in which it last
 * agreed: all that users are shown is read from these. After the image has been written to, the places are compared with
 * the copies; what differs is sorted into groups of inodes, names and blocks that can only be taken together, and each
 * group whose parts agree with each other (see `judge`) becomes part of the next commit. What does not agree waits, but not
 * for ever.
 *
 * What this gives: once a change has been agreed on, names, link counts, types and the blocks of directories and maps fit
 * each other. What it cannot give: nothing holds a guest back from using a freed block again before it writes of either
 * file, so that a file's bytes can be another file's until the metadata of both is on the disk; nor is there an order
 * between a file's size and its data; and of changes that are taken as they stand nothing is certain.
 */
import type { Log, Source } from "../../../images/image.js";
import { IoError } from "../../../images/io-error.js";
import { type BlockCache, readFully } from "../../../versions/block-cache.js";
import type { Commit } from "../../../versions/commit.js";
import { View } from "../../../versions/view.js";
import { Scan } from "../../agreement/scan.js";
import { Trigger } from "../../agreement/trigger.js";
import { NO_CHANGES } from "../../changes.js";
import type { NameSink } from "../../crawler.js";
import type { Follower, Look, Step } from "../../follower.js";
import { crawlInodes } from "../crawl.js";
import { Difference, NOTHING_LATER } from "../difference.js";
import { ExtFileMaps } from "../file-maps.js";
import { Parts } from "../parts.js";
import { Geometry, SUPERBLOCK_OFFSET, Superblock } from "../superblock.js";
import { Accepted } from "./accepted.js";
import { Verdict } from "./agree.js";
import { Base, type Piece } from "./base.js";
import { Candidate, type Taken } from "./candidate.js";

/** Bytes of metadata that are kept at most: of one that has more, the changes are not followed. */
const MOST_KEPT = 64 << 20;
/** Bytes and number of later commits after which all copies are handed over anew, so that the older ones can go. */
const MOST_LATER = 32 << 20;
const MOST_COMMITS = 4096;
/** Bytes of each of the commits by which that is done. */
const HANDED_OVER = 4 << 20;
/**
 * ms after which changes are taken that do not agree: a guest with odd habits, or one that crashed, may leave what never
 * will. Those that users would get errors from are given the time that Linux takes to write all that it has (30 s at
 * most, looked at every 5 s: dirty_expire_centisecs, dirty_writeback_centisecs); then all is walked through again, and
 * taken as it is found.
 */
const BLURRED_OVERDUE = 2000;
const BROKEN_OVERDUE = 36_000;
/** ms of one look that the first walk through the metadata takes, and between openings afresh meanwhile. */
const WALK = 50;
const AFRESH = 1000;
/** ms between lines in the log. */
const SAY = 60_000;

/** The last commit of a volume: numbers go on when it is opened afresh. */
const lastSequence = new WeakMap<Source, number>();
/** Volumes that have turned out to have too much metadata. */
const tooLarge = new WeakSet<Source>();

export class AgreementFollower implements Follower {
  /** What happened while nobody looked is not known. */
  readonly isResumed = false;
  readonly #maps = new ExtFileMaps(() => this.#accepted.parts);
  readonly #source: Source;
  readonly #log: Log;
  readonly #geometry: Geometry;
  readonly #view: View;
  readonly #accepted: Accepted;
  readonly #difference: Difference;
  readonly #scan: Scan;
  readonly #trigger: Trigger;
  /** Inodes of which something is not taken, and since when (ms). */
  #waiting = new Map<number, number>();
  /** When what waits is to be considered again, whatever happens (ms). */
  #again = Number.POSITIVE_INFINITY;
  /** The first walk through the metadata, while it goes on. */
  #taking: Base | undefined;
  readonly #walk: Generator<void, boolean>;
  #opened = 0;
  #sequence: number;
  #base = 0;
  #later = 0;
  #said = Number.NEGATIVE_INFINITY;

  /** `after`: the last commit that somebody knows of. Throws IoError. */
  private constructor(source: Source, geometry: Geometry, cache: BlockCache, log: Log, after: number) {
    this.#source = source;
    this.#log = log;
    this.#geometry = geometry;
    this.#sequence = Math.max(after, lastSequence.get(source) ?? 0);
    this.#view = new View(source, geometry.blockSize, cache);
    const parts = new Parts(geometry, this.#view, () => {});
    this.#accepted = new Accepted(parts);
    this.#difference = new Difference(parts);
    this.#scan = new Scan(source, geometry.blockSize);
    this.#trigger = new Trigger(source);
    this.#taking = new Base(source, this.#accepted, MOST_KEPT);
    this.#walk = this.#taking.take();
  }

  /** Undefined (and a line in the log) if there is more metadata than can be kept. Throws IoError. */
  static open(source: Source, cache: BlockCache, log: Log, after = 0): AgreementFollower | undefined {
    if (tooLarge.has(source)) return undefined;
    const superblock = readSuperblock(source);
    const geometry = new Geometry(superblock);
    const inUse = geometry.inodesCount - superblock.s_free_inodes_count;
    if (inUse * geometry.inodeSize + geometry.groups * geometry.blockSize <= MOST_KEPT)
      return new AgreementFollower(source, geometry, cache, log, after);
    giveUp(source, log);
    return undefined;
  }

  get maps(): ExtFileMaps | undefined {
    return this.#taking === undefined ? this.#maps : undefined;
  }

  crawl(sink: NameSink): Generator<void> | undefined {
    const { parts } = this.#accepted;
    return this.#taking === undefined ? crawlInodes(parts, this.#accepted.inodes(), sink) : undefined;
  }

  look(): Look {
    const began = performance.now();
    if (this.#taking !== undefined) return this.#goOn(this.#taking, began);
    if (!this.#trigger.isDue(began) && began < this.#again) return undefined;
    const changed = this.#scan.changed(this.#accepted.kept);
    const found = this.#consider(changed, began);
    this.#trigger.done(began, performance.now());
    return found;
  }

  /** The walk goes on for a while. Until it has ended, users are shown what is in place, opened afresh now and then. */
  #goOn(taking: Base, began: number): Look {
    for (;;) {
      const { done, value } = this.#walk.next();
      if (done === true) {
        this.#taking = undefined;
        if (value === true) return { steps: this.#begin(taking.pieces), revealed: [], afresh: true };
        giveUp(this.#source, this.#log);
        return { reopen: "changed" };
      }
      const now = performance.now();
      if (now - began < WALK) continue;
      if (now - this.#opened < AFRESH) return undefined;
      this.#opened = now;
      return { steps: [], revealed: [], afresh: true };
    }
  }

  #begin(pieces: readonly Piece[]): Step[] {
    this.#base = this.#sequence + 1;
    const steps = pieces.map(({ blocks, bytes }) => {
      const used = bytes.subarray(0, blocks.length * this.#geometry.blockSize);
      const commit = this.#commit(blocks, used, [], this.#base);
      this.#view.apply(commit);
      return step(commit);
    });
    this.#accepted.parts.forget();
    return steps;
  }

  #consider(changed: ReadonlyMap<number, Buffer>, now: number): Look {
    if (changed.has(this.#accepted.places.superblock) && !this.#isSame()) return { reopen: "changed" };
    this.#again = Number.POSITIVE_INFINITY;
    if (changed.size === 0) {
      this.#waiting.clear();
      return undefined;
    }
    const room = MOST_KEPT / this.#geometry.blockSize - this.#accepted.kept.size;
    const candidate = new Candidate(this.#source, this.#accepted, changed, room);
    if (candidate.isTooMuch) {
      giveUp(this.#source, this.#log);
      return { reopen: "changed" };
    }
    let isHopeless = false;
    const taken = candidate.take((ino, verdict) => {
      const isBroken = verdict === Verdict.BROKEN;
      const due = (this.#waiting.get(ino) ?? now) + (isBroken ? BROKEN_OVERDUE : BLURRED_OVERDUE);
      if (due > now) this.#again = Math.min(this.#again, due);
      else if (isBroken) isHopeless = true;
      return due <= now;
    });
    if (isHopeless) {
      this.#log("its structures have not agreed for long: they are taken as they are found");
      return { reopen: "damaged" };
    }
    this.#waiting = new Map(taken.held.map((ino) => [ino, this.#waiting.get(ino) ?? now]));
    if (taken.forced.length > 0) this.#say(taken.forced, now);
    return taken.blocks.size === 0 ? { steps: [], revealed: [], isWaiting: true } : this.#take(taken);
  }

  #take({ blocks, entities }: Taken): Look {
    const { kept, places } = this.#accepted;
    const freed = this.#accepted.take(entities);
    for (const block of freed) blocks.delete(block);
    for (const block of blocks.keys()) {
      // There was no inode in use in it: what lies in its place now is not what was there before.
      if (!kept.has(block) && places.tables.firstInode(block) !== 0) this.#view.setCopy(block, UNUSED);
    }
    const commit = this.#commitOf([...blocks], freed, this.#base);
    const changes = this.#difference.apply(commit, NOTHING_LATER);
    this.#later += commit.bytes.length;
    const steps = [step(commit, changes)];
    if (this.#later > MOST_LATER || this.#sequence - this.#base > MOST_COMMITS)
      steps.push(...this.#handOver());
    return { steps, revealed: [] };
  }

  /** Commits of all copies; with the last of them, those of all commits before them are let go. */
  #handOver(): Step[] {
    const { kept, parts } = this.#accepted;
    const first = this.#sequence + 1;
    const all = [...kept.entries()];
    const each = HANDED_OVER / this.#geometry.blockSize;
    const steps: Step[] = [];
    for (let at = 0; at < all.length; at += each) {
      const isLast = at + each >= all.length;
      const commit = this.#commitOf(all.slice(at, at + each), [], isLast ? first : this.#base);
      this.#view.apply(commit);
      steps.push(step(commit));
    }
    parts.forget();
    this.#base = first;
    this.#later = 0;
    return steps;
  }

  /** A commit of blocks, which are kept as it has them. */
  #commitOf(
    copies: ReadonlyArray<readonly [number, Buffer]>,
    freed: readonly number[],
    settled: number,
  ): Commit {
    const { blockSize } = this.#geometry;
    const bytes = Buffer.from(new SharedArrayBuffer(copies.length * blockSize));
    for (const [index, [block, copy]] of copies.entries()) {
      copy.copy(bytes, index * blockSize);
      this.#accepted.kept.set(block, bytes.subarray(index * blockSize, (index + 1) * blockSize));
    }
    const blocks = copies.map(([block]) => block);
    return this.#commit(blocks, bytes, freed, settled);
  }

  #commit(blocks: readonly number[], bytes: Buffer, freed: readonly number[], settled: number): Commit {
    lastSequence.set(this.#source, ++this.#sequence);
    return {
      sequence: this.#sequence,
      blocks: Float64Array.from(blocks),
      bytes,
      places: new Float64Array(blocks.length),
      revoked: Float64Array.from(freed),
      settled,
    };
  }

  /** Whether it is still the same file system, of the same shape. Throws IoError when it cannot be read. */
  #isSame(): boolean {
    let now: Geometry;
    try {
      now = new Geometry(readSuperblock(this.#source));
    } catch (error) {
      if (error instanceof IoError) return false;
      throw error;
    }
    const old = this.#geometry;
    return (
      now.uuid === old.uuid &&
      now.blockSize === old.blockSize &&
      now.blocksCount === old.blocksCount &&
      now.inodesCount === old.inodesCount &&
      now.inodeSize === old.inodeSize &&
      now.compat === old.compat &&
      now.incompat === old.incompat &&
      now.roCompat === old.roCompat
    );
  }

  #say(forced: readonly number[], now: number): void {
    if (now - this.#said < SAY) return;
    this.#said = now;
    const some = forced.slice(0, 3).join(", ");
    this.#log(`its structures do not agree (inode ${some}): some changes are taken as they stand`);
  }
}

function step(commit: Commit, changes = NO_CHANGES): Step {
  const now = Date.now();
  return { commit, changes, seconds: Math.floor(now / 1000), nanoseconds: (now % 1000) * 1_000_000 };
}

function readSuperblock(source: Source): Superblock {
  const buffer = Buffer.alloc(Superblock.size);
  readFully(source, buffer, buffer.length, SUPERBLOCK_OFFSET);
  return Superblock.at(buffer);
}

function giveUp(source: Source, log: Log): void {
  tooLarge.add(source);
  log(`no journal, and more than ${MOST_KEPT >> 20} MiB of metadata: looked at twice a second, not followed`);
}

/** A block of an inode table in which no inode is in use. */
const UNUSED = {
  sequence: 0,
  read: (target: Buffer, at: number): boolean => {
    target.fill(0, at);
    return true;
  },
};
