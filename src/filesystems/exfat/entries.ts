/**
 * Sets of entries in exFAT's directories (Microsoft's exFAT specification, sections 6 and 7): a file's own entry, its
 * stream, and its name, with a checksum over all of them.
 */
import { bytes, type Of, structure, u8, u16, u32, u64 } from "../../layout/struct.js";
import type { DirectoryEntry } from "../clusters/entry.js";
import { SLOT, type Slots } from "../clusters/layout.js";
import { utf16ToUtf8 } from "../clusters/utf16.js";
import { secondsOf } from "./times.js";

export const EntryKind = {
  END: 0,
  BITMAP: 0x81,
  UPCASE: 0x82,
  LABEL: 0x83,
  FILE: 0x85,
  STREAM: 0xc0,
  NAME: 0xc1,
} as const;

const FileEntry = structure("exFAT file entry", SLOT, {
  SecondaryCount: u8(1),
  SetChecksum: u16(2),
  FileAttributes: u16(4),
  CreateTime: u16(8),
  CreateDate: u16(10),
  ModifyTime: u16(12),
  ModifyDate: u16(14),
  AccessTime: u16(16),
  AccessDate: u16(18),
  Create10ms: u8(20),
  Modify10ms: u8(21),
  CreateOffset: u8(22),
  ModifyOffset: u8(23),
  AccessOffset: u8(24),
});

const StreamEntry = structure("exFAT stream entry", SLOT, {
  GeneralSecondaryFlags: u8(1),
  NameLength: u8(3),
  ValidDataLength: u64(8),
  FirstCluster: u32(20),
  DataLength: u64(24),
});

/** An entry for the allocation bitmap or the up-case table. */
export const TableEntry = structure("exFAT table entry", SLOT, {
  EntryType: u8(0),
  BitmapFlags: u8(1),
  TableChecksum: u32(4),
  FirstCluster: u32(20),
  DataLength: u64(24),
});

export const LabelEntry = structure("exFAT label entry", SLOT, {
  CharacterCount: u8(1),
  VolumeLabel: bytes(2, 22),
});

/** GeneralSecondaryFlags: it has no chain, as its clusters follow each other (NoFatChain). */
const NO_CHAIN = 0x02;
/** A bit of the type of entries that are in use. */
const IN_USE = 0x80;
/** Entries of a set beside the file's own. */
const FEWEST_SECONDARY = 2;
const MOST_SECONDARY = 18;
const UNITS_EACH = 15;
const KNOWN_ATTRIBUTES = 0x37;

export class EntryReader {
  readonly #set = Buffer.alloc((MOST_SECONDARY + 1) * SLOT);
  readonly #units = new Uint16Array(MOST_SECONDARY * UNITS_EACH);
  readonly #file: Of<typeof FileEntry> = FileEntry.at(this.#set);
  readonly #stream: Of<typeof StreamEntry> = StreamEntry.at(this.#set, SLOT);

  /** See Layout.next, but that a directory has the number 0. */
  next(slots: Slots, from: number, out: DirectoryEntry): boolean {
    for (let slot = from; ; slot++) {
      const buffer = slots.locate(slot);
      if (buffer === undefined) return false;
      const kind = buffer[slots.at] as number;
      if (kind === EntryKind.END) return false;
      if (kind === EntryKind.FILE && this.#take(slots, slot, out)) return true;
    }
  }

  /** False: what follows the entry makes no set. */
  #take(slots: Slots, first: number, out: DirectoryEntry): boolean {
    const set = this.#set;
    let buffer = slots.locate(first) as Buffer;
    out.place = slots.place;
    const secondary = buffer[slots.at + 1] as number;
    if (secondary < FEWEST_SECONDARY || secondary > MOST_SECONDARY) return false;
    for (let n = 0; n <= secondary; n++) {
      const found = slots.locate(first + n);
      if (found === undefined) return false;
      buffer = found;
      buffer.copy(set, n * SLOT, slots.at, slots.at + SLOT);
      const kind = set[n * SLOT] as number;
      if (n === 1 ? kind !== EntryKind.STREAM : n > 1 && (kind & IN_USE) === 0) return false;
    }
    const file = this.#file;
    const stream = this.#stream;
    const length = stream.NameLength;
    let units = 0;
    for (let n = 2; n <= secondary && units < length; n++) {
      if (set[n * SLOT] !== EntryKind.NAME) break;
      for (let unit = 0; unit < UNITS_EACH; unit++)
        this.#units[units++] = set.readUInt16LE(n * SLOT + 2 + unit * 2);
    }
    out.nameLength = utf16ToUtf8(this.#units, 0, Math.min(units, length), out.name, 0);
    if (out.nameLength === 0) return false;
    out.aliasLength = 0;
    out.firstSlot = first;
    out.slot = first;
    out.nextSlot = first + secondary + 1;
    out.attributes = file.FileAttributes & KNOWN_ATTRIBUTES;
    out.isContiguous = (stream.GeneralSecondaryFlags & NO_CHAIN) !== 0;
    out.size = stream.DataLength;
    out.validSize = stream.ValidDataLength;
    out.firstCluster = out.size === 0 && !out.isDirectory ? 0 : stream.FirstCluster;
    out.isBad =
      units < length ||
      setChecksum(set, (secondary + 1) * SLOT) !== file.SetChecksum ||
      !(out.size <= Number.MAX_SAFE_INTEGER) ||
      out.validSize > out.size;
    this.#takeTimes(out);
    return true;
  }

  #takeTimes(out: DirectoryEntry): void {
    const file = this.#file;
    const { CreateDate, CreateTime, Create10ms, Modify10ms } = file;
    out.generation = (((CreateDate << 16) | CreateTime) ^ Math.imul(Create10ms, 0x9e3779b1)) >>> 0;
    out.mtime = secondsOf(file.ModifyDate, file.ModifyTime, file.ModifyOffset) + Math.floor(Modify10ms / 100);
    out.mtimeNsec = (Modify10ms % 100) * 10_000_000;
    // (To two seconds, as the kernel has it.)
    out.atime = Math.floor(secondsOf(file.AccessDate, file.AccessTime, file.AccessOffset) / 2) * 2;
    out.atimeNsec = 0;
    out.btime = secondsOf(CreateDate, CreateTime, file.CreateOffset) + Math.floor(Create10ms / 100);
    out.btimeNsec = (Create10ms % 100) * 10_000_000;
  }
}

/** The checksum over a set, which leaves out its own place. */
export function setChecksum(set: Buffer, length: number): number {
  let sum = 0;
  for (let at = 0; at < length; at++)
    if (at !== 2 && at !== 3) sum = (((sum << 15) | (sum >> 1)) + (set[at] as number)) & 0xffff;
  return sum;
}
