/** The formats that can be read, and opening whichever a volume has. */
import type { Log, Source } from "../images/image.js";
import type { BlockCache } from "../versions/block-cache.js";
import type { BlockCrawlSink, Crawled, CrawlSink, CrawlStart } from "./crawler.js";
import {
  crawlExfat,
  crawlExfatBlocks,
  crawlStartExfat,
  followExfat,
  identifyExfat,
  isExfat,
  openExfat,
} from "./exfat/open.js";
import { crawlExt, crawlStartExt } from "./ext/crawl.js";
import { crawlExtBlocks } from "./ext/crawl-blocks.js";
import { followExt, identifyExt, isExt, openExt } from "./ext/open.js";
import { restMark } from "./ext/rest-mark.js";
import {
  crawlFat,
  crawlFatBlocks,
  crawlStartFat,
  followFat,
  identifyFat,
  isFat,
  openFat,
} from "./fat/open.js";
import { EXACT, type FileSystem, type NameMatching } from "./filesystem.js";
import type { Follower, TakenPart } from "./follower.js";
import { crawlNtfs, crawlStartNtfs } from "./ntfs/crawl.js";
import { crawlNtfsBlocks } from "./ntfs/crawl-blocks.js";
import { followNtfs, identifyNtfs, isNtfs, openNtfs } from "./ntfs/open.js";
import { identifyBySignature } from "./signatures.js";

/** What a volume says it is, whether or not it can be opened here. */
export interface Identity {
  /** `ext4`, `swap`, `LVM2_member`, ... */
  readonly type: string;
  readonly label: string;
  readonly uuid: string;
}

/** One format. */
interface Format {
  /** Whether the volume has it. Throws IoError. */
  recognises(source: Source): boolean;
  /** Throws IoError. */
  identify(source: Source): Identity;
  /** Throws IoError when it cannot be opened: the message says why. */
  open(source: Source, cache: BlockCache, log: Log, matching: NameMatching): FileSystem;
  /** Throws IoError. Undefined if not every change can be followed. */
  follow(
    source: Source,
    cache: BlockCache,
    log: Log,
    after?: number,
    parts?: readonly TakenPart[],
  ): Follower | undefined;
  /** Throws IoError. */
  restMark(source: Source): Buffer | undefined;
  /** Throws IoError. */
  crawlStart(source: Source, cache: BlockCache, log: Log): CrawlStart;
  /** Throws IoError when so much cannot be read that the rest would be of no use. */
  crawl(source: Source, cache: BlockCache, log: Log, sink: CrawlSink): Crawled;
  crawlBlocks(source: Source, cache: BlockCache, log: Log, sink: BlockCrawlSink): Crawled;
}

const FORMATS: readonly Format[] = [
  {
    recognises: isExt,
    identify: identifyExt,
    open: openExt,
    follow: followExt,
    restMark,
    crawlStart: crawlStartExt,
    crawl: crawlExt,
    crawlBlocks: crawlExtBlocks,
  },
  {
    recognises: isExfat,
    identify: identifyExfat,
    open: openExfat,
    follow: followExfat,
    restMark: () => undefined,
    crawlStart: crawlStartExfat,
    crawl: crawlExfat,
    crawlBlocks: crawlExfatBlocks,
  },
  {
    recognises: isFat,
    identify: identifyFat,
    open: openFat,
    follow: followFat,
    restMark: () => undefined,
    crawlStart: crawlStartFat,
    crawl: crawlFat,
    crawlBlocks: crawlFatBlocks,
  },
  {
    recognises: isNtfs,
    identify: identifyNtfs,
    open: openNtfs,
    follow: followNtfs,
    restMark: () => undefined,
    crawlStart: crawlStartNtfs,
    crawl: crawlNtfs,
    crawlBlocks: crawlNtfsBlocks,
  },
];

/** What lies on a volume; undefined if nothing that is known by name. Throws IoError when it cannot be read. */
export function identify(source: Source): Identity | undefined {
  return FORMATS.find((format) => format.recognises(source))?.identify(source) ?? identifyBySignature(source);
}

/**
 * Opens a volume's file system; undefined if it has none that is known here. `matching` is for formats that leave it open,
 * which is NTFS. Throws IoError when it cannot be opened.
 */
export function openFileSystem(
  source: Source,
  cache: BlockCache,
  log: Log,
  matching: NameMatching = EXACT,
): FileSystem | undefined {
  return FORMATS.find((format) => format.recognises(source))?.open(source, cache, log, matching);
}

/**
 * Follows a volume's file system while its guest writes, if possible from transaction `after` on; undefined if it cannot
 * be followed. `parts`: what was taken of a later transaction before the whole, from the first part on: it is taken again
 * as it was then, before what comes after it. Throws IoError.
 */
export function followFileSystem(
  source: Source,
  cache: BlockCache,
  log: Log,
  after?: number,
  parts?: readonly TakenPart[],
): Follower | undefined {
  return FORMATS.find((format) => format.recognises(source))?.follow(source, cache, log, after, parts);
}

/**
 * What is another as soon as anything is written to a volume whose file system is at rest; undefined for one that is not,
 * or is not known here. Throws IoError.
 */
export function restMarkOf(source: Source): Buffer | undefined {
  return FORMATS.find((format) => format.recognises(source))?.restMark(source);
}

/** How a volume's file system stands now; undefined if it has none that is known here. Throws IoError. */
export function crawlStart(source: Source, cache: BlockCache, log: Log): CrawlStart | undefined {
  return FORMATS.find((format) => format.recognises(source))?.crawlStart(source, cache, log);
}

/**
 * Crawls a volume's file system in its committed version; undefined if it has none that is known here. A guest may go on
 * meanwhile: what its transactions after `sequence` change may have been seen already, or not. Throws IoError when it
 * cannot be read.
 */
export function crawlFileSystem(
  source: Source,
  cache: BlockCache,
  log: Log,
  sink: CrawlSink,
): Crawled | undefined {
  return FORMATS.find((format) => format.recognises(source))?.crawl(source, cache, log, sink);
}

/** The same for what each block of it holds. */
export function crawlBlocks(
  source: Source,
  cache: BlockCache,
  log: Log,
  sink: BlockCrawlSink,
): Crawled | undefined {
  return FORMATS.find((format) => format.recognises(source))?.crawlBlocks(source, cache, log, sink);
}
