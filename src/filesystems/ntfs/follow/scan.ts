/** Comparing what is on the disk with the copies that are kept. */
import type { Source } from "../../../images/image.js";
import { readFully } from "../../../versions/block-cache.js";
import { Scan } from "../../copies/scan.js";
import type { Accepted } from "./accepted.js";
import type { Changed } from "./candidate.js";
import { saysInUse } from "./raw-record.js";

/** Bytes that are read at once. */
const BATCH = 262_144;

export class Comparison {
  readonly #source: Source;
  readonly #accepted: Accepted;
  readonly #buffer: Buffer;
  readonly #others: Scan;

  constructor(source: Source, accepted: Accepted) {
    const { recordSize, blockSize } = accepted.geometry;
    this.#source = source;
    this.#accepted = accepted;
    this.#buffer = Buffer.allocUnsafeSlow(Math.max(BATCH, recordSize));
    this.#others = new Scan(source, blockSize);
  }

  /** All that differs: what is kept, and records that were not in use. Throws IoError. */
  all(): Changed {
    const { places, geometry } = this.#accepted;
    const batch = Math.floor(this.#buffer.length / geometry.recordSize);
    const records = new Map<number, Buffer>();
    for (let first = 0; first < places.records; first += batch)
      this.#compare(first, Math.min(batch, places.records - first), records);
    return { records, others: this.#others.changed(this.#accepted.others) };
  }

  /** The same of some records and blocks alone. Throws IoError. */
  some(numbers: readonly number[], blocks: readonly number[]): Changed {
    const { places, others: kept, geometry } = this.#accepted;
    const { blockSize } = geometry;
    const records = new Map<number, Buffer>();
    const others = new Map<number, Buffer>();
    for (const record of numbers) if (record < places.records) this.#compare(record, 1, records);
    for (const block of blocks) {
      const copy = kept.get(block);
      if (copy === undefined) continue;
      if (readFully(this.#source, this.#buffer, blockSize, block * blockSize) < blockSize) continue;
      if (this.#buffer.compare(copy, 0, blockSize, 0, blockSize) !== 0)
        others.set(block, Buffer.from(this.#buffer.subarray(0, blockSize)));
    }
    return { records, others };
  }

  #compare(first: number, count: number, changed: Map<number, Buffer>): void {
    const { places, records, geometry } = this.#accepted;
    const { recordSize } = geometry;
    const buffer = this.#buffer;
    places.read(this.#source, first, count, buffer);
    for (let n = 0, at = 0; n < count; n++, at += recordSize) {
      const copy = records.get(first + n);
      const isSame =
        copy === undefined
          ? !saysInUse(buffer, at)
          : buffer.compare(copy, 0, recordSize, at, at + recordSize) === 0;
      if (!isSame) changed.set(first + n, Buffer.from(buffer.subarray(at, at + recordSize)));
    }
  }
}
