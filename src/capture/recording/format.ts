/**
 * slashcloud's own form of a recorded stream of writes (docs/recordings.md). All numbers are little-endian. A file is a
 * header and records, one after the other; it is only ever appended to, and what is not whole at its end is not there.
 */
import { crc32 } from "node:zlib";
import type { WriteKind, WriteRecord } from "../../queue/write-record.js";
import { readU64, writeU64 } from "./numbers.js";

export const MAGIC = Buffer.from("SLCLREC\n", "latin1");
const VERSION = 1;
/** Bytes of the file's header. Later versions may have longer ones: its length is in it. */
export const HEADER_SIZE = 40;
const LONGEST_HEADER = 4096;
/** Bytes of a record's header. */
export const RECORD_SIZE = 44;
/** "WREC" */
const RECORD_MAGIC = 0x43455257;
/** Bytes of one write. */
export const LARGEST_WRITE = 64 << 20;

/** A kind's number is its place in the list; 0 is none. */
const KINDS: ReadonlyArray<WriteKind | undefined> = [undefined, "write", "zeroes", "discard", "flush", "gap"];
const FUA = 1;
const NO_DATA = 2;

export interface FileHeader {
  readonly version: number;
  /** Bytes of the header. */
  readonly length: number;
  /** Bytes of the disk. */
  readonly diskSize: number;
  /** ms since 1970. */
  readonly created: number;
}

export function encodeHeader(diskSize: number, created: number): Buffer {
  const header = Buffer.alloc(HEADER_SIZE);
  MAGIC.copy(header);
  header.writeUInt32LE(VERSION, 8);
  header.writeUInt32LE(HEADER_SIZE, 12);
  writeU64(header, diskSize, 16);
  writeU64(header, created, 24);
  header.writeUInt32LE(crc32(header.subarray(0, 36)), 36);
  return header;
}

/** From the file's first HEADER_SIZE bytes. Throws RangeError for one that cannot be read. */
export function decodeHeader(header: Buffer): FileHeader {
  const version = header.readUInt32LE(8);
  const length = header.readUInt32LE(12);
  if (version !== VERSION) throw new RangeError(`its version is ${version}; ${VERSION} is known here`);
  if (header.readUInt32LE(36) !== crc32(header.subarray(0, 36)))
    throw new RangeError("its header is damaged");
  if (length < HEADER_SIZE || length > LONGEST_HEADER) throw new RangeError("its header is damaged");
  return { version, length, diskSize: readU64(header, 16), created: readU64(header, 24) };
}

/** A record's header; its data, if it has any, is to follow. */
export function encodeRecord({ kind, offset, length, data, fua, sequence, time }: WriteRecord): Buffer {
  const header = Buffer.alloc(RECORD_SIZE);
  header.writeUInt32LE(RECORD_MAGIC, 0);
  header.writeUInt8(KINDS.indexOf(kind), 4);
  header.writeUInt8((fua ? FUA : 0) | (kind === "write" && data === undefined ? NO_DATA : 0), 5);
  writeU64(header, sequence, 8);
  writeU64(header, time, 16);
  writeU64(header, offset, 24);
  writeU64(header, length, 32);
  header.writeUInt32LE(checksum(header, data), 40);
  return header;
}

/** A record without its data. Undefined for what is none. */
export function decodeRecord(header: Buffer): Omit<WriteRecord, "data"> | undefined {
  if (header.readUInt32LE(0) !== RECORD_MAGIC) return undefined;
  const kind = KINDS[header.readUInt8(4)];
  const offset = readU64(header, 24);
  const length = readU64(header, 32);
  if (kind === undefined || !Number.isSafeInteger(offset + length)) return undefined;
  if (hasData(header) && length > LARGEST_WRITE) return undefined;
  return {
    kind,
    offset,
    length,
    fua: (header.readUInt8(5) & FUA) !== 0,
    sequence: readU64(header, 8),
    time: readU64(header, 16),
  };
}

/** Whether a record's `length` bytes of data follow its header: a write's do, unless whoever told it left them out. */
export function hasData(header: Buffer): boolean {
  return header.readUInt8(4) === KINDS.indexOf("write") && (header.readUInt8(5) & NO_DATA) === 0;
}

/** Whether a record's header and data are as they were written. */
export function isWhole(header: Buffer, data: Buffer | undefined): boolean {
  return header.readUInt32LE(40) === checksum(header, data);
}

function checksum(header: Buffer, data: Buffer | undefined): number {
  const sum = crc32(header.subarray(0, 40));
  return data === undefined ? sum : crc32(data, sum);
}
