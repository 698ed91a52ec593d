/** Crawling an NTFS volume: each record of the MFT has the state of a file and its names, so one pass tells all. */

import type { Log, Source } from "../../images/image.js";
import { EIO, IoError } from "../../images/io-error.js";
import { BlockCache } from "../../versions/block-cache.js";
import { View } from "../../versions/view.js";
import type { Crawled, CrawlSink, CrawlStart } from "../crawler.js";
import { EXACT } from "../filesystem.js";
import { requireGeometry } from "./boot-sector.js";
import { NtfsCrawledInode } from "./crawl-inode.js";
import { FileNames, Namespace } from "./file-name.js";
import { Inode } from "./inode.js";
import { inodeState } from "./inode-state.js";
import { SystemRecord } from "./mft.js";
import { encodeName, isShowable, MOST_BYTES } from "./names.js";
import { Parts } from "./parts.js";
import { BadRecords, eachRecord } from "./records-in-use.js";

/** Bytes of the cache that a second look has for itself. */
const SECOND_CACHE = 2 << 20;

/** See crawlStart. */
export function crawlStartNtfs(source: Source): CrawlStart {
  const { clusterSize } = requireGeometry(source);
  return { rootInode: SystemRecord.ROOT, blockSize: clusterSize, sequence: undefined, rest: undefined };
}

/** See crawlFileSystem. What the tree does not list (the format's own files, and what is below $Extend) is left out. */
export function crawlNtfs(source: Source, cache: BlockCache, log: Log, sink: CrawlSink): Crawled {
  sink.begin(SystemRecord.ROOT);
  const first = new Crawl(openParts(source, cache), sink, false);
  first.all();
  if (first.bad.why.size === 0) return { sequence: undefined, bad: 0 };
  // The guest may have been writing what was read.
  const second = new Crawl(openParts(source, new BlockCache(SECOND_CACHE)), sink, true);
  for (const number of first.bad.why.keys()) second.again(number);
  return { sequence: undefined, bad: second.bad.tell(log) };
}

/** The volume as it is now. Throws IoError. */
export function openParts(source: Source, cache: BlockCache): Parts {
  const geometry = requireGeometry(source);
  const view = new View(source, geometry.blockSize, cache);
  return new Parts(geometry, view, () => {}, EXACT);
}

class Crawl {
  readonly bad = new BadRecords();
  readonly #parts: Parts;
  readonly #sink: CrawlSink;
  readonly #isAgain: boolean;
  readonly #inode: Inode;
  readonly #crawled: NtfsCrawledInode;
  readonly #names = new FileNames();
  readonly #bytes = Buffer.alloc(MOST_BYTES);
  /** Directories that are not listed, but for those with the first numbers. */
  readonly #hidden = new Set<number>();

  constructor(parts: Parts, sink: CrawlSink, isAgain: boolean) {
    this.#parts = parts;
    this.#sink = sink;
    this.#isAgain = isAgain;
    this.#inode = new Inode(parts.mft);
    this.#crawled = new NtfsCrawledInode(parts, this.#inode);
  }

  all(): void {
    eachRecord(this.#parts.mft, this.#inode, this.bad, (inode) => this.#take(inode));
  }

  /** What another pass found bad. */
  again(number: number): void {
    try {
      if (this.#inode.loadIfUsed(number)) this.#take(this.#inode);
    } catch (error) {
      this.bad.note(number, error);
    }
  }

  #take(inode: Inode): void {
    const { ino } = inode;
    const isRoot = ino === SystemRecord.ROOT;
    if (!isRoot && (ino < SystemRecord.FIRST_USER || this.#isHidden(inode))) return;
    const state = inodeState(this.#parts, inode);
    const crawled = this.#crawled;
    crawled.enter();
    this.#sink.inode(ino, state, crawled);
    if (!isRoot) this.#tellNames(inode);
    if (crawled.problem !== "") this.bad.noteWhy(ino, crawled.problem);
  }

  #tellNames(inode: Inode): void {
    const names = this.#names;
    names.enter(inode);
    while (names.step()) {
      if (names.namespace === Namespace.DOS || !isShowable(names.buffer, names.nameAt, names.length))
        continue;
      const { parent } = names;
      if (this.#isHiddenDirectory(parent)) continue;
      if (parent >= this.#parts.mft.records)
        throw new IoError(EIO, `MFT record ${inode.ino} has a name in a directory that does not exist`);
      const length = encodeName(names.buffer, names.nameAt, names.length, this.#bytes);
      this.#sink.name(parent, this.#bytes, 0, length, inode.ino, this.#isAgain);
    }
  }

  /** Whether all names of a file are in directories that are not listed. */
  #isHidden(inode: Inode): boolean {
    const names = this.#names;
    names.enter(inode);
    let hasName = false;
    while (names.step()) {
      if (!this.#isHiddenDirectory(names.parent)) return false;
      hasName = true;
    }
    if (hasName && inode.isDirectory) this.#hidden.add(inode.ino);
    return hasName;
  }

  #isHiddenDirectory(ino: number): boolean {
    return (ino < SystemRecord.FIRST_USER && ino !== SystemRecord.ROOT) || this.#hidden.has(ino);
  }
}
