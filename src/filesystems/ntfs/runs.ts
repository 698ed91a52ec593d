/** Runs of clusters (NTFS documentation, "Data Runs"): lengths and steps, each in as few bytes as it takes. */
import { EIO, IoError } from "../../images/io-error.js";
import type { Attribute } from "./attribute.js";

/** The cluster of a run that lies nowhere. */
export const HOLE = -1;

/** Some of a stream's runs, one after the other. */
export class Runs {
  /** First clusters within the stream; one more at the end. */
  readonly #starts: Float64Array;
  /** Where they lie on the volume; HOLE. */
  readonly #clusters: Float64Array;
  readonly #count: number;
  #last = 0;

  private constructor(starts: Float64Array, clusters: Float64Array, count: number) {
    this.#starts = starts;
    this.#clusters = clusters;
    this.#count = count;
  }

  /** What an attribute that is not resident has. `clusters`: of the volume. Throws IoError (EIO). */
  static of(attribute: Attribute, clusters: number, record: number): Runs {
    const { buffer, end, lowestVcn, highestVcn } = attribute;
    // A run takes two bytes at least.
    const most = (end - attribute.runsAt) >> 1;
    const starts = new Float64Array(most + 1);
    const places = new Float64Array(most);
    let count = 0;
    let vcn = lowestVcn;
    let lcn = 0;
    let used = 0;
    for (let at = attribute.runsAt; at < end; ) {
      const sizes = buffer[at++] as number;
      if (sizes === 0) break;
      const lengthSize = sizes & 15;
      const stepSize = sizes >> 4;
      if (lengthSize === 0 || lengthSize > 8 || stepSize > 8 || at + lengthSize + stepSize > end)
        throw bad(record);
      const length = signed(buffer, at, lengthSize);
      at += lengthSize;
      starts[count] = vcn;
      if (stepSize === 0) places[count] = HOLE;
      else {
        lcn += signed(buffer, at, stepSize);
        at += stepSize;
        // NTFS 1.2 has holes as cluster -1.
        if (lcn < HOLE || (lcn !== HOLE && !(lcn + length <= clusters))) throw bad(record);
        places[count] = lcn;
        // No cluster is twice in a stream.
        used += lcn === HOLE ? 0 : length;
      }
      vcn += length;
      if (!(length > 0 && vcn <= 2 ** 53 && used <= clusters)) throw bad(record);
      count++;
    }
    // An empty stream has 2^64 - 1 there.
    if (vcn !== highestVcn + 1 && !(count === 0 && lowestVcn === 0)) throw bad(record);
    starts[count] = vcn;
    return new Runs(starts, places, count);
  }

  get count(): number {
    return this.#count;
  }

  /** The first cluster that it has none for. */
  get end(): number {
    return this.#starts[this.#count] as number;
  }

  /** First cluster within the stream, where it lies, and how many there are, of the run with that index. */
  start(index: number): number {
    return this.#starts[index] as number;
  }

  cluster(index: number): number {
    return this.#clusters[index] as number;
  }

  length(index: number): number {
    return (this.#starts[index + 1] as number) - (this.#starts[index] as number);
  }

  /** The run that has a cluster of the stream; -1: none here. */
  find(vcn: number): number {
    const starts = this.#starts;
    // Who reads goes on where he was.
    const last = this.#last;
    if (last < this.#count && vcn >= (starts[last] as number)) {
      if (vcn < (starts[last + 1] as number)) return last;
      if (last + 1 < this.#count && vcn < (starts[last + 2] as number)) return this.#note(last + 1);
    }
    if (this.#count === 0 || vcn < (starts[0] as number) || vcn >= this.end) return -1;
    let low = 0;
    let high = this.#count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((starts[middle] as number) <= vcn) low = middle;
      else high = middle - 1;
    }
    return this.#note(low);
  }

  #note(index: number): number {
    this.#last = index;
    return index;
  }
}

function signed(buffer: Buffer, at: number, size: number): number {
  // Begun with the sign, small negative numbers stay exact in however many bytes.
  let value = ((buffer[at + size - 1] as number) << 24) >> 24;
  for (let n = size - 2; n >= 0; n--) value = value * 256 + (buffer[at + n] as number);
  return value;
}

function bad(record: number): IoError {
  return new IoError(EIO, `MFT record ${record}: a list of runs makes no sense`);
}
