/**
 * An NBD server: disks under names, for QEMU, the kernel and everything that speaks the protocol. A client that breaks
 * its rules is sent away, and a line in the log tells; no client can stop the others or have more than its share of
 * memory.
 */
import { chmodSync, lstatSync, rmSync } from "node:fs";
import { connect, createServer, type ListenOptions, type Server, type Socket } from "node:net";
import type { Log } from "../../images/image.js";
import { Budget } from "./budget.js";
import type { Export } from "./export.js";
import { type Catalogue, negotiate } from "./handshake.js";
import { Input } from "./input.js";
import { type Traffic, Transmission } from "./transmission.js";

/** Where a server listens: a unix socket's path, or a host and a port (0 for any that is free). */
export type Address = { readonly path: string } | { readonly host: string; readonly port: number };

export interface ServerOptions {
  readonly log: Log;
  /** Bytes that all clients together may have under way. */
  readonly memory?: number;
  readonly mostClients?: number;
  /** ms that a client may take to choose an export. */
  readonly handshakeTimeout?: number;
  /** A client has begun to use an export (1), or ceased to (-1). */
  readonly used?: (name: string, change: number) => void;
}

/** A place that cannot be listened at, told in one line. */
export class ListenError extends Error {
  /** The process's exit status if this ends it. */
  readonly exitCode = 1;

  constructor(message: string) {
    super(message);
    this.name = "ListenError";
  }
}

/** ms without a byte after which a client is sent away when others wait for the memory that it has. */
const STALLED = 1000;
/** ms that clients have at the end for what is under way. */
const LAST_REQUESTS = 5000;
/** Bytes that a socket's address has room for (unix(7)). */
const LONGEST_PATH = 107;

/** A connection. */
interface Client {
  readonly socket: Socket;
  readonly input: Input;
  transmission: Transmission | undefined;
  chosen: Export | undefined;
  /** For finding out whether it takes its answers. */
  sent: number;
  sentAt: number;
}

export class NbdServer implements Catalogue {
  readonly #log: Log;
  readonly #mostClients: number;
  readonly #handshakeTimeout: number;
  readonly #used: (name: string, change: number) => void;
  readonly #exports = new Map<string, Export>();
  readonly #clients = new Map<Client, Promise<void>>();
  readonly #servers: Server[] = [];
  readonly #budget: Budget;
  readonly #traffic: Traffic = { requests: 0, bytesRead: 0, bytesWritten: 0, errors: 0 };

  constructor({
    log,
    memory = 256 << 20,
    mostClients = 128,
    handshakeTimeout = 10_000,
    used = () => {},
  }: ServerOptions) {
    this.#log = log;
    this.#used = used;
    this.#mostClients = mostClients;
    this.#handshakeTimeout = handshakeTimeout;
    this.#budget = new Budget(memory, () => this.#makeRoom());
  }

  get traffic(): Readonly<Traffic> {
    return this.#traffic;
  }

  get clients(): number {
    return this.#clients.size;
  }

  /** Offers a disk. Throws RangeError if the name is taken. */
  add(offered: Export): void {
    if (this.#exports.has(offered.name)) throw new RangeError(`there is an export ${offered.name} already`);
    this.#exports.set(offered.name, offered);
  }

  /** Offers a disk no longer: its clients' connections end at once. Its store is the caller's to close. */
  async remove(name: string): Promise<void> {
    const gone = this.#exports.get(name);
    this.#exports.delete(name);
    const ends: Array<Promise<void>> = [];
    for (const [client, end] of this.#clients) {
      if (gone === undefined || client.chosen !== gone) continue;
      client.socket.destroy();
      ends.push(end);
    }
    await Promise.all(ends);
  }

  find(name: string): Export | undefined {
    if (name === "" && this.#exports.size === 1) return this.#exports.values().next().value;
    return this.#exports.get(name);
  }

  all(): Iterable<Export> {
    return this.#exports.values();
  }

  /** Listens at one more place, for exports whose names begin with `prefix`. Returns where. Throws ListenError. */
  async listen(address: Address, prefix = ""): Promise<Address> {
    const options = { noDelay: true, keepAlive: true, allowHalfOpen: true };
    const server = createServer(options, (socket) => this.#accept(socket, this.#catalogue(prefix)));
    if ("path" in address) await clearSocket(address.path);
    await listen(server, address);
    this.#servers.push(server);
    server.on("error", (error) => this.#log(`nbd: ${error.message}`));
    if ("path" in address) {
      chmodSync(address.path, 0o600);
      return address;
    }
    const bound = server.address();
    return {
      host: address.host,
      port: typeof bound === "object" && bound !== null ? bound.port : address.port,
    };
  }

  /** Listens no longer, lets what is under way end, and ends all connections. */
  async stop(): Promise<void> {
    for (const server of this.#servers) server.close();
    const ends = [...this.#clients.values()];
    for (const { input } of this.#clients.keys()) input.end();
    const late = setTimeout(() => {
      for (const { socket } of this.#clients.keys()) socket.destroy();
    }, LAST_REQUESTS);
    await Promise.all(ends);
    clearTimeout(late);
  }

  #catalogue(prefix: string): Catalogue {
    if (prefix === "") return this;
    const find = (name: string): Export | undefined =>
      name.startsWith(prefix) ? this.find(name) : undefined;
    const all = (): Iterable<Export> => [...this.all()].filter(({ name }) => name.startsWith(prefix));
    return { find, all };
  }

  #accept(socket: Socket, catalogue: Catalogue): void {
    // A reset is an end as any other: "close" follows.
    socket.on("error", () => {});
    if (this.#clients.size >= this.#mostClients) {
      this.#log(`nbd: a client was sent away: there are ${this.#mostClients} already`);
      socket.destroy();
      return;
    }
    const client: Client = {
      socket,
      input: new Input(socket),
      transmission: undefined,
      chosen: undefined,
      sent: 0,
      sentAt: performance.now(),
    };
    const end = this.#serve(client, catalogue)
      .catch((error: Error) => this.#log(`nbd: a client was sent away: ${error.message}`))
      .finally(() => {
        socket.destroySoon();
        // One that takes no answers does not keep its connection by that.
        socket.setTimeout(LAST_REQUESTS, () => socket.destroy());
        this.#clients.delete(client);
      });
    this.#clients.set(client, end);
  }

  async #serve(client: Client, catalogue: Catalogue): Promise<void> {
    const { socket, input } = client;
    const late = setTimeout(() => socket.destroy(), this.#handshakeTimeout);
    const session = await negotiate(socket, input, catalogue).finally(() => clearTimeout(late));
    if (session === undefined || this.#exports.get(session.chosen.name) !== session.chosen) return;
    client.chosen = session.chosen;
    client.transmission = new Transmission(socket, input, session, this.#budget, this.#traffic);
    this.#used(session.chosen.name, 1);
    const complaint = await client.transmission.run().finally(() => this.#used(session.chosen.name, -1));
    if (complaint !== undefined) this.#log(`nbd: ${session.chosen.name}: a client ${complaint}`);
  }

  /** Memory is short: of the clients that neither went on with a request nor took an answer for long, the one with most goes. */
  #makeRoom(): void {
    const now = performance.now();
    let worst: Client | undefined;
    for (const [client] of this.#clients) {
      const { socket, input, transmission } = client;
      if (socket.bytesWritten - socket.writableLength !== client.sent || socket.writableLength === 0) {
        client.sent = socket.bytesWritten - socket.writableLength;
        client.sentAt = now;
      }
      if (transmission === undefined || (input.stalled < STALLED && now - client.sentAt < STALLED)) continue;
      if (transmission.bytes > (worst?.transmission?.bytes ?? 0)) worst = client;
    }
    if (worst === undefined) return;
    this.#log(`nbd: ${worst.chosen?.name}: a client was sent away: others wait for the memory that it holds`);
    worst.socket.destroy();
  }
}

function listen(server: Server, address: Address): Promise<void> {
  const options: ListenOptions = { ...address };
  const name = "path" in address ? address.path : `${address.host}:${address.port}`;
  if ("path" in address && Buffer.byteLength(address.path) > LONGEST_PATH)
    throw new ListenError(`${name}: a socket's path has at most ${LONGEST_PATH} bytes; name a shorter one`);
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      reject(
        new ListenError(
          error.code === "EADDRINUSE"
            ? `${name}: somebody listens there already; name another place`
            : `${name}: cannot be listened at (${error.code}); name another place`,
        ),
      );
    });
    server.listen(options, () => {
      server.removeAllListeners("error");
      resolve();
    });
  });
}

/** Takes away a socket that nobody listens at any more. Throws ListenError if somebody does, or it is no socket. */
export async function clearSocket(path: string): Promise<void> {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there === undefined) return;
  if (!there.isSocket())
    throw new ListenError(`${path}: there is a file that is no socket; name another path`);
  const isAlive = await new Promise<boolean>((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
  if (isAlive) throw new ListenError(`${path}: somebody listens there already; name another path`);
  rmSync(path, { force: true });
}
