/**
 * What passes between the process that hosts the tap and the server that works on guests' writes, on a unix socket:
 * frames, each the number of its bytes (32 bits, little-endian, itself not counted), a byte for its type, and its
 * contents. Both ends are slashcloud's own; after an upgrade of the server they may be of different forms, which is told.
 */
import { WRITE_KINDS, type WriteRecord } from "../../queue/write-record.js";

/**
 * To the server: the disks, as JSON; then batches of writes. From the server: the number of a batch that is done, and a
 * disk's number with where its metadata is.
 */
export const Frame = { DISKS: 1, BATCH: 2, DONE: 3, METADATA: 4 } as const;

/** What stands before a frame's contents. */
export const FRAME_HEAD = 5;
/** Bytes of a frame at most. */
export const MOST_BYTES = 64 << 20;
/** Records of a batch at most; more are sent as several. */
export const MOST_RECORDS = 1 << 20;

/** Where guests' writes come from. */
export type CaptureKind = "tap" | "qmp" | "log" | "pipe";

/** A disk whose writes are told. */
export interface FeedDisk {
  /** Its own among all that one tap tells of. */
  readonly number: number;
  readonly guest: string;
  /** Its place among the guest's disks, from 0 on. */
  readonly disk: number;
  /** Bytes. */
  readonly size: number;
  readonly capture: CaptureKind;
  /** ms for which a write is kept that nothing explains yet. */
  readonly unknownLife: number;
}

const FUA = 0x80;
/** Of a batch: its number, the disk's, and how many records. Then a byte each, then four doubles each. */
const BATCH_HEAD = 12;
const NUMBERS = 4;
const RECORD_BYTES = 1 + 8 * NUMBERS;

/** What is understood; another number with each change of what is sent. */
const FORM = 1;

export function disksFrame(disks: readonly FeedDisk[]): Buffer {
  return frame(Frame.DISKS, Buffer.from(JSON.stringify({ form: FORM, disks })));
}

/** Throws RangeError if the other end is of another form. */
export function parseDisks(contents: Buffer): readonly FeedDisk[] {
  const { form, disks } = JSON.parse(contents.toString()) as { form: number; disks: FeedDisk[] };
  if (form !== FORM) throw new RangeError("the tap is of another version: start slashcloud again");
  return disks;
}

export function doneFrame(batch: number): Buffer {
  const contents = Buffer.alloc(4);
  contents.writeUInt32LE(batch);
  return frame(Frame.DONE, contents);
}

/** `ranges`: pairs of a first byte and the byte after the last, in order. */
export function metadataFrame(disk: number, ranges: Float64Array): Buffer {
  const contents = Buffer.allocUnsafe(4 + 8 * ranges.length);
  contents.writeUInt32LE(disk);
  for (let i = 0; i < ranges.length; i++) contents.writeDoubleLE(ranges[i] as number, 4 + 8 * i);
  return frame(Frame.METADATA, contents);
}

export function parseMetadata(contents: Buffer): { disk: number; ranges: Float64Array } {
  const ranges = new Float64Array(Math.floor((contents.length - 4) / 8));
  for (let i = 0; i < ranges.length; i++) ranges[i] = contents.readDoubleLE(4 + 8 * i);
  return { disk: contents.readUInt32LE(0), ranges };
}

/** At most MOST_RECORDS; their data is not sent. */
export function batchFrame(batch: number, disk: number, records: readonly WriteRecord[]): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_HEAD + BATCH_HEAD + RECORD_BYTES * records.length);
  head(bytes, Frame.BATCH);
  bytes.writeUInt32LE(batch, FRAME_HEAD);
  bytes.writeUInt32LE(disk, FRAME_HEAD + 4);
  bytes.writeUInt32LE(records.length, FRAME_HEAD + 8);
  let kindAt = FRAME_HEAD + BATCH_HEAD;
  let at = kindAt + records.length;
  for (const { kind, fua, offset, length, sequence, time } of records) {
    bytes[kindAt++] = WRITE_KINDS.indexOf(kind) | (fua ? FUA : 0);
    bytes.writeDoubleLE(offset, at);
    bytes.writeDoubleLE(length, at + 8);
    bytes.writeDoubleLE(sequence, at + 16);
    bytes.writeDoubleLE(time, at + 24);
    at += 8 * NUMBERS;
  }
  return bytes;
}

export interface Batch {
  readonly batch: number;
  readonly disk: number;
  /** Without their data. */
  readonly records: WriteRecord[];
}

/** Reads a batch's contents. Throws RangeError. */
export function parseBatch(contents: Buffer): Batch {
  const batch = contents.readUInt32LE(0);
  const disk = contents.readUInt32LE(4);
  const count = contents.readUInt32LE(8);
  if (contents.length !== BATCH_HEAD + RECORD_BYTES * count)
    throw new RangeError("a batch is not as long as it says");
  const records: WriteRecord[] = [];
  for (let i = 0, at = BATCH_HEAD + count; i < count; i++, at += 8 * NUMBERS) {
    const bits = contents[BATCH_HEAD + i] as number;
    const kind = WRITE_KINDS[bits & ~FUA];
    if (kind === undefined) throw new RangeError("a record of an unknown kind");
    records.push({
      kind,
      offset: contents.readDoubleLE(at),
      length: contents.readDoubleLE(at + 8),
      data: undefined,
      fua: (bits & FUA) !== 0,
      sequence: contents.readDoubleLE(at + 16),
      time: contents.readDoubleLE(at + 24),
    });
  }
  return { batch, disk, records };
}

function frame(type: number, contents: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_HEAD + contents.length);
  head(bytes, type);
  contents.copy(bytes, FRAME_HEAD);
  return bytes;
}

function head(bytes: Buffer, type: number): void {
  bytes.writeUInt32LE(bytes.length - 4);
  bytes[4] = type;
}

/** Takes frames apart as their bytes come. */
export class FrameReader {
  readonly #take: (type: number, contents: Buffer) => void;
  #chunks: Buffer[] = [];
  #waiting = 0;

  constructor(take: (type: number, contents: Buffer) => void) {
    this.#take = take;
  }

  /** Throws RangeError for what is no frame. */
  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#waiting += chunk.length;
    while (this.#waiting >= FRAME_HEAD) {
      const first = this.#chunks[0] as Buffer;
      const whole = first.length >= FRAME_HEAD ? first : this.#join();
      const length = whole.readUInt32LE(0);
      if (length < 1 || length > MOST_BYTES) throw new RangeError(`a frame of ${length} bytes`);
      if (this.#waiting < 4 + length) return;
      const bytes = whole.length >= 4 + length ? whole : this.#join();
      this.#chunks[0] = bytes.subarray(4 + length);
      this.#waiting -= 4 + length;
      if (this.#chunks[0].length === 0) this.#chunks.shift();
      this.#take(bytes[4] as number, bytes.subarray(FRAME_HEAD, 4 + length));
    }
  }

  #join(): Buffer {
    const bytes = Buffer.concat(this.#chunks);
    this.#chunks = [bytes];
    return bytes;
  }
}
