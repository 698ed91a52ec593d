/** Sectors of one version: what is kept or has changed, and the disk where neither has anything. */
import type { Source } from "../../../images/image.js";
import { EIO, IoError } from "../../../images/io-error.js";
import { readFully } from "../../../versions/block-cache.js";
import type { Kept } from "../../agreement/kept.js";
import type { Blocks } from "../blocks.js";

/** The version that has been agreed on. Sectors that are not kept are no metadata of it, and are read from their places. */
export class KeptBlocks implements Blocks {
  readonly at = 0;
  readonly #source: Source;
  readonly #kept: Kept;
  readonly #size: number;

  /** `size`: bytes of a sector. */
  constructor(source: Source, kept: Kept, size: number) {
    this.#source = source;
    this.#kept = kept;
    this.#size = size;
  }

  locate(sector: number): Buffer {
    return this.#kept.get(sector) ?? readSector(this.#source, sector, this.#size);
  }

  /** See View.readData. */
  readData(sector: number, offset: number, length: number, target: Buffer, targetOffset: number): void {
    const position = sector * this.#size + offset;
    if (readFully(this.#source, target, length, position, targetOffset) < length) throw beyond(sector);
  }
}

/** What is on the disk now: sectors that differ from those kept, and others as they are asked for. */
export class CandidateBlocks implements Blocks {
  readonly at = 0;
  /** Sectors that differ, or were none of those kept, as they were when they were first read. */
  readonly sectors: Map<number, Buffer>;
  readonly #source: Source;
  readonly #kept: Kept;
  readonly #size: number;
  #room: number;

  /** `room`: sectors that may come with those that have changed. */
  constructor(source: Source, kept: Kept, size: number, changed: ReadonlyMap<number, Buffer>, room: number) {
    this.#source = source;
    this.#kept = kept;
    this.#size = size;
    this.sectors = new Map(changed);
    this.#room = room;
  }

  /** Whether there was not enough room. */
  get isTooMuch(): boolean {
    return this.#room < 0;
  }

  locate(sector: number): Buffer {
    const known = this.sectors.get(sector) ?? this.#kept.get(sector);
    if (known !== undefined) return known;
    if (--this.#room < 0) throw new IoError(EIO, "more metadata than can be kept");
    const bytes = readSector(this.#source, sector, this.#size);
    this.sectors.set(sector, bytes);
    return bytes;
  }
}

/** A copy of a sector as it is. Throws IoError. */
export function readSector(source: Source, sector: number, size: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(size);
  if (readFully(source, bytes, size, sector * size) < size) throw beyond(sector);
  return bytes;
}

function beyond(sector: number): IoError {
  return new IoError(EIO, `sector ${sector} lies past the end of the volume`);
}
