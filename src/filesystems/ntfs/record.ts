/** A record of the MFT (NTFS documentation, "File Record"), in a buffer of its own, its fix-ups applied. */
import { EIO, IoError } from "../../images/io-error.js";
import { type Of, structure, u16, u32 } from "../../layout/struct.js";
import { applyFixUps, HalfWritten } from "./fix-ups.js";

const RecordHeader = structure("FILE record", 48, {
  magic: u32(0x0),
  sequence: u16(0x10),
  links: u16(0x12),
  attributesOffset: u16(0x14),
  flags: u16(0x16),
  bytesInUse: u32(0x18),
  baseLow: u32(0x20),
  baseHigh: u16(0x24),
  baseSequence: u16(0x26),
});

/** "FILE" */
const MAGIC = 0x454c4946;
export const RecordFlags = { IN_USE: 0x1, DIRECTORY: 0x2 } as const;
/** The type that ends a record's attributes. */
const END = 0xffff_ffff;
/** Bytes of the shortest attribute. */
const SHORTEST = 24;

/** A number of a record, and how often that record had been used when this was written ("file reference"). */
export const REFERENCE_SIZE = 8;
const NO_RECORD = 2 ** 32;

/**
 * The number of the record that a reference of eight bytes names. What the tree has no numbers for (an MFT of more than
 * 4 TiB) comes as 2^32, which is no record's.
 */
export function referenceAt(buffer: Buffer, at: number): number {
  return buffer.readUInt16LE(at + 4) !== 0 ? NO_RECORD : buffer.readUInt32LE(at);
}

/** The sequence number in a reference. */
export function referenceSequenceAt(buffer: Buffer, at: number): number {
  return buffer.readUInt16LE(at + 6);
}

export class FileRecord {
  number = -1;
  readonly buffer: Buffer;
  readonly header: Of<typeof RecordHeader>;
  /** One past the last byte of its attributes. */
  #end = 0;

  /** `size`: bytes of a record. */
  constructor(size: number) {
    this.buffer = Buffer.alloc(size);
    this.header = RecordHeader.at(this.buffer);
  }

  /** To be called when the buffer has been filled with record `number`. Throws HalfWritten, or IoError (EIO) for one that is bad. */
  enter(number: number): void {
    this.number = number;
    const { header, buffer } = this;
    if (header.magic !== MAGIC) throw new IoError(EIO, `MFT record ${number} is none`);
    if (!applyFixUps(buffer, 0, buffer.length)) throw new HalfWritten(`MFT record ${number}`);
    this.#end = header.bytesInUse;
    if (this.#end > buffer.length) throw this.#bad();
  }

  get isInUse(): boolean {
    return (this.header.flags & RecordFlags.IN_USE) !== 0;
  }

  get isDirectory(): boolean {
    return (this.header.flags & RecordFlags.DIRECTORY) !== 0;
  }

  /** The record whose attributes it goes on with; its own number if it is no extension. */
  get base(): number {
    const { baseLow, baseHigh } = this.header;
    if (baseHigh !== 0) return NO_RECORD;
    // Record 0 is $MFT, whose extensions name it with its sequence number.
    return baseLow === 0 && this.header.baseSequence === 0 ? this.number : baseLow;
  }

  /** Where the first attribute lies; -1: there is none. Throws IoError (EIO). */
  firstAttribute(): number {
    return this.#checked(this.header.attributesOffset);
  }

  /** Where the attribute after that at `at` lies; -1: it was the last. Throws IoError (EIO). */
  nextAttribute(at: number): number {
    return this.#checked(at + this.buffer.readUInt32LE(at + 4));
  }

  #checked(at: number): number {
    const { buffer } = this;
    if (at + 4 > this.#end) throw this.#bad();
    if (buffer.readUInt32LE(at) === END) return -1;
    if (at + SHORTEST > this.#end) throw this.#bad();
    const length = buffer.readUInt32LE(at + 4);
    if (length < SHORTEST || (length & 7) !== 0 || at + length > this.#end) throw this.#bad();
    return at;
  }

  #bad(): IoError {
    return new IoError(EIO, `MFT record ${this.number}: its attributes make no sense`);
  }
}
