/**
 * The `pipe` capture: a patched QEMU writes records into a FIFO, or to a unix socket. Whoever writes comes and goes. It is
 * not made to wait: what it writes is read at once, unless the sink asks to wait.
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
/** ms that a FIFO is left alone after damage: QEMU finds that nobody reads, and begins anew. */
const PAUSE = 200;
/** ms until a FIFO that was taken away is made again. */
const RETRY = 1000;
/** ms between two lines on streams that are damaged. */
const QUIET = 60_000;

export class PipeCapture {
  readonly #options: PipeOptions;
  readonly #path: string;
  readonly #sockets = new Set<Socket>();
  readonly #stopping = new AbortController();
  #server: Server | undefined;
  /** Streams that have begun. */
  #begun = 0;
  #complained = Number.NEGATIVE_INFINITY;

  private constructor(options: PipeOptions) {
    this.#options = options;
    this.#path = "fifo" in options.place ? options.place.fifo : options.place.socket;
  }

  /** Throws PipeError, ListenError, and system errors. */
  static async start(options: PipeOptions): Promise<PipeCapture> {
    const capture = new PipeCapture(options);
    if ("fifo" in options.place) {
      ensureFifo(capture.#path, options.owner);
      void capture.#readFifo(openFifo(capture.#path));
    } else {
      await capture.#listen();
    }
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
    const server = createServer((socket) => void this.#read(socket));
    server.maxConnections = MOST_WRITERS;
    server.listen(this.#path);
    await once(server, "listening");
    const { uid, gid } = this.#options.owner;
    chmodSync(this.#path, 0o600);
    if (process.geteuid?.() === 0) chownSync(this.#path, uid, gid);
    server.on("error", ({ message }) => this.#log(message));
    this.#server = server;
  }

  /** Again and again, as long as there is a FIFO at its place. */
  async #readFifo(first: Socket): Promise<void> {
    const { signal } = this.#stopping;
    for (let socket: Socket | undefined = first; !signal.aborted; ) {
      if (socket !== undefined && !(await this.#read(socket))) await pause(PAUSE, signal);
      socket = undefined;
      if (signal.aborted) return;
      try {
        ensureFifo(this.#path, this.#options.owner);
        socket = openFifo(this.#path);
      } catch (error) {
        this.#complain((error as Error).message);
        await pause(RETRY, signal);
      }
    }
  }

  /** Until the writer goes, or this stops. False if what came cannot be read. */
  async #read(socket: Socket): Promise<boolean> {
    const { form, sink, begins, ends } = this.#options;
    this.#sockets.add(socket);
    const stream = new ByteStream(socket);
    const options = { ...this.#options, log: (line: string) => this.#complain(line) };
    let hasBegun = false;
    try {
      for await (const record of form === "own"
        ? ownRecords(stream, options)
        : gammaRayRecords(stream, options)) {
        if (!hasBegun && this.#begun++ === 0) begins();
        hasBegun = true;
        const hold = sink.take(record);
        if (hold !== undefined) await hold;
      }
      return true;
    } catch (error) {
      if (this.#stopping.signal.aborted) return true;
      this.#complain(`${(error as Error).message}; it is opened anew`);
      return false;
    } finally {
      socket.destroy();
      this.#sockets.delete(socket);
      if (hasBegun && --this.#begun === 0) ends();
    }
  }

  /** Tells what may go wrong again and again, and not each time. */
  #complain(line: string): void {
    const now = performance.now();
    if (now - this.#complained < QUIET) return;
    this.#complained = now;
    this.#log(line);
  }

  #log(line: string): void {
    this.#options.log(`${this.#path}: ${line}`);
  }
}

const pause = (time: number, signal: AbortSignal): Promise<void> =>
  sleep(time, undefined, { signal }).catch(() => {});
