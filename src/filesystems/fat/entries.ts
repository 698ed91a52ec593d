/**
 * Entries of FAT's directories: names of 8 and 3 characters, and before them the slots of a long name
 * (struct msdos_dir_entry, struct msdos_dir_slot). What makes no sense is passed over as the kernel does
 * (__fat_readdir, fat_parse_long, fat_parse_short).
 */
import { type Of, structure, u8, u16, u32 } from "../../layout/struct.js";
import type { DirectoryEntry } from "../clusters/entry.js";
import type { Slots } from "../clusters/layout.js";
import { utf16ToUtf8 } from "../clusters/utf16.js";
import { CODE_PAGE, LOWER } from "./code-page.js";
import { secondsOf } from "./times.js";

export const ShortEntry = structure("msdos_dir_entry", 32, {
  attr: u8(11),
  lcase: u8(12),
  ctime_cs: u8(13),
  ctime: u16(14),
  cdate: u16(16),
  adate: u16(18),
  starthi: u16(20),
  time: u16(22),
  date: u16(24),
  start: u16(26),
  size: u32(28),
});

/** Attributes. */
export const VOLUME = 0x08;
export const LONG_NAME = 0x0f;
const KNOWN = 0x3f;
/** First bytes of a name. */
export const DELETED = 0xe5;
const KANJI_E5 = 0x05;
/** lcase: the name, or what follows the point, is in small letters. */
const LOWER_BASE = 0x08;
const LOWER_EXTENSION = 0x10;
const SPACE = 0x20;
const DOT = 0x2e;
/** A slot of a long name: the first on the disk, and so the last of the name, bears the bit. */
const LAST_SLOT = 0x40;
const MOST_SLOTS = 20;
const UNITS = 13;
/** Where a slot has its characters. */
const UNIT_PLACES = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
const CHECKSUM = 13;

const NAME = 8;
const SHORT_NAME = 11;

export class EntryReader {
  readonly #isFat32: boolean;
  readonly #units = new Uint16Array(MOST_SLOTS * UNITS);
  readonly #short = new Uint16Array(NAME + 1 + 3);
  readonly #fields: Of<typeof ShortEntry> = ShortEntry.at(Buffer.alloc(32));

  constructor(isFat32: boolean) {
    this.#isFat32 = isFat32;
  }

  /** See Layout.next; the numbers of directories are told by `inodeOf`, which gets the first cluster. */
  next(slots: Slots, from: number, out: DirectoryEntry, inodeOf: (cluster: number) => number): boolean {
    for (let slot = from; ; slot++) {
      const buffer = slots.locate(slot);
      if (buffer === undefined) return false;
      const { at } = slots;
      const first = buffer[at] as number;
      if (first === 0 || first === DELETED) continue;
      const attributes = buffer[at + 11] as number;
      if (attributes === LONG_NAME) {
        const end = this.#long(slots, slot, out);
        if (end < 0) return false;
        if (out.slot === end && this.#short11(slots, slot, end, out, inodeOf)) return true;
        // Either the slot that was come to is looked at again, or it has been passed over.
        slot = this.#isPassed ? end : end - 1;
        continue;
      }
      if ((attributes & VOLUME) !== 0) continue;
      out.nameLength = 0;
      if (this.#short11(slots, slot, slot, out, inodeOf)) return true;
    }
  }

  /** Whether the slot that `long` came to is of no use. */
  #isPassed = false;

  /**
   * Reads a long name from slot `from` on. Returns the slot that it came to, -1 at the end of the directory; if that is
   * `out.slot`, it is the short entry. `out.nameLength` is 0 where the name is none of that entry's.
   */
  #long(slots: Slots, from: number, out: DirectoryEntry): number {
    out.slot = -1;
    let slot = from;
    // Each round begins at a slot of a long name.
    for (;;) {
      let buffer = slots.locate(slot);
      if (buffer === undefined) return -1;
      let { at } = slots;
      const id = buffer[at] as number;
      this.#isPassed = true;
      const count = id & ~LAST_SLOT;
      if ((id & LAST_SLOT) === 0 || count > MOST_SLOTS || count === 0) return slot;
      const checksum = buffer[at + CHECKSUM] as number;
      const units = count * UNITS;
      let isNewName = false;
      for (let left = count - 1; ; left--) {
        for (let n = 0; n < UNITS; n++)
          this.#units[left * UNITS + n] = buffer.readUInt16LE(at + (UNIT_PLACES[n] as number));
        slot++;
        buffer = slots.locate(slot);
        if (buffer === undefined) return -1;
        at = slots.at;
        if (left === 0) break;
        if (buffer[at + 11] !== LONG_NAME) {
          this.#isPassed = false;
          return slot;
        }
        if (((buffer[at] as number) & ~LAST_SLOT) !== left || buffer[at + CHECKSUM] !== checksum) {
          isNewName = true;
          break;
        }
      }
      if (!isNewName) {
        const first = buffer[at] as number;
        const attributes = buffer[at + 11] as number;
        if (first === DELETED) return slot;
        if (attributes !== LONG_NAME) {
          if (first === 0 || (attributes & VOLUME) !== 0) return slot;
          out.slot = slot;
          const isIts = shortNameChecksum(buffer, at) === checksum;
          out.nameLength = isIts ? utf16ToUtf8(this.#units, 0, units, out.name, 0) : 0;
          return slot;
        }
      }
    }
  }

  /** Takes a short entry; `out.name` is its long name, if it has one. False: it has no name at all. */
  #short11(
    slots: Slots,
    firstSlot: number,
    slot: number,
    out: DirectoryEntry,
    inodeOf: (cluster: number) => number,
  ): boolean {
    const buffer = slots.locate(slot);
    if (buffer === undefined) return false;
    const { at } = slots;
    const fields = this.#fields.move(buffer, at);
    const units = this.#shortName(buffer, at, fields.lcase);
    if (units === 0 && out.nameLength === 0) {
      this.#isPassed = true;
      return false;
    }
    out.aliasLength = utf16ToUtf8(this.#short, 0, units, out.alias, 0);
    out.firstSlot = out.nameLength === 0 ? slot : firstSlot;
    if (out.nameLength === 0) out.nameLength = out.alias.copy(out.name, 0, 0, out.aliasLength);
    out.slot = slot;
    out.nextSlot = slot + 1;
    out.attributes = fields.attr & KNOWN;
    out.firstCluster = fields.start + (this.#isFat32 ? fields.starthi * 0x1_0000 : 0);
    out.isContiguous = false;
    out.place = slots.place;
    out.size = out.isDirectory ? 0 : fields.size;
    out.validSize = out.size;
    const directory = out.isDirectory ? inodeOf(out.firstCluster) : 0;
    out.isBad = out.isDirectory && directory === 0;
    out.ino = directory === 0 ? out.place : directory;
    const { ctime, cdate, ctime_cs } = fields;
    out.generation = (((cdate << 16) | ctime) ^ Math.imul(ctime_cs, 0x9e3779b1)) >>> 0;
    out.mtime = secondsOf(fields.date, fields.time);
    out.mtimeNsec = 0;
    out.atime = secondsOf(fields.adate, 0);
    out.atimeNsec = 0;
    out.btime = secondsOf(cdate, ctime) + Math.floor(ctime_cs / 100);
    out.btimeNsec = (ctime_cs % 100) * 10_000_000;
    return true;
  }

  /** Puts the name into #short; returns how many characters it has. */
  #shortName(buffer: Buffer, at: number, lcase: number): number {
    const name = this.#short;
    let units = 0;
    let length = 0;
    for (let n = 0; n < NAME; n++) {
      let byte = buffer[at + n] as number;
      if (n === 0 && byte === KANJI_E5) byte = DELETED;
      if (byte === 0) break;
      name[units++] = CODE_PAGE[(lcase & LOWER_BASE) !== 0 ? (LOWER[byte] as number) : byte] as number;
      if (byte !== SPACE) length = units;
    }
    units = length;
    name[units++] = DOT;
    for (let n = NAME; n < SHORT_NAME; n++) {
      const byte = buffer[at + n] as number;
      if (byte === 0) break;
      name[units++] = CODE_PAGE[(lcase & LOWER_EXTENSION) !== 0 ? (LOWER[byte] as number) : byte] as number;
      if (byte !== SPACE) length = units;
    }
    return length;
  }
}

/** The sum over a short name that the slots of its long name bear (fat_checksum). */
export function shortNameChecksum(buffer: Buffer, at: number): number {
  let sum = 0;
  for (let n = 0; n < SHORT_NAME; n++)
    sum = (((sum & 1) << 7) + (sum >> 1) + (buffer[at + n] as number)) & 0xff;
  return sum;
}
