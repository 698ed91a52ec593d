/**
 * The `log` capture: QEMU's stock `blklogwrites` filter writes its log to an NBD export, a mirror's target that stores
 * nothing; what it logs comes out here as it is logged.
 */
import type { Log } from "../images/image.js";
import type { WriteKind, WriteRecord, WriteSink } from "../queue/write-record.js";
import { decodeLogEntry, LOG_ENTRY_SIZE, LOG_SUPER_SIZE, LOG_WRITES_MAGIC } from "./recording/log-writes.js";

/** Bytes that the log's export is to have: it only grows, and is stored nowhere. */
export const LOG_SIZE = 2 ** 50;
/** Bytes that may wait for a part of the log that comes later: QEMU writes several requests at a time. */
const MOST_WAITING = 64 << 20;

/** A part of the log; zeros where there is no data. */
interface Part {
  readonly length: number;
  readonly data: Buffer | undefined;
}

export interface LogSinkOptions {
  /** Bytes: `log-sector-size` of the filter, 512 unless it is given. */
  readonly sectorSize?: number;
  /** Bytes of the disk. */
  readonly diskSize: number;
  /** Takes the disk's records. */
  readonly sink: WriteSink;
  readonly log: Log;
}

/** Takes what is written to the log; the disk's own records go to its sink. */
export class LogSink implements WriteSink {
  readonly #sectorSize: number;
  readonly #diskSize: number;
  readonly #sink: WriteSink;
  readonly #log: Log;
  /** Where in the log what comes next is. */
  #position: number;
  /** The log's beginning has come; without it, as when the filter goes on after the tap died, nothing can be read. */
  #hasBegun = false;
  /** Parts that came before their turn, by their place in the log. */
  readonly #waiting = new Map<number, Part>();
  #waitingBytes = 0;
  /** The beginning of the next entry's sector. */
  readonly #head = Buffer.alloc(LOG_ENTRY_SIZE);
  /** Bytes of that sector that have come. */
  #headBytes = 0;
  /** Where on the disk the data is that comes next, and how much of it. */
  #offset = 0;
  #dataLeft = 0;
  #isFua = false;
  #sequence = 0;
  #time = 0;
  #hold: Promise<void> | undefined;

  constructor({ sectorSize = 512, diskSize, sink, log }: LogSinkOptions) {
    this.#sectorSize = sectorSize;
    this.#diskSize = diskSize;
    this.#sink = sink;
    this.#log = log;
    this.#position = sectorSize;
  }

  take({ kind, offset, length, data, time }: WriteRecord): Promise<void> | undefined {
    if (kind !== "write" && kind !== "zeroes") return undefined;
    this.#hold = undefined;
    this.#time = time;
    if (offset < this.#sectorSize) {
      if (data !== undefined) this.#superblock(data);
      return this.#hold;
    }
    // A filter that was opened anew begins its log at the beginning.
    if (offset === this.#sectorSize && this.#position > offset) this.#restart();
    if (offset === this.#sectorSize) this.#hasBegun = true;
    if (this.#position === Number.POSITIVE_INFINITY || !this.#hasBegun)
      this.#tell("gap", 0, this.#diskSize, undefined, false);
    if (this.#position === Number.POSITIVE_INFINITY) return this.#hold;
    if (offset < this.#position || this.#waitingBytes + length > MOST_WAITING) {
      this.#lose(`the log goes on at byte ${this.#position}, and byte ${offset} came`);
      return this.#hold;
    }
    this.#waiting.set(offset, { length, data });
    this.#waitingBytes += length;
    for (let part = this.#next(); part !== undefined; part = this.#next()) this.#read(part);
    return this.#hold;
  }

  #superblock(data: Buffer): void {
    if (data.length < LOG_SUPER_SIZE || !data.subarray(0, 8).equals(LOG_WRITES_MAGIC)) return;
    const bytes = data.readUInt32LE(24);
    if (bytes !== this.#sectorSize && this.#position !== Number.POSITIVE_INFINITY)
      this.#lose(`log-sector-size is ${bytes} in QEMU, and ${this.#sectorSize} here; make them the same`);
  }

  #next(): Part | undefined {
    const part = this.#waiting.get(this.#position);
    if (part === undefined) return undefined;
    this.#waiting.delete(this.#position);
    this.#waitingBytes -= part.length;
    this.#position += part.length;
    return part;
  }

  #read({ length, data }: Part): void {
    for (let at = 0; at < length; ) {
      if (this.#dataLeft > 0) {
        const count = Math.min(this.#dataLeft, length - at);
        if (data === undefined) this.#tell("zeroes", this.#offset, count, undefined, this.#isFua);
        else this.#tell("write", this.#offset, count, data.subarray(at, at + count), this.#isFua);
        this.#offset += count;
        this.#dataLeft -= count;
        at += count;
        continue;
      }
      const count = Math.min(this.#sectorSize - this.#headBytes, length - at);
      if (this.#headBytes < LOG_ENTRY_SIZE) {
        if (data === undefined) this.#head.fill(0, this.#headBytes);
        else data.copy(this.#head, this.#headBytes, at, at + count);
      }
      this.#headBytes += count;
      at += count;
      if (this.#headBytes === this.#sectorSize && !this.#entry()) return;
    }
  }

  /** Begins an entry. False if it makes no sense. */
  #entry(): boolean {
    this.#headBytes = 0;
    const entry = decodeLogEntry(this.#head, this.#sectorSize);
    if (entry === undefined || entry.offset + entry.length > this.#diskSize) {
      this.#lose("an entry of the log makes no sense");
      return false;
    }
    if (entry.isFlush) this.#tell("flush", 0, 0, undefined, false);
    if (entry.isDiscard && entry.length > 0)
      this.#tell("discard", entry.offset, entry.length, undefined, false);
    this.#offset = entry.offset;
    this.#dataLeft = entry.dataLength;
    this.#isFua = entry.isFua;
    return true;
  }

  #tell(kind: WriteKind, offset: number, length: number, data: Buffer | undefined, fua: boolean): void {
    const record: WriteRecord = {
      kind,
      offset,
      length,
      data,
      fua,
      sequence: ++this.#sequence,
      time: this.#time,
    };
    this.#hold = this.#sink.take(record) ?? this.#hold;
  }

  /** The thread is lost until the filter begins anew: whatever was written, the disk itself must tell. */
  #lose(why: string): void {
    this.#log(`log: ${why}`);
    this.#tell("gap", 0, this.#diskSize, undefined, false);
    this.#restart();
    this.#position = Number.POSITIVE_INFINITY;
  }

  #restart(): void {
    this.#waiting.clear();
    this.#waitingBytes = 0;
    this.#headBytes = 0;
    this.#dataLeft = 0;
    this.#position = this.#sectorSize;
  }
}
