import type { Source } from "./image.js";

/** A byte range of a source: a partition of a disk, say. It ends where the source ends, if that is earlier. */
export class Range implements Source {
  readonly source: Source;
  /** The range's first byte in the source. */
  readonly offset: number;
  /** Bytes that the range has if the source is long enough; Infinity for all that follows `offset`. */
  readonly length: number;

  constructor(source: Source, offset: number, length: number) {
    this.source = source;
    this.offset = offset;
    this.length = length;
  }

  get size(): number {
    return Math.max(0, Math.min(this.length, this.source.size - this.offset));
  }

  get revision(): number | undefined {
    return this.source.revision;
  }

  read(target: Buffer, targetOffset: number, length: number, position: number): number {
    const there = Math.min(length, this.length - position);
    // The source's end is left to the source, which need not look at its size for that.
    return there > 0 ? this.source.read(target, targetOffset, there, this.offset + position) : 0;
  }
}
