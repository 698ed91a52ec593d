/**
 * The `pipe` capture: a patched QEMU writes records into a FIFO, or to a unix socket. Whoever writes comes and goes, and
 * is never waited for. A writer that could wait for us does not wait long: what it writes is read at once, unless the
 * sink asks to wait.
 */
import { once } from "node:events";
import { chmodSync, chownSync, type Stats } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { WriteSink } from "../../queue/write-record.js";
import { clearSocket } from "../nbd/server.js";
import { ByteStream } from "../recording/byte-stream.js";
import { ensureFifo, openFifo } from "./fifo.js";
import { gammaRayRecords } from "./gamma-ray-records.js";
import { ownRecords } from "./own-records.js";
import type { PipeRecordsOptions } from "./records.js";

/** `own`: as patches/ and docs/recordings.md have it. */
export type PipeForm = "own" | "gamma-ray";

/** Where a FIFO is, or a socket that is listened on. */
export type PipePlace = { readonly fifo: string } | { readonly socket: string };

export interface PipeOptions extends PipeRecordsOptions {
  readonly place: PipePlace;
  readonly form: PipeForm;
  /** Whose the FIFO or socket is to be if it is made. */
  readonly owner: Pick<Stats, "uid" | "gid">;
  readonly sink: WriteSink;
  /** Somebody tells all writes from now on. Must not throw. */
  readonly begins: () => void;
  /** Nobody does any more. Must not throw. */
  readonly ends: () => void;
}

/** Connections to a socket: one QEMU, and the one that follows it. */
const MOST_WRITERS = 4;
/** ms until a FIFO that was taken away is made again. */
const RETRY = 1000;

export class PipeCapture {
  readonly #options: PipeOptions;
  readonly #path: string;
  readonly #sockets = new Set<Socket>();
  readonly #stopping = new AbortController();
  #server: Server | undefined;
  /** Streams that have begun. */
  #begun = 0;

  private constructor(options: PipeOptions) {
    this.#options = options;
    this.#path = "fifo" in options.place ? options.place.fifo : options.place.socket;
  }

  /** Throws PipeError, ListenError, and system errors. */
  static async start(options: PipeOptions): Promise<PipeCapture> {
    const capture = new PipeCapture(options);
    if ("fifo" in options.place) capture.#readFifo();
    else await capture.#listen();
    return capture;
  }

  /** Reads no more. */
  stop(): void {
    this.#stopping.abort();
    this.#server?.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  async #listen(): Promise<void> {
    await clearSocket(this.#path);
    const server = createServer((socket) => void this.#serve(socket));
    server.maxConnections = MOST_WRITERS;
    server.listen(this.#path);
    await once(server, "listening");
    const { uid, gid } = this.#options.owner;
    chmodSync(this.#path, 0o600);
    if (process.geteuid?.() === 0) chownSync(this.#path, uid, gid);
    server.on("error", ({ message }) => this.#log(message));
    this.#server = server;
  }

  #readFifo(): void {
    ensureFifo(this.#path, this.#options.owner);
    void this.#readOn(openFifo(this.#path));
  }

  async #readOn(first: Socket): Promise<void> {
    const { signal } = this.#stopping;
    let socket: Socket | undefined = first;
    let said = "";
    while (!signal.aborted) {
      if (socket !== undefined) await this.#serve(socket);
      socket = undefined;
      try {
        if (signal.aborted) return;
        ensureFifo(this.#path, this.#options.owner);
        socket = openFifo(this.#path);
        said = "";
      } catch (error) {
        const { message } = error as Error;
        if (message !== said) this.#log(message);
        said = message;
        await sleep(RETRY, undefined, { signal }).catch(() => {});
      }
    }
  }

  /** Until its writer, or this, ends it. */
  async #serve(socket: Socket): Promise<void> {
    const { form, sink, begins, ends } = this.#options;
    this.#sockets.add(socket);
    const stream = new ByteStream(socket);
    const options = { ...this.#options, log: (line: string) => this.#log(line) };
    const records = form === "own" ? ownRecords(stream, options) : gammaRayRecords(stream, options);
    let hasBegun = false;
    try {
      for await (const record of records) {
        if (!hasBegun && this.#begun++ === 0) begins();
        hasBegun = true;
        const hold = sink.take(record);
        if (hold !== undefined) await hold;
      }
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#log((error as Error).message);
    } finally {
      socket.destroy();
      this.#sockets.delete(socket);
      if (hasBegun && --this.#begun === 0) ends();
    }
  }

  #log(line: string): void {
    this.#options.log(`${this.#path}: ${line}`);
  }
}
