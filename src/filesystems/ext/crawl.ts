/**
 * Crawling an ext file system: first the inode tables, group by group, as far as they are in use; then the blocks of
 * directories in the order in which they lie on the disk. So nearly all reads are large and go forward.
 */
import type { Log, Source } from "../../images/image.js";
import { EIO, IoError } from "../../images/io-error.js";
import { BlockCache } from "../../versions/block-cache.js";
import type { InodeState } from "../changes.js";
import type { Crawled, CrawlSink, CrawlStart, NameSink } from "../crawler.js";
import { FileType } from "../filesystem.js";
import { DirectoryPass } from "./crawl-directories.js";
import { ExtCrawledInode } from "./crawl-inode.js";
import { Inode, InodeFlags } from "./inode.js";
import { inodeState } from "./inode-state.js";
import { InodesInUse } from "./inodes-in-use.js";
import type { FastCommit } from "./journal/fast-commit.js";
import { Parts } from "./parts.js";
import { restMark } from "./rest-mark.js";
import { openVersion } from "./version.js";

/** EXT4_ROOT_INO */
const ROOT_INODE = 2;
/** How often what could not be read is looked at again: so often if it is bad, too, but there is little of that. */
const LOOKS = 5;
/** So many bad inodes and directories are looked at again and passed over; more, and the crawl has failed. */
export const MOST_BAD = 100_000;
/** Bytes of the cache that another look has for itself. */
const SECOND_CACHE = 2 << 20;
/** Directories of which is kept when they were changed, to see whether they have been since. */
const MOST_DIRECTORIES = 1_000_000;
/** Lines in the log about what was passed over. */
const MOST_LINES = 10;

/** See crawlStart. */
export function crawlStartExt(source: Source, cache: BlockCache, log: Log): CrawlStart {
  // Looked at before the version is opened: a mount meanwhile makes another of it.
  const rest = restMark(source);
  const { geometry, sequence } = openVersion(source, cache, log);
  return { rootInode: ROOT_INODE, blockSize: geometry.blockSize, sequence, rest };
}

/** See crawlFileSystem. */
export function crawlExt(source: Source, cache: BlockCache, log: Log, sink: CrawlSink): Crawled {
  const rest = restMark(source);
  const { geometry, view, sequence, fastCommits } = openVersion(source, cache, log);
  view.refuseGone();
  const parts = new Parts(geometry, view, () => {}, fastCommits);
  sink.begin(ROOT_INODE);
  const first = new Crawl(parts, sink, false);
  first.all(changedBy(fastCommits));
  const last = lookAgain(source, first, (again) => new Crawl(again, sink, true));
  const isAtRest = rest !== undefined && restMark(source)?.equals(rest) === true;
  if (!isAtRest) listChanged(source, first, sink);
  return { sequence, bad: tellBad(last, log) };
}

/**
 * Lists those directories again that the guest has changed meanwhile. Names move between a directory's blocks, which no
 * transaction tells as a change of names: one that was in a block that was read late, and had not come into one that was
 * read early, has not been seen. Throws IoError.
 */
function listChanged(source: Source, first: Crawl, sink: CrawlSink): void {
  let { directories } = first;
  for (let look = 1; look <= LOOKS && directories.size > 0; look++) {
    const { geometry, view, fastCommits } = openVersion(source, new BlockCache(SECOND_CACHE), () => {});
    if (look < LOOKS) view.refuseGone();
    const pass = new Crawl(new Parts(geometry, view, () => {}, fastCommits), sink, true);
    pass.changed(directories);
    directories = pass.directories;
  }
}

/** A pass that can be given what another one could not read. */
interface Pass<Self> extends Passed {
  again(before: Self): void;
}

/**
 * Has what a pass could not read looked at again in later versions: the guest may have written over it, or over its copies
 * in the journal, while it was read. Returns the last pass. Throws IoError.
 */
export function lookAgain<Self extends Pass<Self>>(
  source: Source,
  first: Self,
  begin: (parts: Parts) => Self,
): Self {
  let last = first;
  for (let look = 1; look <= LOOKS && last.bad.size + last.badGroups.size > 0; look++) {
    const { geometry, view, fastCommits } = openVersion(source, new BlockCache(SECOND_CACHE), () => {});
    if (look < LOOKS) view.refuseGone();
    const next = begin(new Parts(geometry, view, () => {}, fastCommits));
    next.again(last);
    last = next;
  }
  return last;
}

/** What a pass could not read. */
export interface Passed {
  readonly bad: ReadonlyMap<number, string>;
  readonly badGroups: ReadonlySet<number>;
}

/** Tells of what was passed over, in a few lines; returns how much it is. */
export function tellBad({ bad, badGroups }: Passed, log: Log): number {
  const lines = [
    ...[...badGroups].map((group) => `the inodes of group ${group}`),
    ...[...bad].map(([ino, message]) => `inode ${ino}: ${message}`),
  ];
  for (const line of lines.slice(0, MOST_LINES)) log(`crawl: passed over ${line}`);
  if (lines.length > MOST_LINES) log(`crawl: passed over ${lines.length - MOST_LINES} more`);
  return lines.length;
}

/** The inodes that fast commits change: no table and no bitmap tells of them. */
export function changedBy(fastCommits: readonly FastCommit[]): ReadonlySet<number> {
  const changed = new Set<number>();
  for (const operation of fastCommits.flat()) {
    changed.add(operation.ino);
    if ("parent" in operation) changed.add(operation.parent);
  }
  return changed;
}

/** Inodes that are told at once. */
const AT_ONCE = 100;

/** Tells of some inodes, and of the names that are in those that are directories; see Follower.crawl. */
export function* crawlInodes(parts: Parts, inodes: Iterable<number>, sink: NameSink): Generator<void> {
  sink.begin(ROOT_INODE);
  const crawl = new Crawl(parts, sink, true);
  let told = 0;
  for (const ino of inodes) {
    crawl.alone(ino);
    if (++told % AT_ONCE === 0) yield;
  }
}

const NONE: ReadonlySet<number> = new Set();

/** One pass over all inodes, or some. */
class Crawl {
  /** Inodes that could not be read, or whose entries could not, and why. */
  readonly bad = new Map<number, string>();
  /** Groups whose inodes could not be found. */
  readonly badGroups = new Set<number>();
  /** Directories that were listed, and when they had been changed last; see changeTime. */
  readonly directories = new Map<number, number>();
  readonly #parts: Parts;
  readonly #sink: CrawlSink;
  readonly #directories: DirectoryPass;
  readonly #inode: Inode;
  readonly #crawled: ExtCrawledInode;
  readonly #inUse: InodesInUse;

  constructor(parts: Parts, sink: CrawlSink, isAgain: boolean) {
    this.#parts = parts;
    this.#sink = sink;
    this.#directories = new DirectoryPass(parts, sink, isAgain, (ino, error) => this.#noteBad(ino, error));
    this.#inode = new Inode(parts.geometry);
    this.#crawled = new ExtCrawledInode(parts, this.#inode);
    this.#inUse = new InodesInUse(parts);
  }

  /** `changed`: inodes whose directories' blocks do not tell all. */
  all(changed: ReadonlySet<number>): void {
    const { there } = this.#parts.groups;
    for (let group = 0; group < there; group++) this.#group(group, changed);
    this.#directories.flush();
    for (const ino of changed) this.#take(ino, true);
  }

  /** One inode, and the names that are in it. */
  alone(ino: number): void {
    this.#take(ino, true);
  }

  /** What another pass found bad. */
  again({ bad, badGroups }: Crawl): void {
    for (const group of badGroups) this.#group(group, NONE);
    this.#directories.flush();
    for (const ino of bad.keys()) this.#take(ino, true);
  }

  /** Those of another pass's directories that have changed since, and those that cannot be read now. */
  changed(before: ReadonlyMap<number, number>): void {
    const inode = this.#inode;
    for (const [ino, time] of before) {
      try {
        const isThere = this.#parts.inodes.readNamed(ino, inode);
        const state = isThere ? inodeState(this.#parts.inodes, inode) : undefined;
        if (state === undefined || changeTime(state) === time) continue;
        this.#take(ino, true);
      } catch (error) {
        this.#noteBad(ino, error);
        this.directories.set(ino, time);
      }
    }
  }

  #group(group: number, changed: ReadonlySet<number>): void {
    const isGood = this.#inUse.visit(group, (ino) => {
      if (!changed.has(ino)) this.#take(ino, false);
    });
    if (!isGood) this.badGroups.add(group);
  }

  /** `isAlone`: a directory's entries are listed at once. */
  #take(ino: number, isAlone: boolean): void {
    const { geometry, inodes } = this.#parts;
    if ((ino < geometry.firstInode && ino !== ROOT_INODE) || ino === geometry.orphanFileInode) return;
    if (ino > geometry.inodesCount) return;
    const inode = this.#inode;
    try {
      if (!inodes.readNamed(ino, inode) || inode.hasFlag(InodeFlags.EA_INODE)) return;
      const state = inodeState(inodes, inode);
      if (state === undefined) throw new IoError(EIO, `inode ${ino}: its fields make no sense`);
      const crawled = this.#crawled;
      crawled.enter();
      this.#sink.inode(ino, state, crawled);
      if (inode.type === FileType.DIRECTORY) {
        if (this.directories.size < MOST_DIRECTORIES) this.directories.set(ino, changeTime(state));
        if (isAlone) this.#directories.list(inode);
        else this.#directories.add(inode);
      }
      if (crawled.problem !== "") throw new IoError(EIO, crawled.problem);
    } catch (error) {
      this.#noteBad(ino, error);
    }
  }

  #noteBad(ino: number, error: unknown): void {
    if (!(error instanceof IoError)) throw error;
    if (!this.bad.has(ino)) this.bad.set(ino, error.message);
    if (this.bad.size > MOST_BAD)
      throw new IoError(EIO, `more than ${MOST_BAD} inodes and directories are bad; one: ${error.message}`);
  }
}

/** Seconds: so many, in nanoseconds, a number holds exactly. */
const CTIME_RANGE = 2 ** 22;

/** When an inode was changed last, in nanoseconds of some 48 days. */
function changeTime({ ctime, ctimeNsec }: InodeState): number {
  return (ctime % CTIME_RANGE) * 1e9 + ctimeNsec;
}
