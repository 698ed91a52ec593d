/** The end of the feed where guests' writes are worked on. Connects again whenever the other end has gone. */
import { createConnection, type Socket } from "node:net";
import type { Log } from "../../images/image.js";
import type { WriteRecord } from "../../queue/write-record.js";
import {
  doneFrame,
  type FeedDisk,
  Frame,
  FrameReader,
  metadataFrame,
  parseBatch,
  parseDisks,
} from "./frames.js";

/** ms until the next attempt to connect. */
const RETRY = 200;
/** Numbers in what is told of a disk's metadata, at most: beyond, all its writes count as data. */
const MOST_RANGES = 1 << 20;

export interface FeedClientOptions {
  /** Of the socket. */
  readonly path: string;
  readonly log: Log;
  /** What is told of from now on; nothing, when the other end has gone. Must not throw. */
  readonly disks: (disks: readonly FeedDisk[]) => void;
  /** Works on writes. Must not throw. */
  readonly written: (disk: FeedDisk, records: readonly WriteRecord[]) => void;
}

export class FeedClient {
  readonly #options: FeedClientOptions;
  #socket: Socket | undefined;
  #timer: NodeJS.Timeout | undefined;
  #disks = new Map<number, FeedDisk>();
  #isStopped = false;
  /** What was wrong last; said once. */
  #problem = "";

  /** Begins to connect. */
  constructor(options: FeedClientOptions) {
    this.#options = options;
    this.#connect();
  }

  /** Where the metadata of a guest's disk is: pairs of a first byte and the byte after the last, in order. */
  tellMetadata(guest: string, disk: number, ranges: Float64Array): void {
    if (ranges.length > MOST_RANGES) return;
    for (const one of this.#disks.values())
      if (one.guest === guest && one.disk === disk) this.#socket?.write(metadataFrame(one.number, ranges));
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#socket?.destroy();
  }

  #connect(): void {
    const socket = createConnection(this.#options.path);
    this.#socket = socket;
    const reader = new FrameReader((type, contents) => this.#take(socket, type, contents));
    socket.on("data", (chunk) => {
      try {
        reader.push(chunk);
      } catch (error) {
        const { message } = error as Error;
        if (message !== this.#problem) this.#options.log(`writes of guests: ${message}`);
        this.#problem = message;
        socket.destroy();
      }
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      if (this.#isStopped) return;
      if (this.#disks.size > 0) this.#setDisks([]);
      this.#timer = setTimeout(() => this.#connect(), RETRY);
    });
  }

  #take(socket: Socket, type: number, contents: Buffer): void {
    if (type === Frame.DISKS) this.#setDisks(parseDisks(contents));
    if (type !== Frame.BATCH) return;
    const { batch, disk: number, records } = parseBatch(contents);
    const disk = this.#disks.get(number);
    if (disk !== undefined) this.#options.written(disk, records);
    socket.write(doneFrame(batch));
  }

  #setDisks(disks: readonly FeedDisk[]): void {
    this.#disks = new Map(disks.map((disk) => [disk.number, disk]));
    this.#options.disks(disks);
  }
}
