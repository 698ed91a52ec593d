/** A source that counts how often it is read, so that whoever answers from it knows whether he did at all. */
import type { Source } from "../images/image.js";

/** Counts the reads of many sources. */
export interface ReadCount {
  reads: number;
}

export class CountedSource implements Source, ReadCount {
  reads = 0;
  readonly source: Source;
  readonly #all: ReadCount;

  /** `all` counts the reads of this source with those of others. */
  constructor(source: Source, all: ReadCount) {
    this.source = source;
    this.#all = all;
  }

  get size(): number {
    return this.source.size;
  }

  read(target: Buffer, targetOffset: number, length: number, position: number): number {
    this.reads++;
    this.#all.reads++;
    return this.source.read(target, targetOffset, length, position);
  }
}
