/** The thread that crawls one volume, and ends. */
import { parentPort, workerData } from "node:worker_threads";
import { diskName } from "../cloud/mount-table.js";
import { crawlFileSystem } from "../filesystems/formats.js";
import type { Source } from "../images/image.js";
import { openImage } from "../images/open.js";
import { IndexSink } from "../inference/index-sink.js";
import type { InodeIndexParts } from "../inference/inode-index.js";
import { BlockCache } from "../versions/block-cache.js";
import { findVolumes } from "../volumes/volumes.js";

/** What the thread is started with. */
export interface CrawlData {
  readonly images: readonly string[];
  /** `sda1` */
  readonly volume: string;
  /** Bytes that the map may take. */
  readonly mostBytes: number;
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
    const table = findVolumes(openImage(path), diskName(index), () => {});
    const found = table.volumes.find(({ name }) => name === volume);
    if (found !== undefined) return found.source;
  }
  throw new Error("there is no such volume any more");
}

function crawl(data: CrawlData, post: (message: CrawlMessage, transfers?: ArrayBuffer[]) => void): void {
  try {
    const sink = new IndexSink(data.mostBytes);
    const log = (line: string) => post({ kind: "log", line });
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
  crawl(workerData as CrawlData, (message, transfers) => port.postMessage(message, transfers));
