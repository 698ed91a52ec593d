/**
 * A client of QEMU's monitor protocol (QMP, docs/interop/qmp-spec.txt of QEMU) over a unix socket. What comes from there
 * is bounded in size and in time, and nothing of it is believed: a QEMU that its guest has taken over answers here, too.
 */
import { connect, type Socket } from "node:net";
import { field, list, text } from "./json.js";

/** Bytes of one message: the description of many disks with long chains of backing files is some 100 KiB. */
const LARGEST_MESSAGE = 4 << 20;
/** Characters of QEMU's own words that are passed on. */
const LONGEST_TEXT = 400;
/** The first QEMU with block-export-add: major and minor. */
const OLDEST = [5, 2] as const;

/** What a monitor refused, or did not do in time; one line that begins with its socket. */
export class QmpError extends Error {
  /** The process's exit status if this ends it. */
  readonly exitCode = 1;

  constructor(socket: string, problem: string) {
    super(`${socket}: ${problem}`);
    this.name = "QmpError";
  }
}

/** Nobody listens at a monitor's socket: its QEMU has ended, or was never there. */
export class NoMonitorError extends QmpError {}

/** Something that happened in QEMU. */
export interface QmpEvent {
  readonly event: string;
  /** Whatever QEMU tells of it. */
  readonly data: unknown;
}

export interface QmpOptions {
  /** ms that the greeting may take. */
  readonly greetingTimeout?: number;
  /** ms that a command may take. */
  readonly commandTimeout?: number;
}

interface Pending {
  readonly command: string;
  readonly timer: NodeJS.Timeout;
  resolve(value: unknown): void;
  reject(error: QmpError): void;
}

export class QmpClient {
  /** Called for each event. Must not throw. */
  onEvent: (event: QmpEvent) => void = () => {};
  /** Settles when the connection has ended, with the reason. */
  readonly closed: Promise<string>;
  /** Path of the monitor's socket. */
  readonly path: string;
  readonly #socket: Socket;
  readonly #commandTimeout: number;
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;
  /** The beginning of a message. */
  #parts: Buffer[] = [];
  #partBytes = 0;
  #greeting: { resolve(message: unknown): void; reject(error: QmpError): void } | undefined;
  #isClosed = false;
  #onClose: (reason: string) => void = () => {};

  private constructor(path: string, socket: Socket, commandTimeout: number) {
    this.path = path;
    this.#socket = socket;
    this.#commandTimeout = commandTimeout;
    this.closed = new Promise((resolve) => {
      this.#onClose = resolve;
    });
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.on("error", (error: NodeJS.ErrnoException) => this.#end(error.code ?? error.message));
    socket.on("close", () => this.#end("QEMU closed its monitor"));
  }

  /** Connects and agrees on nothing beyond the protocol's base. Throws QmpError, NoMonitorError. */
  static async connect(
    path: string,
    { greetingTimeout = 3000, commandTimeout = 10_000 }: QmpOptions = {},
  ): Promise<QmpClient> {
    const client = new QmpClient(path, await connected(path), commandTimeout);
    try {
      await client.#greet(greetingTimeout);
      await client.execute("qmp_capabilities");
    } catch (error) {
      client.close();
      throw error;
    }
    return client;
  }

  /** Has QEMU do something; returns what it answers. Throws QmpError. */
  execute(command: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      if (this.#isClosed) {
        reject(new QmpError(this.path, `${command}: the connection has ended`));
        return;
      }
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(
          new QmpError(this.path, `QEMU does not answer ${command} within ${this.#commandTimeout / 1000} s`),
        );
      }, this.#commandTimeout);
      this.#pending.set(id, { command, timer, resolve, reject });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  }

  close(): void {
    this.#end("closed");
  }

  async #greet(timeout: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const message = await new Promise((resolve, reject) => {
      this.#greeting = { resolve, reject };
      timer = setTimeout(() => {
        reject(
          new QmpError(
            this.path,
            `no greeting within ${timeout / 1000} s: another program (libvirt?) is connected to this monitor, which serves one at a time; give the guest a second one (-qmp unix:PATH,server=on,wait=off)`,
          ),
        );
      }, timeout);
    }).finally(() => clearTimeout(timer));
    const version = field(field(field(message, "QMP"), "version"), "qemu");
    const [major, minor] = [field(version, "major"), field(version, "minor")];
    if (typeof major !== "number" || typeof minor !== "number")
      throw new QmpError(this.path, "this is no monitor of QEMU's (QMP)");
    if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]))
      throw new QmpError(
        this.path,
        `QEMU ${major}.${minor} is too old: ${OLDEST.join(".")} or later is needed`,
      );
  }

  #take(chunk: Buffer): void {
    for (let from = 0; from < chunk.length && !this.#isClosed; ) {
      const end = chunk.indexOf(0x0a, from);
      const part = chunk.subarray(from, end < 0 ? chunk.length : end);
      this.#parts.push(part);
      this.#partBytes += part.length;
      if (this.#partBytes > LARGEST_MESSAGE) {
        this.#end("a message is too long");
        return;
      }
      if (end < 0) return;
      from = end + 1;
      const line = Buffer.concat(this.#parts).toString("utf8").trim();
      this.#parts = [];
      this.#partBytes = 0;
      if (line !== "") this.#message(line);
    }
  }

  #message(line: string): void {
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch {
      this.#end("this is no monitor of QEMU's (QMP)");
      return;
    }
    if (this.#greeting !== undefined) {
      this.#greeting.resolve(message);
      this.#greeting = undefined;
      return;
    }
    const event = text(message, "event");
    if (event !== undefined) {
      this.onEvent({ event, data: field(message, "data") });
      return;
    }
    const id = field(message, "id");
    const pending = typeof id === "number" ? this.#pending.get(id) : undefined;
    if (pending === undefined) return;
    this.#pending.delete(id as number);
    clearTimeout(pending.timer);
    const error = field(message, "error");
    if (error === undefined) pending.resolve(field(message, "return"));
    else
      pending.reject(
        new QmpError(this.path, `${pending.command}: ${told(text(error, "desc") ?? "refused")}`),
      );
  }

  #end(reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.destroy();
    const error = new QmpError(this.path, reason);
    this.#greeting?.reject(error);
    for (const { timer, reject } of this.#pending.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#pending.clear();
    this.#parts = [];
    this.#onClose(reason);
  }
}

/** QEMU's words as one line of a bounded length. */
export function told(words: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out.
  return words.slice(0, LONGEST_TEXT).replace(/[\x00-\x1f\x7f-\x9f]+/g, " ");
}

/** Names that a query lists under a key. Throws QmpError. */
export async function namesOf(client: QmpClient, query: string, key: string, args = {}): Promise<string[]> {
  return list(await client.execute(query, args)).flatMap((one) => text(one, key) ?? []);
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.removeAllListeners("error");
      resolve(socket);
    });
    socket.once("error", ({ code }: NodeJS.ErrnoException) => {
      if (code === "ENOENT" || code === "ECONNREFUSED")
        reject(
          new NoMonitorError(path, "no QEMU listens there: is the guest running, and is this its monitor?"),
        );
      else reject(new QmpError(path, `cannot be connected to (${code}): it must be a monitor's unix socket`));
    });
  });
}
