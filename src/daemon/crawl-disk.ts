/** Crawling a whole disk, and writing what is found to a file: as a whole or not at all. */
import { once } from "node:events";
import { rmSync, statSync } from "node:fs";
import { type FileHandle, open, rename } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { Worker } from "node:worker_threads";
import { constants, createGzip } from "node:zlib";
import type { Log } from "../images/image.js";
import type { CrawlDiskData, CrawlDiskMessage, CrawledVolumeSummary } from "./crawl-disk-messages.js";
import { UserError } from "./user-error.js";

/** MiB of objects that the thread may have: nothing of what it finds is kept. */
const HEAP_MEBIBYTES = 256;

export interface CrawlDiskOptions {
  readonly image: string;
  /** Undefined: nothing is written. Gzipped if its name ends in .gz. */
  readonly output: string | undefined;
  /** The program and its version. */
  readonly tool: string;
  /** Ends it: what has been written is taken away. */
  readonly signal: AbortSignal;
  readonly onProgress: (volume: string, inodes: number, names: number) => void;
  readonly log: Log;
}

/** Returns what was found on each volume. Throws UserError, or the signal's reason. */
export async function crawlDisk(options: CrawlDiskOptions): Promise<readonly CrawledVolumeSummary[]> {
  const { image, output, tool, signal } = options;
  const file = output === undefined ? undefined : await OutputFile.create(resolve(output), image);
  const taken = new SharedArrayBuffer(4);
  const data: CrawlDiskData = { image, tool, isWritten: file !== undefined, taken };
  const worker = new Worker(new URL("./crawl-disk-thread.js", import.meta.url), {
    workerData: data,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MEBIBYTES },
  });
  try {
    const volumes = await follow(worker, options, file, new Int32Array(taken));
    signal.throwIfAborted();
    await file?.finish();
    return volumes;
  } catch (error) {
    await worker.terminate();
    await file?.discard();
    throw error;
  }
}

function follow(
  worker: Worker,
  { signal, onProgress, log }: CrawlDiskOptions,
  file: OutputFile | undefined,
  taken: Int32Array,
): Promise<readonly CrawledVolumeSummary[]> {
  return new Promise((done, fail) => {
    signal.addEventListener("abort", () => fail(signal.reason));
    worker.on("error", fail);
    let isDone = false;
    worker.on("exit", (code) => {
      if (!isDone) fail(new Error(`the crawl ended with exit code ${code}`));
    });
    const write = async (bytes: Uint8Array): Promise<void> => {
      await file?.write(bytes);
      Atomics.add(taken, 0, 1);
      Atomics.notify(taken, 0);
    };
    let written = Promise.resolve();
    worker.on("message", (message: CrawlDiskMessage) => {
      switch (message.kind) {
        case "log":
          log(message.line);
          break;
        case "progress":
          onProgress(message.volume, message.inodes, message.names);
          break;
        case "documents":
          written = written.then(() => write(message.bytes));
          written.catch(fail);
          break;
        case "done":
          isDone = true;
          written.then(() => done(message.volumes), fail);
          break;
        case "failed":
          fail(new UserError(message.message));
      }
    });
  });
}

/** A file under another name until it is whole. */
class OutputFile {
  readonly #path: string;
  readonly #part: string;
  readonly #handle: FileHandle;
  readonly #gzip: ReturnType<typeof createGzip> | undefined;
  #packed: Promise<void> = Promise.resolve();

  private constructor(path: string, part: string, handle: FileHandle) {
    this.#path = path;
    this.#part = part;
    this.#handle = handle;
    if (!path.endsWith(".gz")) return;
    const gzip = createGzip({ level: constants.Z_BEST_SPEED, chunkSize: 1 << 18 });
    this.#gzip = gzip;
    this.#packed = (async () => {
      for await (const piece of gzip) await this.#put(piece as Buffer);
    })();
    this.#packed.catch(() => {});
  }

  /** Throws UserError. */
  static async create(path: string, image: string): Promise<OutputFile> {
    const there = statSync(path, { throwIfNoEntry: false });
    if (there !== undefined && !there.isFile())
      throw new UserError(`${path}: this is no file; name one that the crawl is to be written to`);
    const disk = statSync(image, { throwIfNoEntry: false });
    if (there !== undefined && there.ino === disk?.ino && there.dev === disk.dev)
      throw new UserError(`${path}: this is the image itself; name another file`);
    const part = `${path}.${process.pid}.part`;
    try {
      return new OutputFile(path, part, await open(part, "wx", 0o600));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw new UserError(`${path}: no crawl can be written to ${dirname(path)} (${code})`);
    }
  }

  /** Done when more can be written. Rejects with UserError. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.#gzip === undefined) await this.#put(bytes);
    else if (!this.#gzip.write(bytes)) await Promise.race([once(this.#gzip, "drain"), this.#packed]);
  }

  /** Gives the file its name. Rejects with UserError. */
  async finish(): Promise<void> {
    this.#gzip?.end();
    await this.#packed;
    try {
      await this.#handle.sync();
      await this.#handle.close();
      await rename(this.#part, this.#path);
    } catch (error) {
      throw this.#failure(error);
    }
  }

  async discard(): Promise<void> {
    this.#gzip?.destroy();
    await this.#handle.close().catch(() => {});
    rmSync(this.#part, { force: true });
  }

  async #put(bytes: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < bytes.length; )
        done += (await this.#handle.write(bytes, done, bytes.length - done)).bytesWritten;
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #failure(error: unknown): UserError {
    return new UserError(`${this.#path}: the crawl cannot be written (${(error as Error).message})`);
  }
}
