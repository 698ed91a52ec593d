/**
 * SQLite's write-ahead log: pages that are newer than those in the database (https://www.sqlite.org/fileformat2.html#walformat).
 * A database that a guest uses just now, or that lost its power, has its last changes there.
 */

const HEADER = 32;
const FRAME_HEADER = 24;
/** Its last bit tells in which order checksums take bytes. */
const MAGIC = 0x377f0682;

/** A database's pages, as whoever copies it can write them. */
export interface PageTarget {
  write(bytes: Buffer, position: number): void;
  /** Sets the length. */
  truncate(length: number): void;
}

/** Writes the pages of all transactions that are whole. Returns how many there were; 0 for what is no log. */
export function applyWriteAheadLog(log: Buffer, pageSize: number, target: PageTarget): number {
  if (log.length < HEADER || (log.readUInt32BE(0) & ~1) !== MAGIC || log.readUInt32BE(8) !== pageSize)
    return 0;
  const sum = new Checksum((log.readUInt32BE(0) & 1) === 1);
  sum.add(log, 0, HEADER - 8);
  if (!sum.is(log, HEADER - 8)) return 0;
  const committed = new Map<number, number>();
  const pending = new Map<number, number>();
  let pages = 0;
  for (let at = HEADER; at + FRAME_HEADER + pageSize <= log.length; at += FRAME_HEADER + pageSize) {
    // The salts tell frames of this round from what is left of the one before.
    if (log.compare(log, at + 8, at + 16, 16, 24) !== 0) break;
    sum.add(log, at, at + 8);
    sum.add(log, at + FRAME_HEADER, at + FRAME_HEADER + pageSize);
    if (!sum.is(log, at + 16)) break;
    pending.set(log.readUInt32BE(at), at + FRAME_HEADER);
    const pagesAfter = log.readUInt32BE(at + 4);
    if (pagesAfter === 0) continue;
    for (const [page, place] of pending) committed.set(page, place);
    pending.clear();
    pages = pagesAfter;
  }
  if (pages === 0) return 0;
  let written = 0;
  for (const [page, place] of committed) {
    if (page === 0 || page > pages) continue;
    target.write(log.subarray(place, place + pageSize), (page - 1) * pageSize);
    written++;
  }
  target.truncate(pages * pageSize);
  return written;
}

class Checksum {
  readonly #isBig: boolean;
  #first = 0;
  #second = 0;

  constructor(isBig: boolean) {
    this.#isBig = isBig;
  }

  add(bytes: Buffer, from: number, to: number): void {
    for (let at = from; at < to; at += 8) {
      this.#first = (this.#first + this.#word(bytes, at) + this.#second) >>> 0;
      this.#second = (this.#second + this.#word(bytes, at + 4) + this.#first) >>> 0;
    }
  }

  is(bytes: Buffer, at: number): boolean {
    return bytes.readUInt32BE(at) === this.#first && bytes.readUInt32BE(at + 4) === this.#second;
  }

  #word(bytes: Buffer, at: number): number {
    return this.#isBig ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at);
  }
}
