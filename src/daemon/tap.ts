/** The tap by itself: guests' disks by NBD, each write passed on to the image, and recorded if that is wanted. */
import { rmSync } from "node:fs";
import { Export, type Store } from "../capture/nbd/export.js";
import { openImageStore } from "../capture/nbd/image-store.js";
import { NbdServer } from "../capture/nbd/server.js";
import { RecordingWriter } from "../capture/recording/writer.js";
import { diskName } from "../cloud/mount-table.js";
import type { Log } from "../images/image.js";
import { ImageError } from "../images/image-error.js";
import { type Pressure, WriteQueue } from "../queue/write-queue.js";
import type { WriteRecord, WriteSink } from "../queue/write-record.js";
import type { GuestSpec } from "./guest-name.js";
import { isLocal, nbdUrl, parseListenAddress } from "./listen-address.js";
import { UserError } from "./user-error.js";

export interface TapOptions {
  readonly guests: readonly GuestSpec[];
  /** `unix:PATH` or `HOST:PORT`, each. */
  readonly listen: readonly string[];
  readonly isReadOnly: boolean;
  /** The file that the one disk's writes are recorded in. */
  readonly record: string | undefined;
  /** ms; bytes; records. */
  readonly flushTimeout: number;
  readonly sizeLimit: number;
  readonly outstandingWrites: number;
  readonly pressure: Pressure;
  readonly log: Log;
}

export interface Tap {
  /** Where each disk is, as an NBD URL, in the order of the guests. */
  readonly urls: readonly string[];
  /** Ends connections and the recording. Returns lines that tell what came of it. */
  stop(): Promise<string[]>;
}

/** Takes what nobody wants. */
const NOBODY: WriteSink = { take: () => undefined };

/** A disk as it is offered. */
interface Disk {
  readonly name: string;
  readonly image: string;
}

/** Throws UserError, ImageError, ListenError. */
export async function tap(options: TapOptions): Promise<Tap> {
  const disks = options.guests.flatMap(({ name, images }): Disk[] =>
    images.map((image, i) => ({ name: images.length === 1 ? name : `${name}/${diskName(i)}`, image })),
  );
  if (options.record !== undefined && disks.length !== 1)
    throw new UserError("--record takes the writes of one disk: start a tap for each", 2);
  const addresses = options.listen.map(parseListenAddress);
  const stores: Store[] = [];
  let recorder: Recorder | undefined;
  const server = new NbdServer({ log: options.log });
  const close = async () => {
    await server.stop();
    const lines = (await recorder?.stop()) ?? [];
    for (const store of stores) await store.close();
    return lines;
  };
  try {
    for (const { name, image } of disks) {
      const store = await openStore(image, options.isReadOnly);
      stores.push(store);
      if (options.record !== undefined) recorder = await Recorder.begin(options.record, store.size, options);
      server.add(new Export(name, image, store, recorder?.sink ?? NOBODY));
    }
    const urls: string[] = [];
    for (const address of addresses) {
      const bound = await server.listen(address);
      if (!isLocal(bound))
        options.log(`${nbdUrl(bound, "")}: whoever reaches this address can read and write the disks`);
      urls.push(...disks.map(({ name }) => nbdUrl(bound, name)));
    }
    return { urls, stop: close };
  } catch (error) {
    await server.stop();
    await recorder?.discard();
    for (const store of stores) await store.close();
    throw error;
  }
}

async function openStore(image: string, isReadOnly: boolean): Promise<Store> {
  try {
    return await openImageStore(image, isReadOnly);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new ImageError(image, `cannot be opened for writing (${code}); --read-only offers it for reading`);
  }
}

/** A queue, and the file at its end. */
class Recorder {
  readonly #path: string;
  readonly #writer: RecordingWriter;
  readonly #log: Log;
  readonly #queue: WriteQueue;
  #failure: Error | undefined;

  private constructor(path: string, writer: RecordingWriter, options: TapOptions) {
    const { flushTimeout, sizeLimit, outstandingWrites, pressure } = options;
    this.#path = path;
    this.#writer = writer;
    this.#log = options.log;
    this.#queue = new WriteQueue({
      flushTimeout,
      sizeLimit,
      outstandingWrites,
      pressure,
      consume: (batch) => this.#write(batch),
    });
  }

  /** Throws UserError. */
  static async begin(path: string, diskSize: number, options: TapOptions): Promise<Recorder> {
    try {
      return new Recorder(path, await RecordingWriter.create(path, diskSize), options);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      throw new UserError(
        code === "EEXIST"
          ? `${path}: there is a file already; name another, or move it away`
          : `${path}: no recording can be written there (${code})`,
      );
    }
  }

  get sink(): WriteSink {
    return this.#queue;
  }

  /** Takes the file away again: nothing was served. */
  async discard(): Promise<void> {
    await this.#writer.close().catch(() => {});
    rmSync(this.#path, { force: true });
  }

  async stop(): Promise<string[]> {
    await this.#queue.flush();
    const { writes, droppedWrites, droppedBytes } = this.#queue.counters;
    try {
      await this.#writer.close();
    } catch (error) {
      this.#failure ??= error as Error;
    }
    if (this.#failure !== undefined) return [`${this.#path}: not all is recorded (${this.#failure.message})`];
    const lost = droppedWrites === 0 ? "" : `; ${droppedWrites} lost under pressure (${droppedBytes} bytes)`;
    return [`${this.#path}: ${writes} requests recorded${lost}`];
  }

  /** The guest goes on whatever becomes of the recording. */
  async #write(batch: readonly WriteRecord[]): Promise<void> {
    if (this.#failure !== undefined) return;
    try {
      await this.#writer.write(batch);
    } catch (error) {
      this.#failure = error as Error;
      this.#log(`${this.#path}: the recording ends here (${this.#failure.message}); the disk is served on`);
    }
  }
}
