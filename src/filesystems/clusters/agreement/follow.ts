/**
 * Following a FAT or exFAT file system, which has no journal: its writer puts tables and directories to the disk in any
 * order. Copies are kept of all of them, in the version in which they last agreed: all that users are shown is read from
 * these. After the image has been written to, the places are compared with the copies, and what differs is sorted into
 * files; those of which entry and chain agree become the next commit. What does not agree waits, but not for ever.
 *
 * What this gives: a file that is shown has all the clusters that its size takes, each of them its own. What it cannot
 * give: nothing holds a writer back from using a cluster again before the entry of the file that had it is on the disk,
 * nor from writing a file's size before its bytes.
 */
import type { Log, Source } from "../../../images/image.js";
import { IoError } from "../../../images/io-error.js";
import type { BlockCache } from "../../../versions/block-cache.js";
import type { Commit } from "../../../versions/commit.js";
import { Kept } from "../../agreement/kept.js";
import { Scan } from "../../agreement/scan.js";
import { Trigger } from "../../agreement/trigger.js";
import { type Changes, NO_CHANGES } from "../../changes.js";
import type { NameSink } from "../../crawler.js";
import type { Follower, Look, Step } from "../../follower.js";
import type { Layout } from "../layout.js";
import { Base, type Piece } from "./base.js";
import { Candidate, type Touched, Verdict } from "./candidate.js";
import { changesOf } from "./changes.js";
import { compose } from "./compose.js";
import { crawlTree } from "./crawl.js";
import { ClusterFileMaps } from "./file-maps.js";
import { CandidateBlocks, KeptBlocks } from "./overlay.js";
import { take } from "./take.js";
import { KnownTree, MOST_CLUSTERS, TreeReader } from "./tree.js";

/** Bytes of metadata that are kept at most: of one that has more, the changes are not followed. */
const MOST_KEPT = 64 << 20;
/** Bytes and number of later commits after which all copies are handed over anew, so that the older ones can go. */
const MOST_LATER = 32 << 20;
const MOST_COMMITS = 4096;
/** Bytes of each of the commits by which that is done. */
const HANDED_OVER = 4 << 20;
/**
 * ms after which changes are taken that do not agree; and after which all is walked through again and taken as it is found,
 * where users would get errors: Linux writes all that it has within 35 s (dirty_expire_centisecs,
 * dirty_writeback_centisecs).
 */
const BLURRED_OVERDUE = 2000;
const BROKEN_OVERDUE = 36_000;
/** ms of one look that the first walk through the metadata takes, and between openings afresh meanwhile. */
const WALK = 50;
const AFRESH = 1000;
/** ms between walks for what has not agreed for long. */
const SAY = 60_000;

/** The last commit of a volume: numbers go on when it is opened afresh. */
const lastSequence = new WeakMap<Source, number>();
/** Volumes that have turned out to have too much metadata. */
const tooLarge = new WeakSet<Source>();

/** What a format has of its own. */
export interface FollowedFormat {
  readonly layout: Layout;
  /** Whether it is still the same file system, of the same shape. Throws IoError when it cannot be read. */
  isSame(source: Source): boolean;
  /** Sectors beside the table in which the format notes what is in use. */
  marks(reader: TreeReader): readonly number[];
  /** Whether a cluster is in use by these. */
  isMarked(cluster: number, reader: TreeReader): boolean;
}

export class ClusterFollower implements Follower {
  /** What happened while nobody looked is not known. */
  readonly isResumed = false;
  readonly #source: Source;
  readonly #log: Log;
  readonly #format: FollowedFormat;
  readonly #layout: Layout;
  readonly #kept = new Kept();
  readonly #blocks: KeptBlocks;
  readonly #tree: KnownTree;
  readonly #scan: Scan;
  readonly #trigger: Trigger;
  readonly #maps: ClusterFileMaps;
  #fixed: ReadonlySet<number> = new Set();
  /** Files of which something is not taken, and since when (ms). */
  #waiting = new Map<number, number>();
  /** When what waits is to be considered again, whatever happens (ms). */
  #again = Number.POSITIVE_INFINITY;
  #taking: Base | undefined;
  readonly #walk: Generator<void, boolean>;
  #opened = 0;
  #sequence: number;
  #base = 0;
  #later = 0;
  #said = Number.NEGATIVE_INFINITY;

  private constructor(source: Source, format: FollowedFormat, log: Log, after: number) {
    const { layout } = format;
    this.#source = source;
    this.#format = format;
    this.#layout = layout;
    this.#log = log;
    this.#sequence = Math.max(after, lastSequence.get(source) ?? 0);
    this.#blocks = new KeptBlocks(source, this.#kept, layout.sectorSize);
    this.#tree = new KnownTree(layout);
    this.#scan = new Scan(source, layout.sectorSize);
    this.#trigger = new Trigger(source);
    this.#maps = new ClusterFileMaps(layout, this.#blocks, this.#tree);
    this.#taking = new Base(source, this.#tree, this.#kept, this.#blocks, MOST_KEPT);
    this.#walk = this.#taking.take((reader) => {
      const marks = format.marks(reader);
      this.#fixed = new Set([0, ...marks]);
      return marks;
    });
  }

  /** Undefined (and a line in the log) if there is more metadata than can be kept. Throws IoError. */
  static open(
    source: Source,
    format: FollowedFormat,
    _cache: BlockCache,
    log: Log,
    after = 0,
  ): ClusterFollower | undefined {
    if (tooLarge.has(source)) return undefined;
    const { clusters, sectorSize, tableSectors } = format.layout;
    if (clusters <= MOST_CLUSTERS && tableSectors * sectorSize <= MOST_KEPT)
      return new ClusterFollower(source, format, log, after);
    giveUp(source, log);
    return undefined;
  }

  get maps(): ClusterFileMaps | undefined {
    return this.#taking === undefined ? this.#maps : undefined;
  }

  read(ino: number, generation: number, position: number, length: number): Buffer | undefined {
    return this.maps?.read(ino, generation, position, length);
  }

  crawl(sink: NameSink): Generator<void> | undefined {
    return this.#taking === undefined ? crawlTree(this.#tree, sink) : undefined;
  }

  look(): Look {
    const began = performance.now();
    if (this.#taking !== undefined) return this.#goOn(this.#taking, began);
    if (!this.#trigger.isDue(began) && began < this.#again) return undefined;
    const changed = this.#scan.changed(this.#kept);
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
    return pieces.map(({ sectors, bytes }) =>
      step(
        this.#commit(sectors, bytes.subarray(0, sectors.length * this.#layout.sectorSize), [], this.#base),
      ),
    );
  }

  #consider(changed: ReadonlyMap<number, Buffer>, now: number): Look {
    if (changed.has(0) && !this.#isSame()) return { reopen: "changed" };
    this.#again = Number.POSITIVE_INFINITY;
    if (changed.size === 0) {
      this.#waiting.clear();
      return undefined;
    }
    const room = MOST_KEPT / this.#layout.sectorSize - this.#kept.size;
    const disk = new CandidateBlocks(this.#source, this.#kept, this.#layout.sectorSize, changed, room);
    const reader = new TreeReader(this.#layout, disk);
    const isMarked = (cluster: number) => this.#format.isMarked(cluster, reader);
    const candidate = new Candidate(this.#tree, this.#blocks, disk, changed.keys(), isMarked);
    if (disk.isTooMuch || candidate.isTooMuch) {
      giveUp(this.#source, this.#log);
      return { reopen: "changed" };
    }
    let isHopeless = false;
    const forced: number[] = [];
    const held = candidate.held(({ ino, verdict }) => {
      const isBroken = verdict === Verdict.BROKEN;
      const due = (this.#waiting.get(ino) ?? now) + (isBroken ? BROKEN_OVERDUE : BLURRED_OVERDUE);
      if (due > now) {
        this.#again = Math.min(this.#again, due);
        return true;
      }
      if (isBroken) isHopeless = true;
      forced.push(ino);
      return isBroken;
    });
    if (isHopeless) {
      this.#sayHopeless(forced, now);
      return { reopen: "damaged" };
    }
    this.#waiting = new Map([...held].map(({ ino }) => [ino, this.#waiting.get(ino) ?? now]));
    return this.#take(candidate, disk, held);
  }

  #take(candidate: Candidate, disk: CandidateBlocks, held: ReadonlySet<Touched>): Look {
    const taken = [...candidate.touched.values()].filter((one) => !held.has(one));
    const { table } = new TreeReader(this.#layout, disk);
    const composed = compose(this.#layout, table, this.#kept, disk.sectors, held);
    const changes = changesOf(this.#tree, taken);
    const { freed, come } = take(this.#tree, candidate, taken);
    for (const sector of come)
      if (!this.#kept.has(sector)) composed.set(sector, composed.get(sector) ?? disk.locate(sector));
    for (const sector of freed) {
      composed.delete(sector);
      this.#kept.delete(sector);
    }
    for (const sector of composed.keys()) if (!this.#isKept(sector)) composed.delete(sector);
    if (composed.size + freed.length === 0) return { steps: [], revealed: [], isWaiting: true };
    const commit = this.#commitOf([...composed], freed, this.#base);
    this.#maps.forget();
    this.#later += commit.bytes.length;
    const steps = [step(commit, changes)];
    if (this.#later > MOST_LATER || this.#sequence - this.#base > MOST_COMMITS)
      steps.push(...this.#handOver());
    return { steps, revealed: [] };
  }

  /** Whether a sector is metadata of the version that has been agreed on. */
  #isKept(sector: number): boolean {
    const { tableStart, tableSectors } = this.#layout;
    const isTable = sector >= tableStart && sector < tableStart + tableSectors;
    return isTable || this.#tree.directoryOf.has(sector) || this.#fixed.has(sector);
  }

  /** Commits of all copies; with the last of them, those of all commits before them are let go. */
  #handOver(): Step[] {
    const first = this.#sequence + 1;
    const all = [...this.#kept.entries()];
    const each = HANDED_OVER / this.#layout.sectorSize;
    const steps: Step[] = [];
    for (let at = 0; at < all.length; at += each) {
      const isLast = at + each >= all.length;
      steps.push(step(this.#commitOf(all.slice(at, at + each), [], isLast ? first : this.#base)));
    }
    this.#base = first;
    this.#later = 0;
    return steps;
  }

  /** A commit of sectors, which are kept as it has them. */
  #commitOf(
    copies: ReadonlyArray<readonly [number, Buffer]>,
    freed: readonly number[],
    settled: number,
  ): Commit {
    const { sectorSize } = this.#layout;
    const bytes = Buffer.from(new SharedArrayBuffer(copies.length * sectorSize));
    for (const [index, [sector, copy]] of copies.entries()) {
      copy.copy(bytes, index * sectorSize);
      this.#kept.set(sector, bytes.subarray(index * sectorSize, (index + 1) * sectorSize));
    }
    return this.#commit(
      copies.map(([sector]) => sector),
      bytes,
      freed,
      settled,
    );
  }

  #commit(sectors: readonly number[], bytes: Buffer, freed: readonly number[], settled: number): Commit {
    lastSequence.set(this.#source, ++this.#sequence);
    return {
      sequence: this.#sequence,
      blocks: Float64Array.from(sectors),
      bytes,
      places: new Float64Array(sectors.length),
      revoked: Float64Array.from(freed),
      settled,
    };
  }

  #isSame(): boolean {
    try {
      return this.#format.isSame(this.#source);
    } catch (error) {
      if (error instanceof IoError) return false;
      throw error;
    }
  }

  #sayHopeless(files: readonly number[], now: number): void {
    if (now - this.#said < SAY) return;
    this.#said = now;
    const some = files.slice(0, 3).join(", ");
    this.#log(`its structures have not agreed for long (inode ${some}): they are taken as they are found`);
  }
}

function step(commit: Commit, changes: Changes = NO_CHANGES): Step {
  const now = Date.now();
  return { commit, changes, seconds: Math.floor(now / 1000), nanoseconds: (now % 1000) * 1_000_000 };
}

function giveUp(source: Source, log: Log): void {
  tooLarge.add(source);
  log(`more than ${MOST_KEPT >> 20} MiB of metadata: looked at twice a second, not followed`);
}
