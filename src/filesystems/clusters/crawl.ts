/** Crawling a FAT or exFAT file system: its tree, directory by directory. */
import type { Log, Source } from "../../images/image.js";
import { EIO, IoError } from "../../images/io-error.js";
import type { BlockCache } from "../../versions/block-cache.js";
import { View } from "../../versions/view.js";
import { BlockKind } from "../block-kind.js";
import type {
  BlockCrawlSink,
  Crawled,
  CrawledInode,
  CrawlSink,
  CrawlStart,
  ExtentVisitor,
} from "../crawler.js";
import type { Attributes } from "../filesystem.js";
import { Content } from "./content.js";
import { walkTree } from "./directories.js";
import { DirectoryEntry, EntryAttribute } from "./entry.js";
import { rootEntry, visitExtents } from "./extents.js";
import { inodeState, rootState } from "./inode-state.js";
import type { Layout } from "./layout.js";
import { Parts } from "./parts.js";
import { fillAttributes, fillRoot } from "./stat.js";

/** Lines in the log about what was passed over. */
const MOST_LINES = 10;

/** See crawlStart. */
export function crawlStartClusters({ rootInode, sectorSize }: Layout): CrawlStart {
  return { rootInode, blockSize: sectorSize, sequence: undefined, rest: undefined };
}

/** See crawlFileSystem. */
export function crawlClusters(
  layout: Layout,
  source: Source,
  cache: BlockCache,
  log: Log,
  sink: CrawlSink,
): Crawled {
  const crawl = new Crawl(layout, source, cache, log);
  const { crawled } = crawl;
  sink.begin(layout.rootInode);
  crawled.enter(rootEntry(layout, new DirectoryEntry()));
  sink.inode(layout.rootInode, rootState(layout.rootInode, layout.clusterSize), crawled);
  return crawl.walk((directory, entry) => {
    crawled.enter(entry);
    if (!entry.isBad) sink.inode(entry.ino, inodeState(entry, layout.clusterSize), crawled);
    sink.name(directory, entry.name, 0, entry.nameLength, entry.ino, false);
    if (crawled.problem !== "") crawl.noteBad(entry.ino, crawled.problem);
  });
}

/** See crawlBlocks. Blocks are sectors. */
export function crawlClusterBlocks(
  layout: Layout,
  source: Source,
  cache: BlockCache,
  log: Log,
  sink: BlockCrawlSink,
): Crawled {
  const crawl = new Crawl(layout, source, cache, log);
  const { crawled } = crawl;
  const { clusters, clusterSize, fixedSector, firstSector, rootInode, sectorSize, tableStart } = layout;
  sink.begin(sectorSize, firstSector + clusters * (clusterSize / sectorSize));
  sink.extent(0, tableStart, 0, 0, BlockKind.BOOT);
  sink.extent(tableStart, (fixedSector || firstSector) - tableStart, 0, 0, BlockKind.MAP);
  if (fixedSector > 0) {
    const count = (layout.root.size ?? 0) / sectorSize;
    sink.extent(fixedSector, count, rootInode, 0, BlockKind.DIRECTORY);
  }
  const tell = (entry: DirectoryEntry) => {
    const kind = entry.isDirectory ? BlockKind.DIRECTORY : BlockKind.DATA;
    crawled.enter(entry);
    crawled.extents((logical, physical, count) => sink.extent(physical, count, entry.ino, logical, kind));
    if (crawled.problem !== "") crawl.noteBad(entry.ino, crawled.problem);
  };
  tell(rootEntry(layout, new DirectoryEntry()));
  return crawl.walk((_, entry) => {
    if (!entry.isBad) tell(entry);
  });
}

class Crawl {
  readonly crawled: CrawledEntry;
  readonly #layout: Layout;
  readonly #parts: Parts;
  readonly #log: Log;
  #bad = 0;

  constructor(layout: Layout, source: Source, cache: BlockCache, log: Log) {
    this.#layout = layout;
    this.#log = log;
    const view = new View(source, layout.sectorSize, cache);
    this.#parts = new Parts(layout, view);
    this.crawled = new CrawledEntry(layout, this.#parts, new Content(layout, view, this.#parts.chains));
  }

  walk(visit: (directory: number, entry: DirectoryEntry) => void): Crawled {
    const { directories } = this.#parts;
    walkTree(
      this.#layout,
      (ino) => directories.slots(ino),
      (directory, entry) => {
        directories.note(directory, entry);
        if (entry.ino === 0) return;
        visit(directory, entry);
        if (entry.isBad) this.noteBad(entry.ino, "its entry is damaged");
      },
      (directory, { message }) => this.noteBad(directory, message),
    );
    if (this.#bad > MOST_LINES) this.#log(`crawl: passed over ${this.#bad - MOST_LINES} more`);
    return { sequence: undefined, bad: this.#bad };
  }

  noteBad(ino: number, problem: string): void {
    if (++this.#bad <= MOST_LINES) this.#log(`crawl: passed over inode ${ino}: ${problem}`);
  }
}

/** The entry that a crawl has read last. */
class CrawledEntry implements CrawledInode {
  problem = "";
  readonly #layout: Layout;
  readonly #parts: Parts;
  readonly #content: Content;
  #entry!: DirectoryEntry;
  /** Sectors that may still be told: no sector is in two files. */
  #left: number;

  constructor(layout: Layout, parts: Parts, content: Content) {
    this.#layout = layout;
    this.#parts = parts;
    this.#content = content;
    this.#left = layout.clusters * (layout.clusterSize / layout.sectorSize);
  }

  enter(entry: DirectoryEntry): void {
    this.#entry = entry;
    this.problem = "";
  }

  get flags(): number {
    return this.#entry.attributes;
  }

  get layoutFlags(): number {
    return this.#entry.attributes & EntryAttribute.DIRECTORY;
  }

  fill(out: Attributes): void {
    const { clusterSize, rootInode } = this.#layout;
    if (this.#entry.ino === rootInode) fillRoot(rootInode, clusterSize, out);
    else fillAttributes(this.#entry, clusterSize, out);
  }

  target(): undefined {
    return undefined;
  }

  attributes(): [] {
    return [];
  }

  extents(visitor: ExtentVisitor): void {
    try {
      visitExtents(this.#layout, this.#parts, this.#content, this.#entry, (logical, physical, count) => {
        this.#left -= count;
        if (this.#left < 0) throw new IoError(EIO, "more sectors than the volume has");
        visitor(logical, physical, count, false);
      });
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      this.problem = error.message;
    }
  }
}
