/**
 * Requests that were read from the kernel, on record outside of the server, for kernels that cannot hand them out again
 * (before Linux 6.9, without FUSE_NOTIFY_RESEND): whoever serves the same mount after this server has died answers what
 * is recorded and was not answered.
 *
 * The record is the first RECORD_BYTES of a file: a slot for the request that was read last, one for the FORGET that was
 * read last, and slots for requests that were handed on and may wait for long. What a slot has is nobody's any more once
 * the kernel does not wait for that `unique`, so none is ever emptied.
 *
 * A server that is killed between its read and the writing here loses one request. The kernel numbers requests when it
 * queues them, FORGETs when they are read, both by one counter in steps of 2 (fuse_get_unique in fs/fuse/dev.c, Linux 5.0
 * to 6.8), and hands requests out in their order. So the lost one's number comes after the last request's, and all between
 * them are those of FORGETs that were read.
 */
import { readSync, writeSync } from "node:fs";
import { Opcode, ReplyHeader, RequestHeader, Size } from "./protocol.js";
import type { Request } from "./request.js";
import { get64, put64 } from "./words.js";

/** Holds any request that a read-only mount is asked: GETXATTR's header, arguments, name of 255 bytes and NUL. */
const SLOT_BYTES = 512;
/** Requests that were handed on and not answered yet. */
const FORWARDED = 1024;
const LAST_AT = 0;
const FORGET_AT = SLOT_BYTES;
const FORWARDED_AT = 2 * SLOT_BYTES;
/** Bytes at the beginning of the file that are the record's. */
export const RECORD_BYTES = FORWARDED_AT + FORWARDED * SLOT_BYTES;

/** Numbers of one request and the next; the bit that marks the answer to an INTERRUPT (FUSE_REQ_ID_STEP, FUSE_INT_REQ_BIT). */
const STEP = 2;
const INTERRUPT_BIT = 1;
/** The number of the first one, INIT. */
export const FIRST_UNIQUE = STEP;
/** So many numbers are tried for a lost request: FORGETs come by the hundred in one message, so there are never as many. */
const TRIED = 100_000;

/** A request that the kernel still waits for. */
export interface RecordedRequest {
  /** As it came; cut off if it was too long to be recorded. */
  readonly bytes: Uint8Array;
  readonly isWhole: boolean;
  /** Whether it keeps its place in the record for as long as it is not answered. */
  readonly isForwarded: boolean;
}

export class RequestRecord {
  readonly #device: number;
  readonly #file: number;
  readonly #lost: (error: Error) => void;
  readonly #probe = new Uint32Array(Size.REPLY_HEADER / 4);
  readonly #probeBytes = new Uint8Array(this.#probe.buffer);
  /** The numbers of the requests in the slots of those that were handed on; 0: none. */
  readonly #forwarded = new Float64Array(FORWARDED);
  /** Where a free slot is looked for first. */
  #next = 0;
  #isLost = false;

  /**
   * `device`: of /dev/fuse; `file`: of the record, with what an earlier server of the same mount has left there. `lost` is
   * called, once, if nothing can be written there any more.
   */
  constructor(device: number, file: number, lost: (error: Error) => void) {
    this.#device = device;
    this.#file = file;
    this.#lost = lost;
  }

  /** Records what was just read; to be called before anything else is done with it. */
  read(request: Request): void {
    const { opcode } = request;
    // Whoever is interrupted waits for an answer all the same.
    if (opcode === Opcode.INTERRUPT) return;
    const isForget = opcode === Opcode.FORGET || opcode === Opcode.BATCH_FORGET;
    if (isForget) this.#write(request.bytes, Size.REQUEST_HEADER, FORGET_AT);
    else this.#write(request.bytes, request.length, LAST_AT);
  }

  /** Records a request that is about to be handed on; false if too many wait. */
  forward(request: Request): boolean {
    const unique = get64(request.words, RequestHeader.UNIQUE);
    for (let tried = 0; tried < FORWARDED; tried++) {
      const slot = (this.#next + tried) % FORWARDED;
      const former = this.#forwarded[slot] as number;
      if (former !== 0 && this.#isAwaited(former)) continue;
      this.#next = (slot + 1) % FORWARDED;
      this.#forwarded[slot] = unique;
      this.#write(request.bytes, request.length, FORWARDED_AT + slot * SLOT_BYTES);
      return true;
    }
    return false;
  }

  /**
   * What an earlier server has read and not answered, oldest first. To be called before anything is read. Throws a Node
   * system error.
   */
  unanswered(): RecordedRequest[] {
    const file = new Uint8Array(RECORD_BYTES);
    for (let at = 0; at < file.length; ) {
      const count = readSync(this.#file, file, at, file.length - at, at);
      if (count === 0) break;
      at += count;
    }
    const found = new Map<number, RecordedRequest>();
    for (let slot = 0; slot < FORWARDED; slot++) {
      const at = FORWARDED_AT + slot * SLOT_BYTES;
      const unique = uniqueAt(file, at);
      this.#forwarded[slot] = unique;
      if (this.#isAwaited(unique)) found.set(unique, recordedAt(file, at, true));
    }
    const last = uniqueAt(file, LAST_AT);
    if (!found.has(last) && this.#isAwaited(last)) found.set(last, recordedAt(file, LAST_AT, false));
    return [...found].sort(([a], [b]) => a - b).map(([, request]) => request);
  }

  /** The number of the request that an earlier server has read and not recorded; undefined: there is none. */
  missing(): number | undefined {
    const file = new Uint8Array(FORWARDED_AT);
    readSync(this.#file, file, 0, file.length, 0);
    const last = uniqueAt(file, LAST_AT);
    const end = Math.min(Math.max(last, uniqueAt(file, FORGET_AT)) + STEP, last + TRIED * STEP);
    for (let unique = last + STEP; unique <= end; unique += STEP) if (this.#isAwaited(unique)) return unique;
    return undefined;
  }

  /**
   * Whether a request has been read, and the kernel waits for its answer. The answer to an INTERRUPT that neither says
   * "again" nor "never" changes nothing, and is refused if there is no such request (fuse_dev_do_write).
   */
  #isAwaited(unique: number): boolean {
    if (unique === 0) return false;
    this.#probe[ReplyHeader.LENGTH] = Size.REPLY_HEADER;
    put64(this.#probe, ReplyHeader.UNIQUE, unique + INTERRUPT_BIT);
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    try {
      writeSync(this.#device, this.#probeBytes, 0, Size.REPLY_HEADER);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOENT" && code !== "ENODEV") throw error;
      return false;
    } finally {
      Error.stackTraceLimit = stackTraceLimit;
    }
  }

  #write(bytes: Uint8Array, length: number, at: number): void {
    if (this.#isLost) return;
    try {
      writeSync(this.#file, bytes, 0, Math.min(length, SLOT_BYTES), at);
    } catch (error) {
      this.#isLost = true;
      this.#lost(error as Error);
    }
  }
}

/** The number of the request in a slot; 0: there is none. */
function uniqueAt(file: Uint8Array, at: number): number {
  return get64(new Uint32Array(file.buffer, at), RequestHeader.UNIQUE);
}

function recordedAt(file: Uint8Array, at: number, isForwarded: boolean): RecordedRequest {
  const length = new Uint32Array(file.buffer, at)[RequestHeader.LENGTH] as number;
  const bytes = file.subarray(at, at + Math.min(length, SLOT_BYTES));
  return { bytes, isWhole: length <= SLOT_BYTES, isForwarded };
}
