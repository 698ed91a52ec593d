import { decompressLzx } from "./lzx.js";
import { badData } from "./output.js";
import { decompressXpress } from "./xpress.js";

/** The reparse tag of files that the Windows Overlay Filter shows (IO_REPARSE_TAG_WOF). */
export const WOF_TAG = 0x80000017;

/** The stream with the compressed bytes; the unnamed stream has the file's size, and a hole. */
export const WOF_STREAM = "WofCompressedData";

/** WOF_EXTERNAL_INFO: version, provider; FILE_PROVIDER_EXTERNAL_INFO_V1: version, algorithm. */
const VERSION = 1;
const FILE_PROVIDER = 2;
const INFO_BYTES = 16;

/** FILE_PROVIDER_COMPRESSION_*: the algorithm's number is the index. */
const ALGORITHMS: readonly WofAlgorithm[] = [
  { name: "xpress4k", chunkBytes: 4096, decompress: decompressXpress },
  { name: "lzx", chunkBytes: 32_768, decompress: decompressLzx },
  { name: "xpress8k", chunkBytes: 8192, decompress: decompressXpress },
  { name: "xpress16k", chunkBytes: 16_384, decompress: decompressXpress },
];

/** The largest chunk of all algorithms, in bytes. */
export const WOF_LARGEST_CHUNK = 32_768;

/** How a file is compressed. */
export interface WofAlgorithm {
  readonly name: string;
  /** What each chunk has when decompressed, the last one excepted. */
  readonly chunkBytes: number;
  /** Decompresses one chunk that is not stored: see `decompressXpress`. */
  readonly decompress: (
    source: Buffer,
    from: number,
    length: number,
    target: Buffer,
    at: number,
    room: number,
  ) => number;
}

/**
 * The algorithm of a file with the reparse tag WOF_TAG, or null if its bytes are elsewhere (in a WIM archive) or its
 * provider is not known.
 * @param data has the reparse data, which follow the tag, the length and the reserved field (8 bytes)
 */
export function wofAlgorithm(data: Buffer, from: number, length: number): WofAlgorithm | null {
  if (length < INFO_BYTES || from + length > data.length) {
    return null;
  }
  if (
    data.readUInt32LE(from) !== VERSION ||
    data.readUInt32LE(from + 4) !== FILE_PROVIDER ||
    data.readUInt32LE(from + 8) !== VERSION
  ) {
    return null;
  }
  return ALGORITHMS[data.readUInt32LE(from + 12)] ?? null;
}

/** How many chunks a file of `fileBytes` bytes has. */
export function wofChunks(algorithm: WofAlgorithm, fileBytes: number): number {
  return Math.ceil(fileBytes / algorithm.chunkBytes);
}

/** The bytes of each entry of the chunk table: where chunk 1, 2, ... begins, relative to the table's end. */
export function wofEntryBytes(fileBytes: number): number {
  return fileBytes > 0xffff_ffff ? 8 : 4;
}

/** How many bytes the chunk table takes at the beginning of the stream. */
export function wofTableBytes(algorithm: WofAlgorithm, fileBytes: number): number {
  return Math.max(0, wofChunks(algorithm, fileBytes) - 1) * wofEntryBytes(fileBytes);
}

/** The chunk that has the file's byte `offset`. */
export function wofChunkOf(algorithm: WofAlgorithm, offset: number): number {
  return Math.floor(offset / algorithm.chunkBytes);
}

/** How many bytes chunk `chunk` has when decompressed. */
export function wofChunkRoom(algorithm: WofAlgorithm, fileBytes: number, chunk: number): number {
  return Math.min(algorithm.chunkBytes, fileBytes - chunk * algorithm.chunkBytes);
}

/**
 * Where in the stream the entries lie that tell the range of chunk `chunk`: from this byte on, `wofEntriesLength`
 * bytes: one entry for the first chunk (its end) and the last (its beginning), two for others, none for an only one.
 */
export function wofEntriesAt(fileBytes: number, chunk: number): number {
  return Math.max(0, chunk - 1) * wofEntryBytes(fileBytes);
}

/** How many bytes of entries to read at `wofEntriesAt`: 16 at most. */
export function wofEntriesLength(algorithm: WofAlgorithm, fileBytes: number, chunk: number): number {
  const entries = wofChunks(algorithm, fileBytes) - 1;
  return (Math.min(chunk + 1, entries) - Math.max(0, chunk - 1)) * wofEntryBytes(fileBytes);
}

/** A chunk's range in the stream, in bytes. */
export interface WofRange {
  offset: number;
  length: number;
}

/**
 * Where chunk `chunk` lies in the stream.
 * @param entries has at `from` what was read at `wofEntriesAt`
 * @param streamBytes the size of the stream
 * @param out takes the range
 * @throws IoError(EIO) if the range is empty, lies outside the stream, or is longer than the chunk when decompressed
 */
export function wofRange(
  algorithm: WofAlgorithm,
  fileBytes: number,
  streamBytes: number,
  chunk: number,
  entries: Buffer,
  from: number,
  out: WofRange,
): void {
  const table = wofTableBytes(algorithm, fileBytes);
  const width = wofEntryBytes(fileBytes);
  const begin = chunk === 0 ? 0 : entryAt(entries, from, width);
  const end =
    chunk === wofChunks(algorithm, fileBytes) - 1
      ? streamBytes - table
      : entryAt(entries, from + (chunk === 0 ? 0 : width), width);
  const length = end - begin;
  if (!(length > 0 && length <= wofChunkRoom(algorithm, fileBytes, chunk) && table + end <= streamBytes)) {
    throw badData("the table of chunks is wrong");
  }
  out.offset = table + begin;
  out.length = length;
}

function entryAt(entries: Buffer, from: number, width: number): number {
  if (from + width > entries.length) {
    throw badData("the table of chunks ends too soon");
  }
  const low = entries.readUInt32LE(from);
  return width === 4 ? low : low + entries.readUInt32LE(from + 4) * 2 ** 32;
}

/**
 * Decompresses a chunk, or copies one that is stored: one that has as many bytes in the stream as in the file.
 * @param source has the chunk's `length` bytes at `from`
 * @param room what `wofChunkRoom` says
 * @returns how many bytes were written: `room`
 * @throws IoError(EIO) if the data makes no sense
 */
export function wofDecompress(
  algorithm: WofAlgorithm,
  source: Buffer,
  from: number,
  length: number,
  target: Buffer,
  at: number,
  room: number,
): number {
  if (length === room && from + length <= source.length && at + room <= target.length) {
    source.copy(target, at, from, from + length);
    return room;
  }
  return algorithm.decompress(source, from, length, target, at, room);
}
