/**
 * Compressed streams (NTFS documentation, "Compression"): units of some clusters, each of which takes all of them as it
 * is, none if it is all zeros, or fewer if it is compressed.
 */
import { EIO, IoError } from "../../images/io-error.js";
import { decompressLznt1 } from "./compression/lznt1.js";
import type { FileBytes } from "./content.js";
import { HOLE } from "./runs.js";
import type { Stream } from "./stream.js";
import type { UnitCache } from "./unit-cache.js";

/** Windows has units of 64 KiB at most. */
const LARGEST_UNIT = 1 << 20;
/** Units that one search for a hole looks at. */
const MOST_UNITS = 100_000;
/** What a unit holds before it is decompressed: for whichever is being read. */
let packed = Buffer.alloc(0);

export class CompressedStream implements FileBytes {
  readonly size: number;
  readonly #stream: Stream;
  readonly #clusterSize: number;
  readonly #unitSize: number;
  readonly #units: UnitCache;

  /** Throws IoError (EIO). */
  constructor(stream: Stream, clusterSize: number, units: UnitCache) {
    this.size = stream.size;
    this.#stream = stream;
    this.#clusterSize = clusterSize;
    this.#unitSize = stream.unitClusters * clusterSize;
    this.#units = units;
    if (this.#unitSize > LARGEST_UNIT)
      throw new IoError(EIO, `MFT record ${stream.ino}: its units of compression are too large`);
  }

  read(position: number, length: number, target: Buffer, targetOffset: number): void {
    const written = Math.max(0, Math.min(length, this.#stream.initialisedSize - position));
    for (let done = 0; done < written; ) {
      const at = position + done;
      const unit = Math.floor(at / this.#unitSize);
      const within = at - unit * this.#unitSize;
      const part = Math.min(this.#unitSize - within, written - done);
      this.#readUnit(unit, within, part, target, targetOffset + done);
      done += part;
    }
    target.fill(0, targetOffset + written, targetOffset + length);
  }

  seek(position: number, hole: boolean): number {
    const stream = this.#stream;
    const end = stream.initialisedSize;
    for (
      let unit = Math.floor(position / this.#unitSize), looked = 0;
      unit * this.#unitSize < end;
      looked++
    ) {
      const at = Math.max(position, unit * this.#unitSize);
      if (looked === MOST_UNITS) return hole ? this.size : at;
      const isHole = this.#clusters(unit) === 0;
      if (isHole === hole) return at;
      unit += isHole ? Math.max(1, Math.floor(stream.length / stream.unitClusters)) : 1;
    }
    return hole ? Math.min(this.size, Math.max(position, end)) : this.size;
  }

  /** How many clusters a unit takes. */
  #clusters(unit: number): number {
    const stream = this.#stream;
    const first = unit * stream.unitClusters;
    let count = 0;
    while (count < stream.unitClusters && stream.tryMap(first + count) && stream.cluster !== HOLE)
      count += stream.length;
    return Math.min(count, stream.unitClusters);
  }

  #readUnit(unit: number, within: number, length: number, target: Buffer, targetOffset: number): void {
    const known = this.#units.find(this, unit);
    if (known !== undefined) {
      known.copy(target, targetOffset, within, within + length);
      return;
    }
    const stream = this.#stream;
    const clusters = this.#clusters(unit);
    if (clusters === 0) {
      target.fill(0, targetOffset, targetOffset + length);
      return;
    }
    const start = unit * this.#unitSize;
    if (clusters === stream.unitClusters) {
      stream.readRuns(start + within, length, target, targetOffset);
      return;
    }
    const size = clusters * this.#clusterSize;
    if (packed.length < size) packed = Buffer.allocUnsafeSlow(size);
    stream.readRuns(start, size, packed, 0);
    const bytes = this.#units.room(this.#unitSize);
    const there = decompressLznt1(packed, 0, size, bytes, 0, this.#unitSize);
    bytes.fill(0, there, this.#unitSize);
    this.#units.enter(bytes, this, unit);
    bytes.copy(target, targetOffset, within, within + length);
  }
}
