/**
 * Comparing what is on the disk with the copies that are kept: what has changed lately each time, and all else in passes,
 * a part at a time.
 */
import type { Source } from "../../../images/image.js";
import { Scan } from "../../agreement/scan.js";
import type { Accepted } from "./accepted.js";
import type { Changed } from "./candidate.js";
import { saysInUse } from "./raw-record.js";

/** Bytes that are read at once. */
const BATCH = 262_144;
/** Bytes of one pass that are compared with one look. */
const PART = 8 << 20;
/** ms for which something counts as changed lately, and how many records and blocks can. */
const LATELY = 5000;
const MOST_LATELY = 4096;
/** Records between two that are to be compared that are read along rather than apart. */
const GAP = 16;
/** One pass of so many goes by all bytes; the others by what each write of a record changes. */
const THOROUGH = 8;
/** Words by which a record's last write is told. */
const SIGNATURE = 4;

export class Comparison {
  readonly #source: Source;
  readonly #accepted: Accepted;
  readonly #buffer: Buffer;
  readonly #words: Int32Array;
  readonly #others: Scan;
  /** Of each record: its signature as of when it was last found to be as the copy is. */
  #signatures = new Int32Array(0);
  /** Records and blocks, and until when they count as changed lately (ms). */
  readonly #lateRecords = new Map<number, number>();
  readonly #lateBlocks = new Map<number, number>();
  /** The pass that goes on: its number, when it began, the record and then the block where it goes on. */
  #pass = 0;
  #began: number | undefined;
  #record = 0;
  #block = 0;

  constructor(source: Source, accepted: Accepted) {
    const { recordSize, blockSize } = accepted.geometry;
    this.#source = source;
    this.#accepted = accepted;
    this.#buffer = Buffer.allocUnsafeSlow(Math.max(BATCH, recordSize));
    this.#words = new Int32Array(this.#buffer.buffer, this.#buffer.byteOffset, this.#buffer.length / 4);
    this.#others = new Scan(source, blockSize);
  }

  /** These are likely to change again soon. */
  note(records: Iterable<number>, blocks: Iterable<number>, now: number): void {
    enter(this.#lateRecords, records, now);
    enter(this.#lateBlocks, blocks, now);
  }

  /**
   * What differs of what has changed lately, and of the next part of a pass through everything. `passBegan`: if that has
   * ended, when it began. Throws IoError.
   */
  next(now: number): { readonly changed: Changed; readonly passBegan: number | undefined } {
    const changed = this.some(current(this.#lateRecords, now), current(this.#lateBlocks, now));
    this.#began ??= now;
    let room = PART;
    const { places, geometry, others: kept } = this.#accepted;
    const { recordSize, blockSize } = geometry;
    const batch = Math.floor(this.#buffer.length / recordSize);
    for (; this.#record < places.records && room > 0; this.#record += batch, room -= BATCH)
      this.#compare(this.#record, Math.min(batch, places.records - this.#record), changed.records, false);
    if (this.#record < places.records) return { changed, passBegan: undefined };
    const { sorted } = kept;
    const from = lowerBound(sorted, this.#block);
    const to = Math.min(sorted.length, from + Math.max(1, Math.floor(Math.max(room, BATCH) / blockSize)));
    for (const [block, bytes] of this.#others.changedAmong(sorted.subarray(from, to), kept))
      changed.others.set(block, bytes);
    this.#block = (sorted[to - 1] ?? 0) + 1;
    if (to < sorted.length) return { changed, passBegan: undefined };
    const passBegan = this.#began;
    this.#began = undefined;
    this.#pass++;
    this.#record = 0;
    this.#block = 0;
    return { changed, passBegan };
  }

  /** What differs of some records, and of some of the blocks that are kept. Throws IoError. */
  some(numbers: readonly number[], blocks: readonly number[]): Changed {
    const { places, others: kept, geometry } = this.#accepted;
    const most = Math.floor(this.#buffer.length / geometry.recordSize);
    const records = new Map<number, Buffer>();
    const sorted = Float64Array.from(numbers.filter((record) => record < places.records)).sort();
    for (let from = 0; from < sorted.length; ) {
      const first = sorted[from] as number;
      let to = from + 1;
      while (to < sorted.length) {
        const next = sorted[to] as number;
        if (next - first >= most || next - (sorted[to - 1] as number) > GAP) break;
        to++;
      }
      this.#compare(first, (sorted[to - 1] as number) - first + 1, records, true);
      from = to;
    }
    const there = Float64Array.from(blocks.filter((block) => kept.has(block))).sort();
    return { records, others: this.#others.changedAmong(there, kept) };
  }

  #compare(first: number, count: number, changed: Map<number, Buffer>, isThorough: boolean): void {
    const { places, records, geometry } = this.#accepted;
    const { recordSize } = geometry;
    const buffer = this.#buffer;
    places.read(this.#source, first, count, buffer);
    this.#growTo(places.records);
    const bySignature = !isThorough && this.#pass % THOROUGH !== 0;
    for (let n = 0, at = 0; n < count; n++, at += recordSize) {
      if (bySignature && this.#isSigned(first + n, at)) continue;
      const copy = records.get(first + n);
      const isSame =
        copy === undefined
          ? !saysInUse(buffer, at)
          : buffer.compare(copy, 0, recordSize, at, at + recordSize) === 0;
      if (isSame) this.#sign(first + n, at);
      else changed.set(first + n, Buffer.from(buffer.subarray(at, at + recordSize)));
    }
  }

  /**
   * Whether a record was last written when it was found to be as the copy is: with each write goes another number of its
   * update sequence, and in Windows another place in the log ($LogFile sequence number).
   */
  #isSigned(record: number, at: number): boolean {
    const signatures = this.#signatures;
    const words = this.#words;
    const to = record * SIGNATURE;
    const word = at >> 2;
    return (
      signatures[to] === ((words[word] as number) ^ (words[word + 2] as number)) &&
      signatures[to + 1] === words[word + 4] &&
      signatures[to + 2] === ((words[word + 5] as number) ^ (words[word + 6] as number)) &&
      signatures[to + 3] === words[this.#sequenceWord(at)]
    );
  }

  #sign(record: number, at: number): void {
    const signatures = this.#signatures;
    const words = this.#words;
    const to = record * SIGNATURE;
    const word = at >> 2;
    signatures[to] = (words[word] as number) ^ (words[word + 2] as number);
    signatures[to + 1] = words[word + 4] as number;
    signatures[to + 2] = (words[word + 5] as number) ^ (words[word + 6] as number);
    signatures[to + 3] = words[this.#sequenceWord(at)] as number;
  }

  /** The word with the number of the record's update sequence. */
  #sequenceWord(at: number): number {
    return (at + (this.#buffer.readUInt16LE(at + 4) & 0x1fc)) >> 2;
  }

  #growTo(records: number): void {
    const length = records * SIGNATURE;
    if (length <= this.#signatures.length) return;
    const longer = new Int32Array(length + 4096);
    longer.set(this.#signatures);
    this.#signatures = longer;
  }
}

function enter(late: Map<number, number>, numbers: Iterable<number>, now: number): void {
  for (const number of numbers) {
    late.delete(number);
    late.set(number, now + LATELY);
  }
  for (const oldest of late.keys()) {
    if (late.size <= MOST_LATELY) break;
    late.delete(oldest);
  }
}

function current(late: Map<number, number>, now: number): number[] {
  for (const [number, until] of late) {
    if (until > now) break;
    late.delete(number);
  }
  return [...late.keys()];
}

/** The first place of a value not below that one. */
function lowerBound(sorted: Float64Array, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] as number) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
