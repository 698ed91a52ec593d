/** Where the records of the MFT lie, in blocks of the view, and which record lies in a block. */
import type { Source } from "../../../images/image.js";
import { readFully } from "../../../versions/block-cache.js";
import type { Geometry } from "../boot-sector.js";
import type { MasterFileTable } from "../mft.js";
import { HOLE } from "../runs.js";

export class RecordPlaces {
  /** How many records there are, in use or not. */
  readonly records: number;
  /** Where within its record the block begins that `recordAt` was asked for last, bytes. */
  within = 0;
  readonly #geometry: Geometry;
  /** Of each run, in the order of the MFT: its first byte there and on the volume, and bytes. */
  readonly #starts: number[] = [];
  readonly #positions: number[] = [];
  readonly #lengths: number[] = [];
  /** The same runs, in the order of their places. */
  readonly #byPlace: number[];

  /** Reads where the records lie. Throws IoError. */
  constructor(mft: MasterFileTable) {
    this.#geometry = mft.geometry;
    this.records = mft.records;
    const { clusterSize } = mft.geometry;
    for (const runs of mft.parts) {
      for (let index = 0; index < runs.count; index++) {
        if (runs.cluster(index) === HOLE) continue;
        this.#starts.push(runs.start(index) * clusterSize);
        this.#positions.push(runs.cluster(index) * clusterSize);
        this.#lengths.push(runs.length(index) * clusterSize);
      }
    }
    this.#byPlace = this.#positions
      .map((_, index) => index)
      .sort((a, b) => (this.#positions[a] as number) - (this.#positions[b] as number));
  }

  /** Whether the records of `other` lie where they lie here: there may be more of them here. */
  extends(other: RecordPlaces): boolean {
    if (this.records < other.records) return false;
    return other.#starts.every((start, n) => {
      const isLast = n === other.#starts.length - 1;
      const [length, before] = [this.#lengths[n] as number, other.#lengths[n] as number];
      return (
        this.#starts[n] === start &&
        this.#positions[n] === other.#positions[n] &&
        (isLast ? length >= before : length === before)
      );
    });
  }

  /** The record that a block is of; -1: it is none of the MFT's. */
  recordAt(block: number): number {
    const { blockSize, recordSize } = this.#geometry;
    const position = block * blockSize;
    const order = this.#byPlace;
    const at = lastNotAfter(order.length, (n) => this.#positions[order[n] as number] as number, position);
    if (at < 0) return -1;
    const run = order[at] as number;
    const offset = position - (this.#positions[run] as number);
    if (offset >= (this.#lengths[run] as number)) return -1;
    const byte = (this.#starts[run] as number) + offset;
    this.within = byte % recordSize;
    return Math.floor(byte / recordSize);
  }

  /** The blocks of a record, in order; none if some of it lies in a hole. */
  blocksOf(record: number): number[] {
    const { blockSize, recordSize } = this.#geometry;
    const blocks: number[] = [];
    for (let done = 0; done < recordSize; done += blockSize) {
      const position = this.#position(record * recordSize + done);
      if (position < 0) return [];
      blocks.push(position / blockSize);
    }
    return blocks;
  }

  /**
   * Reads `count` records from `first` on to the start of `target`; what cannot be read whole (holes, past the volume's
   * end) is zeros. Throws IoError.
   */
  read(source: Source, first: number, count: number, target: Buffer): void {
    const { recordSize } = this.#geometry;
    const end = (first + count) * recordSize;
    for (let byte = first * recordSize; byte < end; ) {
      const to = byte - first * recordSize;
      const run = lastNotAfter(this.#starts.length, (n) => this.#starts[n] as number, byte);
      const offset = run < 0 ? 0 : byte - (this.#starts[run] as number);
      if (run < 0 || offset >= (this.#lengths[run] as number)) {
        const next = this.#starts[run + 1] ?? end;
        const gap = Math.min(next, end) - byte;
        target.fill(0, to, to + gap);
        byte += gap;
        continue;
      }
      const length = Math.min(end - byte, (this.#lengths[run] as number) - offset);
      const got = readFully(source, target, length, (this.#positions[run] as number) + offset, to);
      if (got < length) target.fill(0, to + got, to + length);
      byte += length;
    }
  }

  /** Where a byte of the MFT lies on the volume; -1: in a hole. */
  #position(byte: number): number {
    const run = lastNotAfter(this.#starts.length, (n) => this.#starts[n] as number, byte);
    if (run < 0) return -1;
    const offset = byte - (this.#starts[run] as number);
    return offset < (this.#lengths[run] as number) ? (this.#positions[run] as number) + offset : -1;
  }
}

/** The last of `count` rising values that is not above `value`; -1: all are. */
function lastNotAfter(count: number, at: (index: number) => number, value: number): number {
  let low = -1;
  let high = count - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (at(middle) <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}
