/**
 * Crawls of volumes in threads of their own, one after the other, as each reads as fast as its disk goes; but those in
 * different lanes do not wait for each other.
 */
import { totalmem } from "node:os";
import { setImmediate as breath, setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import type { NameSink } from "../filesystems/crawler.js";
import type { Log } from "../images/image.js";
import { IndexSink } from "../inference/index-sink.js";
import { InodeIndex } from "../inference/inode-index.js";
import type { MadeCrawl } from "./crawl-file.js";
import type { CrawlData, CrawledBlocks, CrawlMessage, CrawlWhat } from "./crawl-thread.js";
import type { GuestSpec } from "./guest-name.js";

/** MiB of objects that a crawl may have beside its map, which lies in typed arrays. */
const HEAP_MEBIBYTES = 256;
/** The part of the host's memory that one map may take. */
const SHARE = 1 / 4;
/** ms of a crawl in the thread that asks for it, until it lets others have their turn. */
const SLICE = 5;

/** What a crawl has found. */
type Found = Extract<CrawlMessage, { readonly what: CrawlWhat }>;

interface Waiting {
  readonly what: CrawlWhat;
  readonly spec: GuestSpec;
  readonly volume: string;
  /** A crawl that has been made of it before. */
  readonly made: MadeCrawl | undefined;
  resolve(found: Found): void;
  reject(error: Error): void;
}

/** ms that a crawl that is ended may take to end: one that is held up by its storage does not. */
const PATIENCE = 500;

export class Crawling {
  readonly #log: Log;
  readonly #lanes = new Map<string, Lane>();
  #isStopped = false;

  constructor(log: Log) {
    this.#log = log;
  }

  /**
   * Crawls a volume (`sda1`) of a guest when its turn in the lane comes, or takes the crawl that has been `made` of it if
   * that can be read. Rejects when it cannot be crawled, or has been stopped.
   */
  async crawl(spec: GuestSpec, volume: string, lane = "", made?: MadeCrawl): Promise<InodeIndex> {
    const found = await this.#crawl("names", spec, volume, lane, made);
    if (found.what !== "names") throw new Error("a crawl found something else");
    return InodeIndex.from(found.parts);
  }

  /** Crawls what a follower keeps, in this thread, a little at a time; see Follower.crawl. Undefined: it has nothing yet. */
  crawlKept(
    begin: (sink: NameSink) => Generator<void> | undefined,
    mostBytes = totalmem() * SHARE,
  ): Promise<InodeIndex> | undefined {
    const sink = new IndexSink(mostBytes);
    const crawl = begin(sink);
    return crawl && this.#goThrough(crawl, sink);
  }

  async #goThrough(crawl: Generator<void>, sink: IndexSink): Promise<InodeIndex> {
    for (;;) {
      const until = performance.now() + SLICE;
      while (performance.now() < until) if (crawl.next().done === true) return sink.index;
      await breath();
      if (this.#isStopped) throw stopped();
    }
  }

  /** The same for what each of its blocks holds. */
  async crawlBlocks(spec: GuestSpec, volume: string, lane = ""): Promise<CrawledBlocks> {
    const found = await this.#crawl("blocks", spec, volume, lane);
    if (found.what !== "blocks") throw new Error("a crawl found something else");
    return found;
  }

  #crawl(what: CrawlWhat, spec: GuestSpec, volume: string, lane: string, made?: MadeCrawl): Promise<Found> {
    if (this.#isStopped) return Promise.reject(stopped());
    let found = this.#lanes.get(lane);
    if (found === undefined) {
      found = new Lane(this.#log);
      this.#lanes.set(lane, found);
    }
    return found.crawl(what, spec, volume, made);
  }

  /** Ends the crawls that go on, and all that wait. Done when no thread is left but those that are held up. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all([...this.#lanes.values()].map((lane) => lane.stop()));
  }
}

/**
 * Crawls that follow each other. What waits is done by the same thread, as to start one costs more than to crawl a small
 * disk; it ends when nothing waits.
 */
class Lane {
  readonly #log: Log;
  readonly #queue: Waiting[] = [];
  #worker: Worker | undefined;
  #current: Waiting | undefined;
  /** The thread has been told to end. */
  #isEnding = false;

  constructor(log: Log) {
    this.#log = log;
  }

  crawl(what: CrawlWhat, spec: GuestSpec, volume: string, made: MadeCrawl | undefined): Promise<Found> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ what, spec, volume, made, resolve, reject });
      this.#next();
    });
  }

  async stop(): Promise<void> {
    for (const waiting of this.#queue.splice(0)) waiting.reject(stopped());
    this.#current?.reject(stopped());
    await Promise.race([this.#worker?.terminate(), sleep(PATIENCE, undefined, { ref: false })]);
  }

  #next(): void {
    // Then its end brings the next one.
    if (this.#current !== undefined || this.#isEnding) return;
    const waiting = this.#queue.shift();
    if (waiting === undefined) {
      this.#isEnding = this.#worker !== undefined;
      this.#worker?.postMessage(undefined);
      return;
    }
    this.#current = waiting;
    const { what, spec, volume, made } = waiting;
    const data: CrawlData = { what, images: spec.images, volume, mostBytes: totalmem() * SHARE, made };
    this.#worker ??= this.#start();
    this.#worker.postMessage(data);
  }

  #start(): Worker {
    const worker = new Worker(new URL("./crawl-thread.js", import.meta.url), {
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MEBIBYTES },
    });
    worker.on("message", (message: CrawlMessage) => {
      const { spec, volume } = this.#current ?? {};
      if (spec === undefined || volume === undefined) return;
      if (message.kind === "log") {
        this.#log(`${spec.name}/${volume}: ${message.line}`, { guest: spec.name, volume });
        return;
      }
      if (message.kind === "crawled") this.#current?.resolve(message);
      else this.#current?.reject(new Error(message.message));
      this.#current = undefined;
      this.#next();
    });
    worker.on("error", (error) => this.#current?.reject(error));
    worker.on("exit", (code) => {
      this.#current?.reject(new Error(`the crawl ended with exit code ${code}`));
      this.#worker = undefined;
      this.#current = undefined;
      this.#isEnding = false;
      this.#next();
    });
    return worker;
  }
}

function stopped(): Error {
  return new Error("crawls have been stopped");
}
