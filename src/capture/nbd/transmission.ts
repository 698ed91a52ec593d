/** The transmission phase: a client's requests, several at a time, each answered when it is done. */

import type { Socket } from "node:net";
import {
  CHUNK_DONE,
  CHUNK_SIZE,
  Chunk,
  LARGEST_PAYLOAD,
  NbdError,
  REQUEST_MAGIC,
  REQUEST_SIZE,
  Request,
  RequestFlag,
  SIMPLE_REPLY_MAGIC,
  SIMPLE_REPLY_SIZE,
  STRUCTURED_REPLY_MAGIC,
} from "../../images/nbd/protocol.js";
import type { Budget } from "./budget.js";
import { errorValue } from "./error-value.js";
import type { Export } from "./export.js";
import { CONTEXT_ID, type Session } from "./handshake.js";
import type { Input } from "./input.js";

/** Requests and bytes of one client that may be under way. */
const MOST_REQUESTS = 128;
const MOST_BYTES = 2 * LARGEST_PAYLOAD;
/** What a request takes besides its data. */
const OVERHEAD = 512;

/** What the requests of all clients come to. */
export interface Traffic {
  requests: number;
  bytesRead: number;
  bytesWritten: number;
  errors: number;
}

/** A request without its data. */
interface Asked {
  readonly type: number;
  readonly flags: number;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  readonly offset: number;
  readonly length: number;
}

export class Transmission {
  readonly #socket: Socket;
  readonly #input: Input;
  readonly #export: Export;
  readonly #isStructured: boolean;
  readonly #hasAllocation: boolean;
  readonly #budget: Budget;
  readonly #traffic: Traffic;
  #requests = 0;
  #bytes = 0;
  #onDone: (() => void) | undefined;

  constructor(socket: Socket, input: Input, session: Session, budget: Budget, traffic: Traffic) {
    this.#socket = socket;
    this.#input = input;
    this.#export = session.chosen;
    this.#isStructured = session.isStructured;
    this.#hasAllocation = session.hasAllocation;
    this.#budget = budget;
    this.#traffic = traffic;
  }

  /** Bytes of the budget that this client has. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Serves until the client leaves. Returns why it is sent away, if it is; all its requests have ended then. */
  async run(): Promise<string | undefined> {
    const header = Buffer.alloc(REQUEST_SIZE);
    let complaint: string | undefined;
    while (await this.#input.fill(header, 0, REQUEST_SIZE)) {
      if (header.readUInt32BE(0) !== REQUEST_MAGIC) {
        complaint = "sent what is no request";
        break;
      }
      const asked: Asked = {
        flags: header.readUInt16BE(4),
        type: header.readUInt16BE(6),
        cookieHigh: header.readUInt32BE(8),
        cookieLow: header.readUInt32BE(12),
        offset: header.readUInt32BE(16) * 2 ** 32 + header.readUInt32BE(20),
        length: header.readUInt32BE(24),
      };
      if (asked.type === Request.DISC || !(await this.#next(asked))) break;
    }
    while (this.#requests > 0) await this.#done();
    return complaint;
  }

  /** Begins a request. False if the client went away in its middle. */
  async #next(asked: Asked): Promise<boolean> {
    const { type, length } = asked;
    this.#traffic.requests++;
    const refusal = this.#refusal(asked);
    if (refusal !== 0) {
      if (type === Request.WRITE && !(await this.#input.skip(length))) return false;
      // A client that only asks for errors waits for them to be taken, as others do.
      await this.#take(OVERHEAD);
      this.#fail(asked, refusal);
      this.#sent(OVERHEAD);
      return true;
    }
    if (type !== Request.READ && !(await this.#held())) return false;
    const hasData = type === Request.WRITE && this.#export.takesData;
    const bytes = OVERHEAD + (type === Request.READ || hasData ? length : 0);
    await this.#take(bytes);
    let data: Buffer | undefined;
    if (type === Request.WRITE && !hasData) {
      if (!(await this.#input.skip(length))) {
        this.#free(bytes);
        return false;
      }
    } else if (hasData) {
      // Its own memory: a record that is kept must not keep others'.
      data = Buffer.allocUnsafeSlow(length);
      if (!(await this.#input.fill(data, 0, length))) {
        this.#free(bytes);
        return false;
      }
    }
    void this.#serve(asked, data, bytes);
    return true;
  }

  /** Waits while the sink asks for it. False if the client went away meanwhile. */
  async #held(): Promise<boolean> {
    for (let hold = this.#export.hold; hold !== undefined; hold = this.#export.hold) {
      if (this.#input.isEnded) return false;
      await Promise.race([hold, this.#input.ended]);
    }
    return true;
  }

  /** An error value, or 0 if the request can be tried. */
  #refusal({ type, flags, offset, length }: Asked): number {
    const { store } = this.#export;
    if ((flags & ~this.#allowedFlags(type)) !== 0) return NbdError.EINVAL;
    const isBeyond = offset + length > store.size;
    switch (type) {
      case Request.READ:
        return isBeyond || length > LARGEST_PAYLOAD ? NbdError.EINVAL : 0;
      case Request.WRITE:
        if (store.isReadOnly) return NbdError.EPERM;
        if (length > LARGEST_PAYLOAD) return NbdError.EINVAL;
        return isBeyond ? NbdError.ENOSPC : 0;
      case Request.WRITE_ZEROES:
        if (store.isReadOnly) return NbdError.EPERM;
        if (isBeyond) return NbdError.ENOSPC;
        return (flags & RequestFlag.FAST_ZERO) !== 0 && !store.zeroesFast ? NbdError.ENOTSUP : 0;
      case Request.TRIM:
        if (store.isReadOnly) return NbdError.EPERM;
        return isBeyond ? NbdError.EINVAL : 0;
      case Request.CACHE:
        return isBeyond ? NbdError.EINVAL : 0;
      case Request.BLOCK_STATUS:
        return isBeyond || length === 0 || !this.#hasAllocation ? NbdError.EINVAL : 0;
      case Request.FLUSH:
        return offset !== 0 || length !== 0 ? NbdError.EINVAL : 0;
      default:
        return NbdError.EINVAL;
    }
  }

  #allowedFlags(type: number): number {
    switch (type) {
      case Request.READ:
        return RequestFlag.FUA | (this.#isStructured ? RequestFlag.DF : 0);
      case Request.WRITE_ZEROES:
        return RequestFlag.FUA | RequestFlag.NO_HOLE | RequestFlag.FAST_ZERO;
      case Request.BLOCK_STATUS:
        return RequestFlag.FUA | RequestFlag.REQ_ONE;
      default:
        return RequestFlag.FUA;
    }
  }

  async #serve(asked: Asked, data: Buffer | undefined, bytes: number): Promise<void> {
    const { store } = this.#export;
    const { type, offset, length, flags } = asked;
    const fua = (flags & RequestFlag.FUA) !== 0;
    try {
      switch (type) {
        case Request.READ:
          await this.#read(asked);
          break;
        case Request.WRITE:
          if (length > 0 && store.keepsData) await store.write(data!, offset, fua);
          this.#traffic.bytesWritten += length;
          this.#succeed(asked);
          if (length > 0) this.#export.tell("write", offset, length, data, fua);
          break;
        case Request.WRITE_ZEROES:
          if (length > 0) await store.zero(offset, length, fua);
          this.#succeed(asked);
          if (length > 0) this.#export.tell("zeroes", offset, length, undefined, fua);
          break;
        case Request.TRIM:
          // A hint, which need not be taken: the bytes stay. Durable they have been before, or the guest has not asked.
          if (fua) await store.flush();
          this.#succeed(asked);
          if (length > 0) this.#export.tell("discard", offset, length, undefined, fua);
          break;
        case Request.FLUSH:
          await store.flush();
          this.#succeed(asked);
          this.#export.tell("flush", 0, 0, undefined, false);
          break;
        case Request.BLOCK_STATUS:
          this.#status(asked);
          break;
        default:
          this.#succeed(asked);
      }
    } catch (error) {
      this.#fail(asked, errorValue(error));
      // Some of it may be there.
      if ((type === Request.WRITE || type === Request.WRITE_ZEROES) && length > 0)
        this.#export.tell("gap", offset, length, undefined, false);
    }
    this.#sent(bytes);
  }

  async #read(asked: Asked): Promise<void> {
    const { offset, length } = asked;
    const head = this.#isStructured ? CHUNK_SIZE + 8 : SIMPLE_REPLY_SIZE;
    if (length === 0) return this.#isStructured ? this.#chunk(asked, Chunk.NONE, 0) : this.#succeed(asked);
    const answer = Buffer.allocUnsafeSlow(head + length);
    await this.#export.store.read(answer, head, length, offset);
    this.#traffic.bytesRead += length;
    if (this.#isStructured) {
      writeChunkHeader(answer, asked, Chunk.OFFSET_DATA, 8 + length);
      answer.writeUInt32BE(Math.floor(offset / 2 ** 32), CHUNK_SIZE);
      answer.writeUInt32BE(offset % 2 ** 32, CHUNK_SIZE + 4);
    } else {
      writeSimpleHeader(answer, asked, 0);
    }
    this.#socket.write(answer);
    this.#export.noteRead(offset, length);
  }

  #status(asked: Asked): void {
    const answer = this.#chunkOf(asked, Chunk.BLOCK_STATUS, 12);
    answer.writeUInt32BE(CONTEXT_ID, CHUNK_SIZE);
    answer.writeUInt32BE(asked.length, CHUNK_SIZE + 4);
    answer.writeUInt32BE(this.#export.store.allocation, CHUNK_SIZE + 8);
    this.#socket.write(answer);
  }

  #succeed(asked: Asked): void {
    const answer = Buffer.allocUnsafe(SIMPLE_REPLY_SIZE);
    writeSimpleHeader(answer, asked, 0);
    this.#socket.write(answer);
  }

  #fail(asked: Asked, error: number): void {
    this.#traffic.errors++;
    if (this.#isStructured) {
      const answer = this.#chunkOf(asked, Chunk.ERROR, 6);
      answer.writeUInt32BE(error, CHUNK_SIZE);
      answer.writeUInt16BE(0, CHUNK_SIZE + 4);
      this.#socket.write(answer);
      return;
    }
    const answer = Buffer.allocUnsafe(SIMPLE_REPLY_SIZE);
    writeSimpleHeader(answer, asked, error);
    this.#socket.write(answer);
  }

  #chunk(asked: Asked, type: number, length: number): void {
    this.#socket.write(this.#chunkOf(asked, type, length));
  }

  #chunkOf(asked: Asked, type: number, length: number): Buffer {
    const answer = Buffer.allocUnsafe(CHUNK_SIZE + length);
    writeChunkHeader(answer, asked, type, length);
    return answer;
  }

  /** Waits until there is room for another request. */
  async #take(bytes: number): Promise<void> {
    while (this.#requests >= MOST_REQUESTS || (this.#bytes > 0 && this.#bytes + bytes > MOST_BYTES))
      await this.#done();
    const wait = this.#budget.take(bytes);
    // Counted from now on, so that a client is looked at that has much and takes nothing.
    this.#requests++;
    this.#bytes += bytes;
    if (wait !== undefined) await wait;
  }

  /** A request's memory is in use until the client has taken the answer. */
  #sent(bytes: number): void {
    if (this.#socket.writableLength === 0 || this.#socket.destroyed) this.#free(bytes);
    else this.#socket.write("", () => this.#free(bytes));
  }

  #free(bytes: number): void {
    this.#requests--;
    this.#bytes -= bytes;
    this.#budget.give(bytes);
    this.#onDone?.();
    this.#onDone = undefined;
  }

  #done(): Promise<void> {
    return new Promise((resolve) => {
      this.#onDone = resolve;
    });
  }
}

function writeSimpleHeader(target: Buffer, { cookieHigh, cookieLow }: Asked, error: number): void {
  target.writeUInt32BE(SIMPLE_REPLY_MAGIC, 0);
  target.writeUInt32BE(error, 4);
  target.writeUInt32BE(cookieHigh, 8);
  target.writeUInt32BE(cookieLow, 12);
}

function writeChunkHeader(
  target: Buffer,
  { cookieHigh, cookieLow }: Asked,
  type: number,
  length: number,
): void {
  target.writeUInt32BE(STRUCTURED_REPLY_MAGIC, 0);
  target.writeUInt16BE(CHUNK_DONE, 4);
  target.writeUInt16BE(type, 6);
  target.writeUInt32BE(cookieHigh, 8);
  target.writeUInt32BE(cookieLow, 12);
  target.writeUInt32BE(length, 16);
}
