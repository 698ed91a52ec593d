/** The thread that crawls one volume, or reads a crawl of it from a file, and ends. */
import { parentPort, workerData } from "node:worker_threads";
import { diskName } from "../cloud/mount-table.js";
import { crawlFileSystem } from "../filesystems/formats.js";
import type { Log, Source } from "../images/image.js";
import { openRawImage } from "../images/raw.js";
import { IndexSink } from "../inference/index-sink.js";
import type { InodeIndex, InodeIndexParts } from "../inference/inode-index.js";
import { BlockCache } from "../versions/block-cache.js";
import { findVolumes } from "../volumes/volumes.js";
import { type MadeCrawl, readCrawl } from "./crawl-file.js";

/** What the thread is started with. */
export interface CrawlData {
  readonly images: readonly string[];
  /** `sda1` */
  readonly volume: string;
  /** Bytes that the map may take. */
  readonly mostBytes: number;
  /** A crawl that has been made of it. */
  readonly made: MadeCrawl | undefined;
}

/** What it tells: lines for the log, and at its end what it has found, or why it has not. */
export type CrawlMessage =
  | { readonly kind: "log"; readonly line: string }
  | { readonly kind: "crawled"; readonly parts: InodeIndexParts; readonly sequence: number | undefined }
  | { readonly kind: "failed"; readonly message: string };

/** Bytes of the cache: what is read lies together, and is not read again. */
const CACHE_BYTES = 4 << 20;
function findSource({ images, volume }: CrawlData): Source {
  for (const [index, path] of images.entries()) {
    const table = findVolumes(openRawImage(path), diskName(index), () => {});
    const found = table.volumes.find(({ name }) => name === volume);
    if (found !== undefined) return found.source;
  }
  throw new Error("there is no such volume any more");
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

async function crawl(
  data: CrawlData,
  post: (message: CrawlMessage, transfers?: ArrayBuffer[]) => void,
): Promise<void> {
  try {
    const log = (line: string) => post({ kind: "log", line });
    const made = await read(data, log);
    if (made !== undefined) {
      const { parts, transfers } = made.toParts();
      post({ kind: "crawled", parts, sequence: data.made?.volume.transaction }, transfers);
      return;
    }
    const sink = new IndexSink(data.mostBytes);
    const crawled = crawlFileSystem(findSource(data), new BlockCache(CACHE_BYTES), log, sink);
    if (crawled === undefined) throw new Error("it has no file system that is known here");
    const { parts, transfers } = sink.index.toParts();
    post({ kind: "crawled", parts, sequence: crawled.sequence }, transfers);
  } catch (error) {
    post({ kind: "failed", message: (error as Error).message });
  }
}

const port = parentPort;
if (port !== null)
  void crawl(workerData as CrawlData, (message, transfers) => port.postMessage(message, transfers));
