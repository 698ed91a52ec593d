/** The order of names in directories (COLLATION_FILE_NAME): by their units in upper case, as $UpCase has that. */

import type { Log } from "../../images/image.js";
import { EIO, IoError } from "../../images/io-error.js";
import { AttributeType } from "./attribute.js";
import { Inode } from "./inode.js";
import { type MasterFileTable, SystemRecord } from "./mft.js";
import { Stream } from "./stream.js";

/** As many units as there are. */
const UNITS = 65536;

/** By unit: the same in upper case. */
export type UpperCase = Uint16Array;

/** The volume's own table; where it cannot be read, Unicode's as it is known here, and a line in the log. */
export function readUpperCase(mft: MasterFileTable, log: Log): UpperCase {
  try {
    const inode = new Inode(mft).load(SystemRecord.UPCASE);
    const data = inode.find(AttributeType.DATA);
    if (data < 0) throw new IoError(EIO, "there is no data");
    const stream = new Stream(mft, inode, data);
    const bytes = Buffer.alloc(UNITS * 2);
    if (stream.size < bytes.length) throw new IoError(EIO, `${stream.size} bytes are too few`);
    stream.read(0, bytes.length, bytes, 0);
    const table = new Uint16Array(UNITS);
    for (let unit = 0; unit < UNITS; unit++) table[unit] = bytes.readUInt16LE(unit * 2);
    if (table[0x61] !== 0x41) throw new IoError(EIO, "it is no such table");
    return table;
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    log(`$UpCase: ${error.message}: names that are not ASCII may not be found`);
    return unicodeUpperCase();
  }
}

function unicodeUpperCase(): UpperCase {
  return Uint16Array.from({ length: UNITS }, (_, unit) => {
    const upper = String.fromCharCode(unit).toUpperCase();
    return upper.length === 1 ? upper.charCodeAt(0) : unit;
  });
}

/** A name that is looked for. */
export class WantedName {
  readonly units = new Uint16Array(255);
  length = 0;
  readonly #upper = new Uint16Array(255);
  readonly #table: UpperCase;

  constructor(table: UpperCase) {
    this.#table = table;
  }

  /** To be called when `units` have been filled. */
  enter(length: number): void {
    this.length = length;
    for (let n = 0; n < length; n++) this.#upper[n] = this.#table[this.units[n] as number] as number;
  }

  /** Less than 0 if it comes before the name of `units` units at `at`, 0 if only upper and lower case tell them apart. */
  compare(name: Buffer, at: number, units: number): number {
    const upper = this.#upper;
    const table = this.#table;
    const length = Math.min(this.length, units);
    for (let n = 0; n < length; n++) {
      const unit = (name[at + n * 2] as number) | ((name[at + n * 2 + 1] as number) << 8);
      const difference = (upper[n] as number) - (table[unit] as number);
      if (difference !== 0) return difference;
    }
    return this.length - units;
  }

  /** Whether it is just that name; both are known to be equal but for the case. */
  equals(name: Buffer, at: number): boolean {
    for (let n = 0; n < this.length; n++) {
      const unit = (name[at + n * 2] as number) | ((name[at + n * 2 + 1] as number) << 8);
      if (unit !== this.units[n]) return false;
    }
    return true;
  }
}
