/** One connection to an NBD server, from the handshake on; used for one read at a time. */
import { connect, type Socket } from "node:net";
import { type Agreement, type Handshake, NbdServerError, negotiate } from "./handshake.js";
import { NbdError } from "./protocol.js";
import { MOST_PIECES, Replies } from "./replies.js";
import type { NbdAddress } from "./url.js";

/** Bytes that are taken from the socket at a time. */
const INPUT = 256 << 10;
/** Bytes of a request, so that the server works on the next while one is on its way. */
const PIECE = 256 << 10;

/** What becomes of a connection. */
export interface ConnectionEvents {
  /** The handshake is over, and reads can begin. */
  agreed(agreement: Agreement): void;
  /** The read has been answered: with an error's value, or 0 and the bytes in the window. */
  answered(error: number): void;
  /** There is no connection (any more), for the reason given. Told once, and nothing after it. */
  ended(why: string): void;
}

export class Connection {
  readonly #events: ConnectionEvents;
  readonly #window: Buffer;
  readonly #socket: Socket;
  #handshake: Handshake | undefined;
  /** What the handshake wants next, as far as it has come. */
  #wanted = Buffer.alloc(0);
  #here = 0;
  #agreement: Agreement | undefined;
  #replies: Replies | undefined;
  #isReading = false;
  #hasEnded = false;

  /** Connects. What is read is put at the beginning of `window`. `events` are not told before this returns. */
  constructor({ place, name }: NbdAddress, window: Buffer, events: ConnectionEvents) {
    this.#events = events;
    this.#window = window;
    const onread = {
      buffer: Buffer.alloc(INPUT),
      callback: (length: number, bytes: Uint8Array) => {
        this.#feed(bytes as Buffer, length);
        return true;
      },
    };
    const socket = connect({ ...place, noDelay: true, keepAlive: true, onread });
    this.#socket = socket;
    socket.on("error", (error: NodeJS.ErrnoException) => this.#end(describe(error)));
    socket.on("close", () => this.#end(this.#agreement === undefined ? HUNG_UP_EARLY : HUNG_UP));
    socket.on("connect", () => {
      this.#handshake = negotiate(name, (bytes) => void socket.write(bytes));
      this.#advance(this.#handshake.next());
    });
  }

  /** Bytes that one read may ask for. */
  get mostBytes(): number {
    return (this.#agreement as Agreement).largestRead * MOST_PIECES;
  }

  /** Reads into the window. Whole blocks, as the agreement says, at most `mostBytes` and as many as the window has. */
  read(position: number, length: number): void {
    const { largestRead, alignment } = this.#agreement as Agreement;
    const fewest = Math.ceil(length / MOST_PIECES / alignment) * alignment;
    const piece = Math.max(fewest, Math.min(largestRead, PIECE));
    this.#isReading = true;
    this.#socket.write((this.#replies as Replies).begin(position, length, piece));
  }

  /** Ends it; nothing more is told. */
  close(): void {
    this.#hasEnded = true;
    this.#socket.destroy();
  }

  #feed(bytes: Buffer, length: number): void {
    if (this.#hasEnded) return;
    try {
      const taken = this.#replies === undefined ? this.#shakeHands(bytes, length) : 0;
      if (taken === length || this.#hasEnded) return;
      if (!this.#isReading) throw new NbdServerError("the NBD server answers what was not asked");
      const replies = this.#replies as Replies;
      replies.feed(taken === 0 ? bytes : bytes.subarray(taken), length - taken);
      if (!replies.isDone) return;
      this.#isReading = false;
      // It ends, and the next connection may be to one that goes on.
      if (replies.error === NbdError.ESHUTDOWN) this.#end("the NBD server shuts down");
      else this.#events.answered(replies.error);
    } catch (error) {
      if (!(error instanceof NbdServerError)) throw error;
      this.#end(error.message);
    }
  }

  /** Returns how many bytes the handshake took. */
  #shakeHands(bytes: Buffer, length: number): number {
    let at = 0;
    while (at < length && this.#agreement === undefined) {
      const count = Math.min(length - at, this.#wanted.length - this.#here);
      bytes.copy(this.#wanted, this.#here, at, at + count);
      at += count;
      this.#here += count;
      if (this.#here === this.#wanted.length)
        this.#advance((this.#handshake as Handshake).next(this.#wanted));
    }
    return at;
  }

  #advance({ done, value }: IteratorResult<number, Agreement>): void {
    if (!done) {
      this.#wanted = Buffer.alloc(value);
      this.#here = 0;
      return;
    }
    this.#agreement = value;
    this.#replies = new Replies(this.#window, value.isStructured);
    this.#events.agreed(value);
  }

  #end(why: string): void {
    if (this.#hasEnded) return;
    this.close();
    this.#events.ended(why);
  }
}

const HUNG_UP = "the NBD server has hung up";
const HUNG_UP_EARLY = "the NBD server hangs up during the handshake; check the export's name";

function describe({ code, message }: NodeJS.ErrnoException): string {
  switch (code) {
    case "ENOENT":
      return "there is no such socket; check whether the NBD server runs, and the path";
    case "ECONNREFUSED":
      return "nobody listens there (ECONNREFUSED); check whether the NBD server runs";
    case "EACCES":
    case "EPERM":
      return "no right to connect to the NBD server; run as a user who may";
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `the NBD server's host is not known (${code}); check its name`;
    default:
      return `the NBD server cannot be reached (${code ?? message})`;
  }
}
