/**
 * From a stream of writes to what they were: metadata, data of a known file, or not known yet. Where blocks are allocated
 * as they are written, data comes before the commit that says whose it is (ext4's ordered mode): such writes are kept until
 * a commit explains them, or until their time is up. Versions come from the follower, which reads the disk; what is told
 * here says which bytes of which files were written.
 */
import { BlockKind } from "../filesystems/block-kind.js";
import { FileType } from "../filesystems/filesystem.js";
import { FileFacts, type FileMaps } from "../filesystems/follower.js";
import type { WriteKind } from "../queue/write-record.js";
import type { BlockOwners } from "./block-owners.js";
import type { RangeVisitor } from "./kept-writes.js";
import { KeptWrites } from "./kept-writes.js";
import { LoggedBlocks } from "./logged-blocks.js";
import { SlowMaps } from "./slow-maps.js";
import type { Written } from "./written.js";
import { WrittenRanges } from "./written-ranges.js";

/** What writes were, in bytes, from the beginning on. */
export interface WriteCounters {
  /** Records, and those of them that stand for lost ones. */
  records: number;
  gaps: number;
  /** Bytes of lost writes whose range is too wide to say what was written. */
  lost: number;
  /** Of the journal, and of other metadata. */
  journal: number;
  metadata: number;
  /** Of files that were known when it came. */
  data: number;
  /** Nobody knew; those of them that a commit explained since, whose time was up, that were too many, or given up. */
  unknown: number;
  explained: number;
  expired: number;
  dropped: number;
  discarded: number;
}

export interface WriteLimits {
  /** ms that a write is kept of which nobody knows whose it is. */
  readonly unknownLife: number;
  /** Ranges of such writes. */
  readonly mostUnknown: number;
}

/** The life is Gamma-Ray's. */
export const DEFAULT_WRITE_LIMITS: WriteLimits = { unknownLife: 300_000, mostUnknown: 65_536 };

/**
 * ms for which a write is kept whose file is known, but does not reach there yet, or has unwritten blocks there: the commit
 * that changes that follows within the guest's commit interval, or (ext2) with its writeback; and ranges of them.
 */
const EARLY_LIFE = 40_000;
const MOST_EARLY = 16_384;
/**
 * Bytes of a gap that is taken for one write, if it is not most of the volume: a queue under pressure lets a gap grow over
 * what lies between.
 */
const WIDEST_GAP = 64 << 20;
/** Bytes of a write in which logged blocks are looked for: no checkpoint writes so many at once. */
const WIDEST_LOGGED = 32 << 20;

interface File {
  /** Undefined: there is none that could be told. */
  readonly facts: FileFacts | undefined;
  readonly ranges: WrittenRanges;
  sequence: number;
  time: number;
}

/** How a write is looked at: as it comes, or as one that was kept. */
const FRESH = 0;
const KEPT = 1;
const EARLY = 2;

export class WriteInference {
  readonly counters: WriteCounters = {
    records: 0,
    gaps: 0,
    lost: 0,
    journal: 0,
    metadata: 0,
    data: 0,
    unknown: 0,
    explained: 0,
    expired: 0,
    dropped: 0,
    discarded: 0,
  };
  readonly #limits: WriteLimits;
  readonly #unknown: KeptWrites;
  readonly #early = new KeptWrites(MOST_EARLY);
  readonly #logged = new LoggedBlocks();
  readonly #slow = new SlowMaps();
  readonly #files = new Map<number, File>();
  #owners: BlockOwners | undefined;
  #maps: FileMaps | undefined;
  readonly #widestGap: number;
  #blockSize = 1;
  #hasLost = false;

  /** `volumeSize`: bytes. */
  constructor(volumeSize: number, limits: Partial<WriteLimits> = {}) {
    this.#widestGap = Math.min(WIDEST_GAP, volumeSize / 2);
    this.#limits = { ...DEFAULT_WRITE_LIMITS, ...limits };
    this.#unknown = new KeptWrites(this.#limits.mostUnknown);
  }

  /** Whether it is known what the volume's blocks hold. */
  get isReady(): boolean {
    return this.#owners !== undefined;
  }

  /** Ranges of writes that wait to be explained, and their bytes. */
  get waiting(): { readonly ranges: number; readonly bytes: number } {
    return { ranges: this.#unknown.length, bytes: this.#unknown.bytes };
  }

  /** Bytes of memory that the map of blocks takes. */
  get bytes(): number {
    return this.#owners?.bytes ?? 0;
  }

  /**
   * It is known from now on what blocks hold, but for these inodes, which have changed since; the others are asked of
   * `maps`. What was kept is looked at.
   */
  know(owners: BlockOwners, maps: FileMaps, changed: Iterable<number>): void {
    this.#owners = owners;
    this.#maps = maps;
    this.#blockSize = maps.blockSize;
    this.#files.clear();
    this.#slow.clear();
    for (const ino of changed) this.#change(ino);
    for (const kept of [this.#unknown, this.#early]) kept.touch(0, Number.POSITIVE_INFINITY);
    this.#explainTouched();
  }

  /** Nobody knows any longer what blocks hold. */
  forget(): void {
    this.#owners = undefined;
    this.#maps = undefined;
    this.#files.clear();
  }

  /** A commit has changed these inodes, logged these blocks, and revoked others. What it explains comes with `finish`. */
  commit(inodes: Iterable<number>, logged: Float64Array, revoked: Float64Array): void {
    this.#logged.add(logged, revoked);
    const now = performance.now();
    for (const ino of inodes) if (!this.#slow.postpones(ino, now)) this.#change(ino);
    this.#explainTouched();
  }

  #explainTouched(): void {
    this.#unknown.takeTouched(this.#explain);
    this.#early.takeTouched(this.#explainEarly);
  }

  /** Asks where an inode lies now. */
  #change(ino: number): void {
    const [owners, maps] = [this.#owners, this.#maps];
    if (owners === undefined || maps === undefined) return;
    this.#forgetFacts(ino);
    const blockSize = this.#blockSize;
    let pieces = 0;
    owners.replace(ino, (sink) =>
      maps.extents(ino, {
        extent: (physical, count, inode, logical, kind) => {
          pieces++;
          sink.extent(physical, count, inode, logical, kind);
          const [start, end] = [physical * blockSize, (physical + count) * blockSize];
          this.#unknown.touch(start, end);
          if (kind === BlockKind.DATA) this.#early.touch(start, end);
        },
      }),
    );
    this.#slow.walked(ino, pieces, performance.now());
  }

  /** Takes a record; `offset` in the volume, `now` in ms of a monotonic clock. */
  take(kind: WriteKind, offset: number, length: number, sequence: number, time: number, now: number): void {
    const { counters } = this;
    if (kind === "flush" || length <= 0) return;
    counters.records++;
    if (kind === "gap") {
      counters.gaps++;
      if (length > this.#widestGap) {
        counters.lost += length;
        this.#hasLost = true;
        return;
      }
    }
    if (kind === "discard") {
      counters.discarded += this.#unknown.forget(offset, offset + length);
      this.#early.forget(offset, offset + length);
      return;
    }
    this.#sort(offset, offset + length, sequence, time, now, FRESH);
  }

  /** Whether more was lost, since this was asked last, than can be told by ranges. */
  takeLost(): boolean {
    const hasLost = this.#hasLost;
    this.#hasLost = false;
    return hasLost;
  }

  /** What was written to files since the last call, in the order of the stream. `now`: ms of performance.now(). */
  finish(now: number): Written[] {
    const { counters } = this;
    for (const ino of this.#slow.due(now)) this.#change(ino);
    this.#explainTouched();
    const drop: RangeVisitor = (start, end) => {
      counters.dropped += end - start;
    };
    this.#unknown.limit(drop);
    this.#early.limit(() => {});
    this.expire(now);
    const found: Written[] = [];
    for (const [ino, { facts, ranges, sequence, time }] of this.#files) {
      if (facts === undefined || sequence < 0) continue;
      found.push({ ino, generation: facts.generation, ranges: ranges.toPairs(), sequence, time });
    }
    this.#files.clear();
    return found.sort((a, b) => a.sequence - b.sequence);
  }

  /** Lets go of what has waited for too long. */
  expire(now: number): void {
    this.#unknown.expire(now - this.#limits.unknownLife, (start, end) => {
      this.counters.expired += end - start;
    });
    this.#early.expire(now - EARLY_LIFE, () => {});
  }

  readonly #explain: RangeVisitor = (start, end, sequence, time, since) =>
    this.#sort(start, end, sequence, time, since, KEPT);

  readonly #explainEarly: RangeVisitor = (start, end, sequence, time, since) =>
    this.#sort(start, end, sequence, time, since, EARLY);

  /** Sorts a range by what its blocks hold. `since`: when it came, ms. */
  #sort(start: number, end: number, sequence: number, time: number, since: number, how: number): void {
    const owners = this.#owners;
    const { counters } = this;
    if (owners === undefined) {
      this.#keep(start, end, sequence, time, since, how);
      return;
    }
    const blockSize = this.#blockSize;
    for (let at = start; at < end; ) {
      const block = Math.floor(at / blockSize);
      const kind = owners.find(block);
      const stop = Math.min(end, owners.end * blockSize);
      const { inode, logical } = owners;
      if (kind === BlockKind.DATA) {
        const position = logical * blockSize + at - block * blockSize;
        this.#sortData(inode, position, at, stop, sequence, time, since, how);
      } else if (kind === BlockKind.UNWRITTEN) {
        if (how === KEPT) counters.explained += stop - at;
        if (how === FRESH) counters.data += stop - at;
        this.#early.add(at, stop, sequence, time, since);
      } else if (kind === BlockKind.NONE) this.#sortUnowned(at, stop, sequence, time, since, how);
      else this.#count(kind, stop - at, how);
      at = stop;
    }
  }

  #sortData(
    ino: number,
    position: number,
    start: number,
    end: number,
    sequence: number,
    time: number,
    since: number,
    how: number,
  ): void {
    const { counters } = this;
    const file = this.#file(ino);
    if (file.facts === undefined) {
      // Its commit has not been taken yet, or it is no more.
      this.#keep(start, end, sequence, time, since, how);
      return;
    }
    if (how === KEPT) counters.explained += end - start;
    if (how === FRESH) counters.data += end - start;
    const there = Math.max(0, Math.min(end - start, file.facts.size - position));
    if (there > 0) {
      file.ranges.add(position, position + there);
      if (sequence >= file.sequence) {
        file.sequence = sequence;
        file.time = time;
      }
    }
    // A commit may still make the file longer.
    if (there < end - start) this.#early.add(start + there, end, sequence, time, since);
  }

  /** Blocks that no inode is known to have: logged ones are metadata all the same. */
  #sortUnowned(start: number, end: number, sequence: number, time: number, since: number, how: number): void {
    const blockSize = this.#blockSize;
    if (end - start > WIDEST_LOGGED) {
      this.#keep(start, end, sequence, time, since, how);
      return;
    }
    for (let at = start; at < end; ) {
      const block = Math.floor(at / blockSize);
      const isLogged = this.#logged.has(block);
      let next = block + 1;
      while (next * blockSize < end && this.#logged.has(next) === isLogged) next++;
      const stop = Math.min(end, next * blockSize);
      if (isLogged) this.#count(BlockKind.NONE, stop - at, how);
      else this.#keep(at, stop, sequence, time, since, how);
      at = stop;
    }
  }

  #count(kind: BlockKind, bytes: number, how: number): void {
    const { counters } = this;
    if (how === KEPT) counters.explained += bytes;
    else if (how === FRESH && kind === BlockKind.JOURNAL) counters.journal += bytes;
    else if (how === FRESH) counters.metadata += bytes;
  }

  #keep(start: number, end: number, sequence: number, time: number, since: number, how: number): void {
    if (how === EARLY) return;
    if (how === FRESH) this.counters.unknown += end - start;
    this.#unknown.add(start, end, sequence, time, since);
  }

  #file(ino: number): File {
    let file = this.#files.get(ino);
    if (file === undefined) {
      const facts = new FileFacts();
      const isFile = this.#maps?.facts(ino, facts) === true;
      const isRegular = isFile && (facts.mode & FileType.MASK) === FileType.REGULAR;
      file = { facts: isRegular ? facts : undefined, ranges: new WrittenRanges(), sequence: -1, time: 0 };
      this.#files.set(ino, file);
    }
    return file;
  }

  /** A commit has changed the file: what was found out before holds for its former self. */
  #forgetFacts(ino: number): void {
    const file = this.#files.get(ino);
    if (file === undefined) return;
    const facts = new FileFacts();
    if (this.#maps?.facts(ino, facts) === true && facts.generation === file.facts?.generation)
      this.#files.set(ino, { ...file, facts });
    else this.#files.delete(ino);
  }
}
