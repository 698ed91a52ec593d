/** Crawling an ext file system for what each of its blocks holds: the fixed metadata, then the maps of all inodes. */
import type { Log, Source } from "../../images/image.js";
import { EIO, IoError } from "../../images/io-error.js";
import type { BlockCache } from "../../versions/block-cache.js";
import type { BlockCrawlSink, Crawled } from "../crawler.js";
import { changedBy, lookAgain, MOST_BAD, tellBad } from "./crawl.js";
import { tellFixedBlocks } from "./fixed-blocks.js";
import { Inode } from "./inode.js";
import { InodeBlocks } from "./inode-blocks.js";
import { InodesInUse } from "./inodes-in-use.js";
import { Parts } from "./parts.js";
import { openVersion } from "./version.js";

/** See crawlBlocks. Deleted inodes that the guest has open are among them. */
export function crawlExtBlocks(source: Source, cache: BlockCache, log: Log, sink: BlockCrawlSink): Crawled {
  const { geometry, view, sequence, fastCommits } = openVersion(source, cache, log);
  view.refuseGone();
  const parts = new Parts(geometry, view, () => {}, fastCommits);
  sink.begin(geometry.blockSize, geometry.blocksCount);
  tellFixedBlocks(parts, sink);
  const first = new BlockCrawl(parts, sink);
  first.all(changedBy(fastCommits));
  const last = lookAgain(source, first, (again) => new BlockCrawl(again, sink));
  return { sequence, bad: tellBad(last, log) };
}

class BlockCrawl {
  /** Inodes whose maps could not be read, and why. */
  readonly bad = new Map<number, string>();
  /** Groups whose inodes could not be found. */
  readonly badGroups = new Set<number>();
  readonly #parts: Parts;
  readonly #sink: BlockCrawlSink;
  readonly #blocks: InodeBlocks;
  readonly #inode: Inode;
  readonly #inUse: InodesInUse;

  constructor(parts: Parts, sink: BlockCrawlSink) {
    this.#parts = parts;
    this.#sink = sink;
    this.#inode = new Inode(parts.geometry);
    this.#inUse = new InodesInUse(parts);
    this.#blocks = new InodeBlocks(parts);
    // No block is in two files, nor twice in one.
    this.#blocks.blocksLeft = parts.view.blocksThere;
  }

  /** `changed`: inodes that no table and no bitmap tells of. */
  all(changed: ReadonlySet<number>): void {
    const { there } = this.#parts.groups;
    for (let group = 0; group < there; group++) this.#group(group, changed);
    for (const ino of changed) this.#take(ino);
  }

  /** What another pass found bad. */
  again({ bad, badGroups }: BlockCrawl): void {
    for (const group of badGroups) this.#group(group, new Set());
    for (const ino of bad.keys()) this.#take(ino);
  }

  #group(group: number, changed: ReadonlySet<number>): void {
    const isGood = this.#inUse.visit(group, (ino) => {
      if (!changed.has(ino)) this.#take(ino);
    });
    if (!isGood) this.badGroups.add(group);
  }

  #take(ino: number): void {
    const inode = this.#inode;
    try {
      if (ino <= this.#parts.geometry.inodesCount && this.#parts.inodes.readNamed(ino, inode, true))
        this.#blocks.tell(inode, this.#sink);
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      if (!this.bad.has(ino)) this.bad.set(ino, error.message);
      if (this.bad.size > MOST_BAD || this.#blocks.blocksLeft < 0)
        throw new IoError(EIO, `too much of its maps is bad; one: ${error.message}`);
    }
  }
}
