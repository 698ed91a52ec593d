/**
 * Reads the log that the kernel's dm-log-writes target and QEMU's `blklogwrites` filter write: struct log_write_super in
 * the first sector; then for each request a sector with struct log_write_entry, and its data's sectors.
 */
import type { WriteKind, WriteRecord } from "../../queue/write-record.js";
import type { ByteStream } from "./byte-stream.js";
import { readU64 } from "./numbers.js";
import { type Ending, LARGEST_PIECE, type Recording } from "./recording.js";

/** WRITE_LOG_MAGIC, 0x6a736677736872, as it lies on the disk. */
export const LOG_WRITES_MAGIC = Buffer.from("7268737766736a00", "hex");
const VERSION = 1;
/** Bytes of the superblock, and of an entry, without what fills their sectors. */
export const LOG_SUPER_SIZE = 28;
export const LOG_ENTRY_SIZE = 32;
/** The bound of `blklogwrites`. */
const LARGEST_SECTOR = 1 << 24;

/** Flags of an entry. */
const FLUSH = 1;
const FUA = 2;
const DISCARD = 4;

/** One request as it is logged. */
export interface LogEntry {
  /** Bytes of the disk; a `length` of 0 is a mark, or a flush alone. */
  readonly offset: number;
  readonly length: number;
  /** Bytes of data that follow the entry's sector. */
  readonly dataLength: number;
  readonly isFlush: boolean;
  readonly isDiscard: boolean;
  readonly isFua: boolean;
}

/** From an entry's first LOG_ENTRY_SIZE bytes. Undefined for what is none. */
export function decodeLogEntry(head: Buffer, sectorSize: number): LogEntry | undefined {
  const offset = readU64(head, 0) * sectorSize;
  const length = readU64(head, 8) * sectorSize;
  const flags = readU64(head, 16);
  if (!Number.isSafeInteger(offset + length) || flags > 0xffffffff) return undefined;
  const isDiscard = (flags & DISCARD) !== 0;
  return {
    offset,
    length,
    dataLength: isDiscard ? 0 : length,
    isFlush: (flags & FLUSH) !== 0,
    isDiscard,
    isFua: (flags & FUA) !== 0,
  };
}

/** Whether sectors may have this size. */
export function isSectorSize(bytes: number): boolean {
  return bytes >= 512 && bytes <= LARGEST_SECTOR && (bytes & (bytes - 1)) === 0;
}

/** Throws RangeError for a log that cannot be read. */
export async function openLogWrites(stream: ByteStream): Promise<Recording> {
  const head = await stream.take(LOG_SUPER_SIZE);
  if (head === undefined) throw new RangeError("it ends within its superblock");
  const version = readU64(head, 8);
  if (version !== VERSION) throw new RangeError(`its version is ${version}; ${VERSION} is known here`);
  const sectorSize = head.readUInt32LE(24);
  if (!isSectorSize(sectorSize)) throw new RangeError(`sectors of ${sectorSize} bytes make no sense`);
  await stream.skip(sectorSize - LOG_SUPER_SIZE);
  const ending: Ending = { torn: undefined };
  // The number of entries is written with each flush: what follows may be of an older log.
  const count = readU64(head, 16);
  return { diskSize: undefined, ending, records: records(stream, sectorSize, count, ending) };
}

async function* records(
  stream: ByteStream,
  sectorSize: number,
  count: number,
  ending: Ending,
): AsyncGenerator<WriteRecord> {
  let sequence = 0;
  const record = (
    kind: WriteKind,
    offset: number,
    length: number,
    data: Buffer | undefined,
    fua: boolean,
  ) => ({
    kind,
    offset,
    length,
    data,
    fua,
    sequence: ++sequence,
    time: 0,
  });
  for (let entry = 0; entry < count; entry++) {
    const head = await stream.take(LOG_ENTRY_SIZE);
    if (head === undefined || !(await stream.skip(sectorSize - LOG_ENTRY_SIZE))) {
      ending.torn = `${count - entry} entries are missing`;
      return;
    }
    const logged = decodeLogEntry(head, sectorSize);
    if (logged === undefined) throw new RangeError(`its entry ${entry + 1} makes no sense`);
    const { offset, length, dataLength } = logged;
    if (logged.isFlush) yield record("flush", 0, 0, undefined, false);
    if (logged.isDiscard && length > 0) yield record("discard", offset, length, undefined, false);
    for (let done = 0; done < dataLength; done += LARGEST_PIECE) {
      const piece = Math.min(LARGEST_PIECE, dataLength - done);
      const data = await stream.take(piece);
      if (data === undefined) {
        ending.torn = `${count - entry} entries are missing`;
        return;
      }
      yield record("write", offset + done, piece, data, logged.isFua);
    }
  }
}
