/** The end of the feed where the tap is: tells guests' writes to the server, or to none if there is none just now. */
import { once } from "node:events";
import { chmodSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import type { WriteRecord } from "../../queue/write-record.js";
import {
  batchFrame,
  disksFrame,
  type FeedDisk,
  Frame,
  FrameReader,
  MOST_RECORDS,
  parseMetadata,
} from "./frames.js";

/** A server that listens; during an upgrade there are two. */
interface Listener {
  readonly socket: Socket;
  /** Batches that it has not worked on yet. */
  readonly pending: Map<number, () => void>;
}

export class FeedServer {
  readonly #path: string;
  readonly #metadata: (disk: number, ranges: Float64Array) => void;
  readonly #server: Server;
  readonly #listeners = new Set<Listener>();
  #disks: readonly FeedDisk[] = [];
  #lastBatch = 0;

  /** `path`: of the socket. `metadata` is told where a disk's metadata is; see Tapping.setMetadata. */
  constructor(path: string, metadata: (disk: number, ranges: Float64Array) => void) {
    this.#path = path;
    this.#metadata = metadata;
    this.#server = createServer((socket) => this.#connect(socket));
  }

  /** Throws a system error. */
  async start(): Promise<void> {
    rmSync(this.#path, { force: true });
    this.#server.listen(this.#path);
    await once(this.#server, "listening");
    chmodSync(this.#path, 0o600);
  }

  /** Whether anybody listens. */
  get isHeard(): boolean {
    return this.#listeners.size > 0;
  }

  setDisks(disks: readonly FeedDisk[]): void {
    this.#disks = disks;
    for (const { socket } of this.#listeners) socket.write(disksFrame(disks));
  }

  /**
   * Tells writes of a disk, in order. Resolves when all who listen have worked on them. Who begins to listen later is told
   * that everything may have been written to.
   */
  async send(disk: number, records: readonly WriteRecord[]): Promise<void> {
    for (let at = 0; at < records.length && this.isHeard; at += MOST_RECORDS) {
      const batch = this.#nextBatch();
      const frame = batchFrame(batch, disk, records.slice(at, at + MOST_RECORDS));
      await Promise.all(
        [...this.#listeners].map(
          ({ socket, pending }) =>
            new Promise<void>((resolve) => {
              pending.set(batch, resolve);
              socket.write(frame);
            }),
        ),
      );
    }
  }

  async stop(): Promise<void> {
    const closed = this.#server.listening ? once(this.#server, "close") : undefined;
    this.#server.close();
    for (const { socket } of this.#listeners) socket.destroy();
    await closed;
  }

  #connect(socket: Socket): void {
    const listener: Listener = { socket, pending: new Map() };
    const reader = new FrameReader((type, contents) => {
      if (type === Frame.METADATA) {
        const { disk, ranges } = parseMetadata(contents);
        this.#metadata(disk, ranges);
      }
      if (type !== Frame.DONE) return;
      const batch = contents.readUInt32LE(0);
      listener.pending.get(batch)?.();
      listener.pending.delete(batch);
    });
    socket.on("data", (chunk) => {
      try {
        reader.push(chunk);
      } catch {
        socket.destroy();
      }
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#listeners.delete(listener);
      for (const resolve of listener.pending.values()) resolve();
      listener.pending.clear();
    });
    socket.write(disksFrame(this.#disks));
    for (const { number, size } of this.#disks) {
      const gap: WriteRecord = {
        kind: "gap",
        offset: 0,
        length: size,
        data: undefined,
        fua: false,
        sequence: 0,
        time: Date.now(),
      };
      socket.write(batchFrame(this.#nextBatch(), number, [gap]));
    }
    this.#listeners.add(listener);
  }

  #nextBatch(): number {
    this.#lastBatch = (this.#lastBatch + 1) >>> 0;
    return this.#lastBatch;
  }
}
