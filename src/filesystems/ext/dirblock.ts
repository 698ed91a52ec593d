/**
 * Directory blocks (struct ext4_dir_entry_2; ext4 documentation, "Linear (Classic) Directories"), where they lie in a
 * buffer, and their checksums.
 */
import { crc32c } from "../../layout/crc32c.js";
import { EntryType } from "../filesystem.js";

/** Bytes of an entry before its name. */
const HEADER = 8;
/** The shortest entry, and so the room that one takes whose inode is 0. */
const SHORTEST = 12;
/** The pretended entry that carries a leaf's checksum (struct ext4_dir_entry_tail), and its pretended file type. */
const TAIL = 12;
const TAIL_TYPE = 0xde;
const ZEROS = Buffer.alloc(4);

/** Directory entry types by the file type stored in the entry. */
const TYPES = Uint8Array.of(
  EntryType.UNKNOWN,
  EntryType.REGULAR,
  EntryType.DIRECTORY,
  EntryType.CHARACTER,
  EntryType.BLOCK,
  EntryType.FIFO,
  EntryType.SOCKET,
  EntryType.LINK,
);

/** Walks the entries of one block, or of one part of an inline directory. */
export class DirectoryBlock {
  buffer: Buffer = ZEROS;
  /** Where the current entry lies, and where the entries end. */
  at = 0;
  #end = 0;
  #next = 0;
  readonly #blockSize: number;
  readonly #hasFileType: boolean;

  constructor(blockSize: number, hasFileType: boolean) {
    this.#blockSize = blockSize;
    this.#hasFileType = hasFileType;
  }

  /** Begins before the first entry of `length` bytes at `start`. */
  enter(buffer: Buffer, start: number, length: number): void {
    this.buffer = buffer;
    this.at = start;
    this.#next = start;
    this.#end = start + length;
  }

  /** Goes to the next entry; false at the end, or where an entry is bad: then `isBad` is true. */
  step(): boolean {
    const at = this.#next;
    this.at = at;
    this.isBad = false;
    if (at >= this.#end) return false;
    if (at + HEADER > this.#end) {
      this.isBad = true;
      return false;
    }
    const length = this.#recordLength(at);
    const nameLength = this.buffer[at + 6] as number;
    const left = this.#end - at;
    if (length < SHORTEST || (length & 3) !== 0 || length > left || HEADER + nameLength > length) {
      this.isBad = true;
      return false;
    }
    this.#next = at + length;
    return true;
  }
  isBad = false;

  /** Offset of the entry after the current one. */
  get next(): number {
    return this.#next;
  }
  /** 0: the entry is not in use. */
  get inode(): number {
    return this.buffer.readUInt32LE(this.at);
  }
  get nameAt(): number {
    return this.at + HEADER;
  }
  get nameLength(): number {
    return this.buffer[this.at + 6] as number;
  }
  /** An EntryType. */
  get type(): number {
    return this.#hasFileType
      ? (TYPES[this.buffer[this.at + 7] as number] ?? EntryType.UNKNOWN)
      : EntryType.UNKNOWN;
  }

  /** rec_len, whose lowest two bits extend it beyond 16 bits in 64 KiB blocks (ext4_rec_len_from_disk). */
  #recordLength(at: number): number {
    const stored = this.buffer.readUInt16LE(at + 4);
    if (this.#blockSize < 65536) return stored;
    if (stored === 65535 || stored === 0) return this.#blockSize;
    return (stored & 65532) | ((stored & 3) << 16);
  }
}

/** Offset of the hash tree's count and limit in a block, -1 if it is a leaf (get_dx_countlimit). */
export function hashCountAt(buffer: Buffer, at: number, blockSize: number): number {
  const first = buffer.readUInt16LE(at + 4);
  if (
    buffer.readUInt32LE(at) === 0 &&
    (first === blockSize || (blockSize === 65536 && (first === 65535 || first === 0)))
  ) {
    return buffer[at + 6] === 0 ? 8 : -1;
  }
  if (first !== SHORTEST || blockSize < 1024) return -1;
  const second = buffer.readUInt16LE(at + SHORTEST + 4);
  const rest = blockSize - SHORTEST;
  if (second !== rest && !(blockSize === 65536 && ((second & 65532) | ((second & 3) << 16)) === rest))
    return -1;
  const isRoot = buffer.readUInt32LE(at + 24) === 0 && buffer[at + 29] === 8;
  return isRoot ? 32 : -1;
}

/** Whether a directory block's checksum is right: a leaf's tail (ext4_dirblock_csum_verify) or a hash tree's (ext4_dx_csum). */
export function directoryChecksumIsRight(
  buffer: Buffer,
  at: number,
  blockSize: number,
  seed: number,
  indexed: boolean,
): boolean {
  const tail = at + blockSize - TAIL;
  const hasTail =
    buffer.readUInt32LE(tail) === 0 &&
    buffer.readUInt16LE(tail + 4) === TAIL &&
    buffer[tail + 6] === 0 &&
    buffer[tail + 7] === TAIL_TYPE;
  const countAt = indexed ? hashCountAt(buffer, at, blockSize) : -1;
  // Looked at first: where a leaf became a root, what was the leaf's tail may still stand in the root's.
  if (countAt >= 0) {
    const limit = buffer.readUInt16LE(at + countAt);
    const count = buffer.readUInt16LE(at + countAt + 2);
    if (count > limit || countAt + limit * 8 + 8 > blockSize) return false;
    const sumAt = at + countAt + limit * 8;
    let sum = crc32c(seed, buffer, at, at + countAt + count * 8);
    sum = crc32c(sum, buffer, sumAt, sumAt + 4);
    sum = crc32c(sum, ZEROS, 0, 4);
    return sum === buffer.readUInt32LE(sumAt + 4);
  }
  return hasTail && crc32c(seed, buffer, at, tail) === buffer.readUInt32LE(tail + 8);
}
