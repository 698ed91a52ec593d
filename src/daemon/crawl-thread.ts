/** The thread that crawls volumes, or reads crawls of them from files, one after the other, until it is told to end. */
import { parentPort } from "node:worker_threads";
import { diskName } from "../cloud/mount-table.js";
import { crawlBlocks, crawlFileSystem } from "../filesystems/formats.js";
import type { Image, Log, Source } from "../images/image.js";
import { openImage } from "../images/open.js";
import { ExtentSink } from "../inference/extent-sink.js";
import type { ExtentParts } from "../inference/extent-table.js";
import { IndexSink } from "../inference/index-sink.js";
import type { InodeIndex, InodeIndexParts } from "../inference/inode-index.js";
import { BlockCache } from "../versions/block-cache.js";
import { findLogicalVolumes, findVolumes, type VolumeTable } from "../volumes/volumes.js";
import { type MadeCrawl, readCrawl } from "./crawl-file.js";

/** What is to be found: names and inodes, or what each block holds. */
export type CrawlWhat = "names" | "blocks";

/** What the thread is told for each volume; undefined has it end. */
export interface CrawlData {
  readonly what: CrawlWhat;
  readonly images: readonly string[];
  /** `sda1` */
  readonly volume: string;
  /** Bytes that the map may take. */
  readonly mostBytes: number;
  /** A crawl that has been made of it. */
  readonly made: MadeCrawl | undefined;
}

/** What each block of a volume holds, and how many blocks it has. */
export interface CrawledBlocks {
  readonly parts: ExtentParts;
  readonly blocks: number;
}

/** What it tells: lines for the log, and at last what it has found, or why it has not. */
export type CrawlMessage =
  | { readonly kind: "log"; readonly line: string }
  | { readonly kind: "crawled"; readonly what: "names"; readonly parts: InodeIndexParts }
  | ({ readonly kind: "crawled"; readonly what: "blocks" } & CrawledBlocks)
  | { readonly kind: "failed"; readonly message: string };

/** Bytes of the cache: what is read lies together, and is not read again. */
const CACHE_BYTES = 4 << 20;

/** `opened` takes the images, which are to be closed when the source is needed no more. */
function findSource({ images, volume }: CrawlData, opened: Image[]): Source {
  const tables: VolumeTable[] = [];
  for (const [index, path] of images.entries()) {
    const image = openImage(path);
    opened.push(image);
    const table = findVolumes(image, diskName(index), () => {});
    const found = table.volumes.find(({ name }) => name === volume);
    if (found !== undefined) return found.source;
    tables.push(table);
  }
  const logical = findLogicalVolumes(tables, () => {}).find(({ name }) => name === volume);
  if (logical === undefined || logical.unreadable !== undefined)
    throw new Error("there is no such volume any more");
  return logical.source;
}

/** The map in a file; undefined, and a line in the log, if it is not all there. */
async function read({ made, mostBytes }: CrawlData, log: Log): Promise<InodeIndex | undefined> {
  if (made === undefined) return undefined;
  try {
    const sink = new IndexSink(mostBytes);
    await readCrawl(made, sink);
    return sink.index;
  } catch (error) {
    log(`${made.path} cannot be begun with, and the disk is crawled instead: ${(error as Error).message}`);
    return undefined;
  }
}

type Post = (message: CrawlMessage, transfers?: ArrayBuffer[]) => void;

async function crawlNames(data: CrawlData, opened: Image[], log: Log, post: Post): Promise<void> {
  const made = await read(data, log);
  if (made !== undefined) {
    const { parts, transfers } = made.toParts();
    post({ kind: "crawled", what: "names", parts }, transfers);
    return;
  }
  const sink = new IndexSink(data.mostBytes);
  if (crawlFileSystem(findSource(data, opened), new BlockCache(CACHE_BYTES), log, sink) === undefined)
    throw new Error("it has no file system that is known here");
  const { parts, transfers } = sink.index.toParts();
  post({ kind: "crawled", what: "names", parts }, transfers);
}

function crawlForBlocks(data: CrawlData, opened: Image[], log: Log, post: Post): void {
  const sink = new ExtentSink(data.mostBytes);
  if (crawlBlocks(findSource(data, opened), new BlockCache(CACHE_BYTES), log, sink) === undefined)
    throw new Error("it has no file system that is known here");
  const parts = sink.table.sorted().toParts();
  const { buffer } = parts.physical;
  const transfers = [buffer, parts.counts.buffer, parts.inodes.buffer, parts.logical.buffer] as ArrayBuffer[];
  post({ kind: "crawled", what: "blocks", parts, blocks: sink.blocks }, transfers);
}

async function crawl(data: CrawlData, post: Post): Promise<void> {
  const opened: Image[] = [];
  try {
    const log = (line: string) => post({ kind: "log", line });
    if (data.what === "names") await crawlNames(data, opened, log, post);
    else crawlForBlocks(data, opened, log, post);
  } catch (error) {
    post({ kind: "failed", message: (error as Error).message });
  } finally {
    for (const image of opened) image.close();
  }
}

const port = parentPort;
port?.on("message", (data: CrawlData | undefined) => {
  if (data === undefined) port.close();
  else void crawl(data, (message, transfers) => port.postMessage(message, transfers));
});
