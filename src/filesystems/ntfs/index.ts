/** An index (NTFS documentation, "$INDEX_ROOT", "$INDEX_ALLOCATION"): a B+ tree, its root in the file's record. */
import { EIO, IoError } from "../../images/io-error.js";
import { Attribute, AttributeType } from "./attribute.js";
import { applyFixUps, HalfWritten } from "./fix-ups.js";
import type { Inode } from "./inode.js";
import type { MasterFileTable } from "./mft.js";
import { Stream } from "./stream.js";

/** "INDX" */
const MAGIC = 0x58444e49;
/** Offsets in the root: bytes of a block, the header of its entries. */
const ROOT_BLOCK_SIZE = 8;
const ROOT_HEADER = 16;
/** Offsets in a block: its number, the header of its entries. */
const BLOCK_VCN = 16;
const BLOCK_HEADER = 24;
/** Bytes of a header: where the entries begin, where they end. */
const HEADER_SIZE = 16;
/** Bytes of an entry but for its key: a reference or where the data lie, its length, the key's, flags. */
export const ENTRY_SIZE = 16;
const EntryFlags = { HAS_CHILD: 1, LAST: 2 } as const;
const SMALLEST_BLOCK = 512;
const LARGEST_BLOCK = 65536;
/** Where clusters are larger than blocks, these are numbered by 512 bytes. */
const SMALL_UNIT = 512;
/** Blocks are read in pieces of the bitmap that says which are in use. */
const BITMAP_PIECE = 4096;

/** The entries of one node, one after the other. */
export class IndexNode {
  buffer: Buffer = Buffer.alloc(0);
  /** The entry that the last step came to, its bytes, and those of its key. */
  at = 0;
  length = 0;
  keyLength = 0;
  isLast = false;
  isBad = false;
  #hasChild = false;
  #header = 0;
  #next = 0;
  #end = 0;

  /** Goes through what has its header at `header`, and `size` bytes from there on. */
  enter(buffer: Buffer, header: number, size: number): void {
    this.buffer = buffer;
    this.#header = header;
    this.isBad = true;
    this.isLast = true;
    if (size < HEADER_SIZE || header + size > buffer.length) return;
    const first = buffer.readUInt32LE(header);
    const length = buffer.readUInt32LE(header + 4);
    if (first < HEADER_SIZE || length > size || first > length) return;
    this.isBad = false;
    this.isLast = false;
    this.#next = header + first;
    this.#end = header + length;
  }

  /** Goes on to the next entry, the last one (which has no key) included; false: there is none, or `isBad`. */
  step(): boolean {
    if (this.isLast || this.isBad) return false;
    const at = this.#next;
    const { buffer } = this;
    if (at + ENTRY_SIZE > this.#end) return this.#bad();
    this.at = at;
    this.length = buffer.readUInt16LE(at + 8);
    this.keyLength = buffer.readUInt16LE(at + 10);
    const flags = buffer.readUInt16LE(at + 12);
    this.isLast = (flags & EntryFlags.LAST) !== 0;
    this.#hasChild = (flags & EntryFlags.HAS_CHILD) !== 0;
    const least = ENTRY_SIZE + (this.isLast ? 0 : this.keyLength) + (this.#hasChild ? 8 : 0);
    if (this.length < least || (this.length & 7) !== 0 || at + this.length > this.#end) return this.#bad();
    this.#next = at + this.length;
    return true;
  }

  /** Bytes from the node's header to the entry. */
  get offset(): number {
    return this.at - this.#header;
  }

  /** Where the key of the entry lies. */
  get keyAt(): number {
    return this.at + ENTRY_SIZE;
  }

  /** The number of the node with what comes before the entry; -1: there is none. */
  get child(): number {
    if (!this.#hasChild) return -1;
    const at = this.at + this.length - 8;
    return this.buffer.readUInt32LE(at) + this.buffer.readUInt32LE(at + 4) * 0x1_0000_0000;
  }

  #bad(): false {
    this.isBad = true;
    return false;
  }
}

/** The index of one file that is open. */
export class Index {
  /** Bytes of a block. */
  readonly blockSize: number;
  readonly #ino: number;
  readonly #inode: Inode;
  readonly #name: Buffer;
  readonly #allocation: Stream | undefined;
  readonly #bitmap: Stream | undefined;
  /** Bytes by which blocks are numbered. */
  readonly #unit: number;
  /** An index has no holes, so it is not larger than the volume. */
  readonly #mostBytes: number;
  readonly #attribute = new Attribute();
  readonly #root: number;

  /** The index of that name (UTF-16). `inode` is not to be used for another file meanwhile. Throws IoError (EIO). */
  constructor(mft: MasterFileTable, inode: Inode, name: Buffer) {
    this.#ino = inode.ino;
    this.#inode = inode;
    this.#name = name;
    this.#root = inode.find(AttributeType.INDEX_ROOT, name);
    if (this.#root < 0) throw this.#bad("it has no root");
    const attribute = inode.attribute(this.#root, this.#attribute);
    if (!attribute.isResident || attribute.valueLength < ROOT_HEADER + HEADER_SIZE)
      throw this.#bad("its root is bad");
    this.blockSize = attribute.buffer.readUInt32LE(attribute.valueAt + ROOT_BLOCK_SIZE);
    const { blockSize } = this;
    const { clusterSize, clusters } = mft.geometry;
    this.#mostBytes = clusters * clusterSize;
    if (blockSize < SMALLEST_BLOCK || blockSize > LARGEST_BLOCK || (blockSize & (blockSize - 1)) !== 0)
      throw this.#bad(`blocks of ${blockSize} bytes`);
    this.#unit = clusterSize <= blockSize ? clusterSize : SMALL_UNIT;
    const stream = (type: number) => {
      const index = inode.find(type, name);
      return index < 0 ? undefined : new Stream(mft, inode, index);
    };
    this.#allocation = stream(AttributeType.INDEX_ALLOCATION);
    this.#bitmap = stream(AttributeType.BITMAP);
  }

  /** How many blocks there is room for. */
  get blocks(): number {
    if (this.#allocation === undefined) return 0;
    return Math.floor(Math.min(this.#allocation.size, this.#mostBytes) / this.blockSize);
  }

  /** Goes through the root, which lies in the file's record. */
  enterRoot(node: IndexNode): void {
    const { buffer, valueAt, valueLength } = this.#inode.attribute(this.#root, this.#attribute);
    node.enter(buffer, valueAt + ROOT_HEADER, valueLength - ROOT_HEADER);
  }

  /** Reads block `number` (from 0 on) to the start of `target`, and goes through it. Throws IoError (EIO) if it is bad. */
  enterBlock(number: number, target: Buffer, node: IndexNode): void {
    const { blockSize } = this;
    if (this.#allocation === undefined || number >= this.blocks)
      throw this.#bad(`there is no block ${number}`);
    try {
      this.#readBlock(this.#allocation, number, target);
    } catch (error) {
      if (!(error instanceof HalfWritten)) throw error;
      this.#allocation.forgetCached(number * blockSize, blockSize);
      this.#readBlock(this.#allocation, number, target);
    }
    const vcn = target.readUInt32LE(BLOCK_VCN) + target.readUInt32LE(BLOCK_VCN + 4) * 0x1_0000_0000;
    if (vcn * this.#unit !== number * blockSize) throw this.#bad(`block ${number} is another one's`);
    node.enter(target, BLOCK_HEADER, blockSize - BLOCK_HEADER);
    if (node.isBad) throw this.#bad(`block ${number} is bad`);
  }

  #readBlock(allocation: Stream, number: number, target: Buffer): void {
    const { blockSize } = this;
    allocation.readCached(number * blockSize, blockSize, target, 0);
    if (target.readUInt32LE(0) !== MAGIC) throw this.#bad(`block ${number} is none`);
    if (!applyFixUps(target, 0, blockSize))
      throw new HalfWritten(`MFT record ${this.#ino}: block ${number} of its index`);
  }

  /** The number of the block that an entry has as its child's. Throws IoError (EIO). */
  blockOf(vcn: number): number {
    const number = (vcn * this.#unit) / this.blockSize;
    if (!Number.isInteger(number)) throw this.#bad(`there is no block at ${vcn}`);
    return number;
  }

  /** The first block from `number` on that is in use; `blocks` if there is none. Throws IoError. */
  nextUsed(number: number): number {
    const { blocks } = this;
    const bitmap = this.#bitmap;
    // Without a bitmap, all are.
    if (bitmap === undefined) return number;
    const piece = Buffer.allocUnsafe(BITMAP_PIECE);
    for (let block = number; block < blocks; ) {
      const start = Math.floor(block / 8);
      const length = Math.min(BITMAP_PIECE, bitmap.size - start);
      if (length <= 0) return blocks;
      bitmap.readCached(start, length, piece, 0);
      const end = Math.min(blocks, (start + length) * 8);
      while (block < end) {
        const byte = piece[Math.floor(block / 8) - start] as number;
        if (byte === 0) block = (Math.floor(block / 8) + 1) * 8;
        else if (((byte >> (block & 7)) & 1) !== 0) return block;
        else block++;
      }
    }
    return blocks;
  }

  #bad(why: string): IoError {
    return new IoError(EIO, `MFT record ${this.#ino}: index ${this.#name.toString("utf16le")}: ${why}`);
  }
}
