/** The thread that crawls a whole disk, and ends. */
import { parentPort, workerData } from "node:worker_threads";
import { diskName } from "../cloud/mount-table.js";
import type { CrawlStart } from "../filesystems/crawler.js";
import { crawlFileSystem, crawlStart, type Identity, identify } from "../filesystems/formats.js";
import type { Log } from "../images/image.js";
import { FORMAT_NAME, FORMAT_VERSION } from "../inference/crawl-file/layout.js";
import { type CrawlCounts, CrawlFileWriter } from "../inference/crawl-file/writer.js";
import { BlockCache } from "../versions/block-cache.js";
import { findVolumes, type Volume, type VolumeTable } from "../volumes/volumes.js";
import type { CrawlDiskData, CrawlDiskMessage, CrawledVolumeSummary } from "./crawl-disk-messages.js";
import { openOneImage } from "./one-shot.js";

/** Bytes of the cache: what is read lies together, and is seldom read again. */
const CACHE_BYTES = 8 << 20;
/** Chunks of documents that the owner has not taken yet. */
const MOST_WAITING = 8;

type Post = (message: CrawlDiskMessage, transfers?: ArrayBuffer[]) => void;

/** A volume before it is crawled. */
interface Found {
  readonly volume: Volume;
  readonly identity: Identity | undefined;
  readonly start: CrawlStart | undefined;
  readonly problem: string;
}

class DiskCrawl {
  readonly #data: CrawlDiskData;
  readonly #post: Post;
  readonly #log: Log;
  readonly #writer: CrawlFileWriter;
  readonly #taken: Int32Array;
  #sent = 0;

  constructor(data: CrawlDiskData, post: Post) {
    this.#data = data;
    this.#post = post;
    this.#log = (line) => post({ kind: "log", line });
    this.#taken = new Int32Array(data.taken);
    this.#writer = new CrawlFileWriter((bytes) => this.#send(bytes));
  }

  run(): void {
    const image = openOneImage(this.#data.image, this.#log);
    const table = findVolumes(image, diskName(0), this.#log);
    const found = table.volumes.map((volume) => this.#find(volume));
    this.#head(image.size, table, found);
    const volumes = found.map((one, number) => this.#crawl(one, number));
    this.#writer.few("end", { documents: this.#writer.documents });
    this.#writer.flush();
    image.close();
    this.#post({ kind: "done", volumes });
  }

  #find(volume: Volume): Found {
    let identity: Identity | undefined;
    try {
      identity = identify(volume.source);
      const start = crawlStart(volume.source, new BlockCache(CACHE_BYTES), () => {});
      const problem = start === undefined ? "no file system that is known here" : "";
      return { volume, identity, start, problem };
    } catch (error) {
      return { volume, identity, start: undefined, problem: (error as Error).message };
    }
  }

  #head(size: number, { kind, id, sectorSize }: VolumeTable, found: readonly Found[]): void {
    const { image, tool } = this.#data;
    const writer = this.#writer;
    writer.few("header", {
      format: FORMAT_NAME,
      version: FORMAT_VERSION,
      tool,
      time: new Date(),
      image,
      imageSize: size,
    });
    const partitions = found.flatMap(({ volume }) =>
      volume.number === 0
        ? []
        : [
            {
              number: volume.number,
              name: volume.name,
              offset: volume.offset,
              length: volume.length,
              partitionType: volume.partitionType,
              uuid: volume.partitionUuid,
              label: volume.partitionLabel,
            },
          ],
    );
    writer.few("partitions", { table: kind, id, sectorSize, partitions });
    for (const [number, { volume, identity, start, problem }] of found.entries()) {
      const { name, offset, length } = volume;
      writer.few("volume", {
        volume: number,
        name,
        offset,
        length,
        fileSystem: identity?.type ?? null,
        label: identity?.label ?? "",
        uuid: identity?.uuid ?? "",
        blockSize: start?.blockSize,
        rootInode: start?.rootInode,
        transaction: start && (start.sequence ?? null),
        rest: start && (start.rest ?? null),
        problem: problem || undefined,
      });
    }
  }

  #crawl({ volume, identity, start, problem }: Found, number: number): CrawledVolumeSummary {
    const { name, source } = volume;
    const counts: CrawlCounts = { inodes: 0, names: 0, extents: 0 };
    const began = performance.now();
    let bad = 0;
    let why = problem;
    if (start !== undefined) {
      const tell = () =>
        this.#post({ kind: "progress", volume: name, inodes: counts.inodes, names: counts.names });
      const sink = this.#writer.sink(number, counts, tell);
      const log = (line: string) => this.#log(`${name}: ${line}`);
      try {
        bad = crawlFileSystem(source, new BlockCache(CACHE_BYTES), log, sink)?.bad ?? 0;
      } catch (error) {
        why = (error as Error).message;
      }
    }
    const seconds = (performance.now() - began) / 1000;
    this.#writer.few("volumeEnd", { volume: number, ...counts, bad, seconds, problem: why || undefined });
    const { type = "", label = "", uuid = "" } = identity ?? {};
    return { volume: name, type, label, uuid, ...counts, bad, seconds, problem: why };
  }

  /** Hands documents over, and waits while the owner has many: it may write slower than this thread reads. */
  #send(bytes: Uint8Array<ArrayBuffer>): void {
    if (!this.#data.isWritten) return;
    this.#post({ kind: "documents", bytes }, [bytes.buffer]);
    this.#sent++;
    for (;;) {
      const taken = Atomics.load(this.#taken, 0);
      if (this.#sent - taken < MOST_WAITING) return;
      Atomics.wait(this.#taken, 0, taken);
    }
  }
}

const port = parentPort;
if (port !== null) {
  const post: Post = (message, transfers = []) => port.postMessage(message, transfers);
  try {
    new DiskCrawl(workerData as CrawlDiskData, post).run();
  } catch (error) {
    post({ kind: "failed", message: (error as Error).message });
  }
}
