/**
 * Following an NTFS volume. Its guest writes records, directories and data to their places whenever it likes, and its log
 * ($LogFile) is no journal of blocks: ntfs-3g does not even write it. So copies are kept of all records in use and of the
 * blocks of directories, in the version in which they last agreed: names, directories and attributes are read from these.
 * After the image has been written to, the places are compared with the copies; what differs is sorted into groups of
 * files and directories that can only be taken together, and each group whose parts agree with each other becomes part of
 * the next commit: a record's fix-ups hold, and those of the records that it goes on with; its runs lead to what has been
 * written of it; a name counts when the record and the directory's index both have it, and is gone when neither has; an
 * index's blocks have one parent each. What does not agree waits, but not for ever.
 *
 * What it cannot give: the two halves of a rename are two changes on the disk. What stays so for some 40 ms is taken for a
 * link, and else it is waited for the other half. And Windows writes records some seconds after it has made another use of
 * a file's clusters, which nothing in their places tells. Bytes of files are read by their records in their places
 * (LiveFiles).
 */
import type { Log, Source } from "../../../images/image.js";
import { EIO, IoError } from "../../../images/io-error.js";
import { BlockCache, readFully } from "../../../versions/block-cache.js";
import type { Commit } from "../../../versions/commit.js";
import { View } from "../../../versions/view.js";
import { NO_CHANGES } from "../../changes.js";
import type { NameSink } from "../../crawler.js";
import type { Follower, Look, Step } from "../../follower.js";
import { BOOT_SECTOR_SIZE, type Geometry, requireGeometry } from "../boot-sector.js";
import { MasterFileTable, SystemRecord } from "../mft.js";
import { Accepted } from "./accepted.js";
import { Base, type Piece } from "./base.js";
import { Candidate, CandidateReader, type Changed, type Taken } from "./candidate.js";
import { Composer } from "./compose.js";
import { crawlAccepted } from "./crawl.js";
import type { Entity } from "./entity.js";
import { LiveFiles } from "./live-files.js";
import { NtfsFileMaps } from "./maps.js";
import { Pace } from "./pace.js";
import { PlaceView } from "./place-view.js";
import { saysInUse } from "./raw-record.js";
import { RecordPlaces } from "./record-places.js";
import { Comparison } from "./scan.js";

/** Bytes of metadata that are kept at most: of a volume that has more, the changes are not followed. */
const MOST_KEPT = 96 << 20;
/** Bytes of an MFT, in use or not, that is looked through at most. */
const LARGEST_MFT = 256 << 20;
/** Bytes and number of later commits after which all copies are handed over anew, so that the older ones can go. */
const MOST_LATER = 32 << 20;
const MOST_COMMITS = 4096;
/** Bytes of each of the commits by which that is done. */
const HANDED_OVER = 4 << 20;
/** How often what does not agree is read again at once, as it may be half written, and ms that this may take. */
const ROUNDS = 12;
const ROUNDS_LONGEST = 12;
/**
 * ms after which changes are taken that do not agree: a guest that crashed may leave what never will. What cannot be read
 * at all is given more time.
 */
const OVERDUE = 2000;
const UNREADABLE_OVERDUE = 15_000;
/**
 * A rename is two changes on the disk, or, of a name that there is already, five (ntfs-3g): ms for which a file that has
 * got a name must have stayed as it is before that is taken, and for which others are held back for it at most.
 */
const RENAME = 40;
const RENAMES_LONGEST = 250;
/** ms of one look that the first walk through the metadata takes, and between openings afresh meanwhile. */
const WALK = 50;
const AFRESH = 1000;
/** ms between lines in the log. */
const SAY = 60_000;
/** Bytes of the cache with which $MFT is looked for. */
const SMALL_CACHE = 1 << 18;

/** The last commit of a volume: numbers go on when it is opened afresh. */
const lastSequence = new WeakMap<Source, number>();
/** Volumes that have turned out to have too much metadata. */
const tooLarge = new WeakSet<Source>();

export class NtfsFollower implements Follower {
  /** What happened while nobody looked is not known. */
  readonly isResumed = false;
  readonly #source: Source;
  readonly #log: Log;
  readonly #geometry: Geometry;
  readonly #boot: Buffer;
  readonly #accepted: Accepted;
  readonly #reader: CandidateReader;
  readonly #comparison: Comparison;
  readonly #composer: Composer;
  readonly #maps: NtfsFileMaps;
  readonly #files: LiveFiles;
  readonly #pace: Pace;
  /** Files of which something is not taken, and since when (ms). */
  #waiting = new Map<number, number>();
  /** Files that have got a name, as they were seen, and since when. */
  #renamed = new Map<number, { readonly record: Buffer; readonly since: number }>();
  /** When what waits is to be considered again, whatever happens (ms). */
  #again = Number.POSITIVE_INFINITY;
  /** The first walk through the metadata, while it goes on. */
  #taking: Base | undefined;
  /** The record of $MFT by which the records were found last, or an older one. */
  #mft: Buffer | undefined;
  readonly #walk: Generator<void, boolean>;
  #opened = 0;
  #sequence: number;
  #base = 0;
  #later = 0;
  #said = Number.NEGATIVE_INFINITY;

  /** `after`: the last commit that somebody knows of. Throws IoError. */
  private constructor(
    source: Source,
    geometry: Geometry,
    places: RecordPlaces,
    cache: BlockCache,
    log: Log,
    after: number,
  ) {
    this.#source = source;
    this.#log = log;
    this.#geometry = geometry;
    this.#boot = readBoot(source);
    this.#sequence = Math.max(after, lastSequence.get(source) ?? 0);
    this.#accepted = new Accepted(source, geometry, cache, places);
    this.#reader = new CandidateReader(source, this.#accepted, cache);
    this.#comparison = new Comparison(source, this.#accepted);
    this.#composer = new Composer(this.#accepted, this.#reader.parts);
    this.#maps = new NtfsFileMaps(this.#accepted.parts);
    this.#files = new LiveFiles(geometry, new PlaceView(source, geometry.blockSize, cache));
    this.#pace = new Pace(source);
    this.#taking = new Base(source, this.#accepted, MOST_KEPT);
    this.#walk = this.#taking.take();
  }

  /** Undefined (and a line in the log) if there is more metadata than can be kept. Throws IoError. */
  static open(source: Source, cache: BlockCache, log: Log, after = 0): NtfsFollower | undefined {
    if (tooLarge.has(source)) return undefined;
    const geometry = requireGeometry(source);
    const places = findRecords(source, geometry);
    if (places.records * geometry.recordSize <= LARGEST_MFT)
      return new NtfsFollower(source, geometry, places, cache, log, after);
    giveUp(source, log);
    return undefined;
  }

  get maps(): NtfsFileMaps | undefined {
    return this.#taking === undefined ? this.#maps : undefined;
  }

  crawl(sink: NameSink): Generator<void> | undefined {
    return this.#taking === undefined ? crawlAccepted(this.#accepted, sink) : undefined;
  }

  look(): Look {
    const began = performance.now();
    if (this.#taking !== undefined) return this.#goOn(this.#taking, began);
    if (!this.#pace.isDue(began) && began < this.#again) return undefined;
    return this.#compare(began);
  }

  read(ino: number, generation: number, position: number, length: number): Buffer | undefined {
    if (this.#taking !== undefined || !this.#accepted.records.has(ino)) return undefined;
    const target = Buffer.allocUnsafe(length);
    return target.subarray(0, this.#files.read(ino, generation, position, length, target, 0));
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
    this.#accepted.parts.forget();
    return pieces.map(({ blocks, bytes }) => {
      const used = bytes.subarray(0, blocks.length * this.#geometry.blockSize);
      return step(this.#commit(blocks, used, [], this.#base));
    });
  }

  #compare(began: number): Look {
    if (!readBoot(this.#source).equals(this.#boot)) return { reopen: "changed" };
    if (!this.#findNewRecords()) return { reopen: "changed" };
    const found = this.#comparison.next(began);
    const look = this.#consider(found.changed, began);
    this.#pace.done(began, performance.now(), found.passBegan);
    return look;
  }

  #consider(found: Changed, began: number): Look {
    let changed = found;
    this.#again = Number.POSITIVE_INFINITY;
    let candidate = this.#candidate(changed);
    for (let round = 0; round < ROUNDS && !candidate.isTooMuch && !candidate.agrees; round++) {
      if (performance.now() - began > ROUNDS_LONGEST && round > 0) break;
      const { records, blocks } = candidate.looked;
      changed = this.#comparison.some(records, blocks);
      candidate = this.#candidate(changed);
    }
    if (candidate.isTooMuch) {
      giveUp(this.#source, this.#log);
      return { reopen: "changed" };
    }
    if (changed.records.size + changed.others.size === 0) {
      this.#waiting.clear();
      return undefined;
    }
    const { records, blocks } = candidate.looked;
    this.#comparison.note(records, blocks, began);
    const mayWait = this.#waitForRenames(candidate, began);
    const taken = candidate.take(mayWait, (ino, isUnreadable) => {
      const due = (this.#waiting.get(ino) ?? began) + (isUnreadable ? UNREADABLE_OVERDUE : OVERDUE);
      if (due > began) this.#again = Math.min(this.#again, due);
      return due <= began;
    });
    this.#waiting = new Map(taken.held.map((ino) => [ino, this.#waiting.get(ino) ?? began]));
    if (taken.forced.size > 0) this.#say(taken.forced, began);
    if (taken.records.size + taken.others.size + taken.freed.length === 0)
      return taken.held.length === 0 ? undefined : { steps: [], revealed: [], isWaiting: true };
    return this.#take(taken);
  }

  /** Tells of which files to wait for the other half of a rename. */
  #waitForRenames(candidate: Candidate, now: number): (entity: Entity) => boolean {
    const before = this.#renamed;
    this.#renamed = new Map();
    let oldest = now;
    for (const since of this.#waiting.values()) oldest = Math.min(oldest, since);
    const isTooLong = now - oldest > RENAMES_LONGEST;
    return (entity) => {
      const record = candidate.renamed(entity);
      if (record === undefined || isTooLong) return false;
      const known = before.get(entity.ino);
      const since = known?.record.equals(record) === true ? known.since : now;
      this.#renamed.set(entity.ino, { record, since });
      if (now - since >= RENAME) return false;
      this.#again = Math.min(this.#again, since + RENAME);
      return true;
    };
  }

  #candidate(changed: Changed): Candidate {
    const room = MOST_KEPT - this.#accepted.size;
    return new Candidate(this.#source, this.#accepted, this.#reader, changed, room);
  }

  /** $MFT grows, and its own record tells where to. False: records have been moved. */
  #findNewRecords(): boolean {
    const { geometry, places } = this.#accepted;
    const now = Buffer.allocUnsafe(geometry.recordSize);
    places.read(this.#source, SystemRecord.MFT, 1, now);
    if (this.#mft?.equals(now) === true) return true;
    try {
      const found = findRecords(this.#source, geometry);
      if (!found.extends(places)) return false;
      this.#accepted.places = found;
      this.#mft = now;
    } catch (error) {
      // It can be half written: then it is found by the next look.
      if (!(error instanceof IoError)) throw error;
    }
    return true;
  }

  #take(taken: Taken): Look {
    const { records, others, owners, places, parts } = this.#accepted;
    const changes = this.#composer.compose(taken.entities);
    const blocks: number[] = [];
    const pieces: Buffer[] = [];
    const freed: number[] = [];
    for (const block of taken.freed) {
      others.delete(block);
      owners.delete(block);
      freed.push(block);
    }
    for (const [record, bytes] of taken.records) {
      const lies = places.blocksOf(record);
      if (saysInUse(bytes, 0)) {
        records.set(record, bytes);
        blocks.push(...lies);
        if (lies.length > 0) pieces.push(bytes);
      } else {
        records.delete(record);
        freed.push(...lies);
      }
    }
    for (const { ino, now } of taken.entities) {
      if (now === undefined) continue;
      for (const block of now.blocks) owners.set(block, ino);
      if (now.isDirectory) this.#accepted.noteHidden(now);
    }
    for (const [block, bytes] of taken.others) {
      others.set(block, bytes);
      blocks.push(block);
      pieces.push(bytes);
    }
    parts.forget();
    const bytes = shared(pieces);
    this.#keep(blocks, bytes);
    const steps = [step(this.#commit(blocks, bytes, freed, this.#base), changes)];
    this.#later += bytes.length;
    if (this.#later > MOST_LATER || this.#sequence - this.#base > MOST_COMMITS)
      steps.push(...this.#handOver());
    return this.#waiting.size > 0 ? { steps, revealed: [], isWaiting: true } : { steps, revealed: [] };
  }

  /** What a commit has is kept as the commit has it: so there is one copy of it. */
  #keep(blocks: readonly number[], bytes: Buffer): void {
    const { records, others, places, geometry } = this.#accepted;
    const { blockSize, recordSize } = geometry;
    const perRecord = recordSize / blockSize;
    for (let n = 0; n < blocks.length; ) {
      const block = blocks[n] as number;
      const record = places.recordAt(block);
      const count = record < 0 ? 1 : perRecord;
      const copy = bytes.subarray(n * blockSize, (n + count) * blockSize);
      if (record < 0) others.set(block, copy);
      else records.set(record, copy);
      n += count;
    }
  }

  /** Commits of all copies; with the last of them, those of all commits before them are let go. */
  #handOver(): Step[] {
    const { records, others, places, geometry } = this.#accepted;
    const first = this.#sequence + 1;
    const steps: Step[] = [];
    let blocks: number[] = [];
    let pieces: Buffer[] = [];
    let length = 0;
    const flush = (isLast: boolean) => {
      const bytes = shared(pieces);
      this.#keep(blocks, bytes);
      steps.push(step(this.#commit(blocks, bytes, [], isLast ? first : this.#base)));
      blocks = [];
      pieces = [];
      length = 0;
    };
    const add = (lies: readonly number[], bytes: Buffer) => {
      if (lies.length === 0) return;
      blocks.push(...lies);
      pieces.push(bytes);
      length += lies.length * geometry.blockSize;
      if (length >= HANDED_OVER) flush(false);
    };
    for (const [record, bytes] of [...records]) add(places.blocksOf(record), bytes);
    for (const [block, bytes] of [...others.entries()]) add([block], bytes);
    flush(true);
    this.#base = first;
    this.#later = 0;
    return steps;
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

  #say(forced: ReadonlyMap<number, string>, now: number): void {
    if (now - this.#said < SAY) return;
    this.#said = now;
    const some = [...forced].slice(0, 3).map(([ino, why]) => `${ino} (${why})`);
    this.#log(`its structures do not agree (inode ${some.join(", ")}): some changes are taken as they stand`);
  }
}

function findRecords(source: Source, geometry: Geometry): RecordPlaces {
  const view = new View(source, geometry.blockSize, new BlockCache(SMALL_CACHE));
  return new RecordPlaces(new MasterFileTable(geometry, view));
}

function readBoot(source: Source): Buffer {
  const sector = Buffer.alloc(BOOT_SECTOR_SIZE);
  if (readFully(source, sector, sector.length, 0) < sector.length)
    throw new IoError(EIO, "the volume has no boot sector any more");
  return sector;
}

/** Buffers one after the other, in shared memory. */
function shared(pieces: readonly Buffer[]): Buffer {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const bytes = Buffer.from(new SharedArrayBuffer(length));
  let at = 0;
  for (const piece of pieces) at += piece.copy(bytes, at);
  return bytes;
}

function step(commit: Commit, changes = NO_CHANGES): Step {
  const now = Date.now();
  return { commit, changes, seconds: Math.floor(now / 1000), nanoseconds: (now % 1000) * 1_000_000 };
}

function giveUp(source: Source, log: Log): void {
  tooLarge.add(source);
  log(`more than ${MOST_KEPT >> 20} MiB of metadata: looked at twice a second, not followed`);
}
