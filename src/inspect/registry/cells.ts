/**
 * The cells of a registry hive: a file of the form "regf", of which no more is read than is asked for. Structures are told
 * of in Maxim Suhanov's "Windows registry file format specification". Numbers are little-endian; a cell is named by its
 * offset from the end of the base block.
 */

/** What a hive is read from. */
export interface HiveFile {
  readonly size: number;
  /** At most `length` bytes from `position` on; fewer at the end only. Throws what the guest's disk answers. */
  read(position: number, length: number): Buffer;
}

const BASE_BLOCK = 4096;
const PAGE = 16 << 10;
/** Pages that are kept: 8 MiB. */
const MOST_PAGES = 512;
/** Cells that are looked at in one hive; real ones with all their programs need some ten thousand. */
const MOST_CELLS = 500_000;
/** An offset that leads nowhere. */
export const NOWHERE = 0xffff_ffff;

export class Cells {
  readonly root: number;
  /** Whether Windows had written changes to the hive's log and not yet all of them to the hive. */
  readonly isBehind: boolean;
  readonly minorVersion: number;
  readonly #file: HiveFile;
  readonly #pages = new Map<number, Buffer>();
  #left = MOST_CELLS;

  /** Throws an Error with a line if this is no hive. */
  constructor(file: HiveFile) {
    this.#file = file;
    const base = file.read(0, 512);
    if (base.length < 512 || base.toString("latin1", 0, 4) !== "regf")
      throw new Error("it is no registry hive");
    if (base.readUInt32LE(20) !== 1) throw new Error("its registry format is not known");
    this.minorVersion = base.readUInt32LE(24);
    this.isBehind = base.readUInt32LE(4) !== base.readUInt32LE(8);
    this.root = base.readUInt32LE(36);
  }

  /**
   * The bytes of a cell, at least `least`, and at most `most` of them: what is left over at a cell's end means nothing.
   * Throws an Error with a line if there is no such cell.
   */
  cell(offset: number, least: number, most: number): Buffer {
    if (--this.#left < 0) throw new Error("the hive has more cells than are looked at");
    // Its length is negative while the cell is in use.
    const length = -this.#bytes(offset, 4).readInt32LE(0) - 4;
    if (offset % 8 !== 0 || length < least) throw damaged(offset);
    return this.#bytes(offset + 4, Math.min(length, most));
  }

  /** The same, with the two letters that a cell of this kind begins with. */
  typed(offset: number, type: string, least: number, most: number): Buffer {
    const cell = this.cell(offset, least, most);
    if (cell.toString("latin1", 0, 2) !== type) throw damaged(offset);
    return cell;
  }

  #bytes(offset: number, length: number): Buffer {
    const position = BASE_BLOCK + offset;
    if (!(position + length <= this.#file.size)) throw damaged(offset);
    const page = Math.floor(position / PAGE);
    const at = position - page * PAGE;
    if (at + length <= PAGE) {
      const bytes = this.#page(page);
      if (at + length > bytes.length) throw damaged(offset);
      return bytes.subarray(at, at + length);
    }
    const bytes = this.#file.read(position, length);
    if (bytes.length < length) throw damaged(offset);
    return bytes;
  }

  #page(number: number): Buffer {
    const known = this.#pages.get(number);
    if (known !== undefined) return known;
    if (this.#pages.size >= MOST_PAGES) this.#pages.clear();
    const bytes = this.#file.read(number * PAGE, PAGE);
    this.#pages.set(number, bytes);
    return bytes;
  }
}

/** The error for a structure that makes no sense. */
export function damaged(offset: number): Error {
  return new Error(`the hive is damaged at 0x${(BASE_BLOCK + offset).toString(16)}`);
}
