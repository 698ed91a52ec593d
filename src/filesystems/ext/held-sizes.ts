/**
 * Sizes that are held back. ext4 logs a file's new size before its bytes are on the disk: at once where they go into the
 * last block that the file has (ext4_da_write_end), and where blocks are allocated as unwritten, when these are handed to
 * the disk (mpage_map_and_submit_extent). Whoever reads then gets zeros; a reader of a log would never ask for those bytes
 * again. So a file that has grown is shown no longer than its bytes are there, for as long as the guest's writeback takes
 * at most. A guest that writes everything back (sync, syncfs) writes inodes to their places too, soon after it has logged
 * them, and all bytes before: then what is there is all. Zeros that were meant, at the end of a file that grows within its
 * last block and was not written back so, are seen that much later.
 */
import { IoError } from "../../images/io-error.js";
import type { Commit } from "../../versions/commit.js";
import { FileType } from "../filesystem.js";
import { Inode, InodeFlags } from "./inode.js";
import type { InodeTables } from "./inode-tables.js";
import type { FastCommit } from "./journal/fast-commit.js";
import type { Parts } from "./parts.js";
import { Run } from "./run.js";

/** ms after which bytes are written back that were not asked to be (dirty_expire_centisecs, dirty_writeback_centisecs). */
const WRITTEN_WITHIN = 36_000;
/** ms after which blocks that were handed to the disk are said to be written: a commit's interval and some. */
const CONVERTED_WITHIN = 6000;
/** ms after which an inode in its place is taken to be there for that: a small journal is emptied for its room, too. */
const CHECKPOINTED_AFTER = 500;
/** Bytes; more unwritten ones at once are room that the guest has reserved. */
const RESERVED = 1 << 20;
/** Files that are held back at most. */
const MOST_HELD = 10_000;

interface Held {
  readonly generation: number;
  /** From here on the bytes of a block that the file had before may be missing; -1: none are. */
  base: number;
  /** From here on blocks may be unwritten. */
  from: number;
  /** The size that was told last. */
  told: number;
  /** When it grew last, ms. */
  grown: number;
}

export class HeldSizes {
  readonly #held = new Map<number, Held>();
  readonly #run = new Run();
  readonly #bytes: Buffer;
  readonly #blockSize: number;

  /** `blockSize` in bytes. */
  constructor(blockSize: number) {
    this.#blockSize = blockSize;
    this.#bytes = Buffer.allocUnsafeSlow(blockSize);
  }

  get isEmpty(): boolean {
    return this.#held.size === 0;
  }

  /** Notes a file that has grown from `old` bytes to `size`. */
  add(ino: number, generation: number, old: number, size: number, hasExtents: boolean, now: number): void {
    let held = this.#held.get(ino);
    if (held?.generation !== generation) {
      if (this.#held.size >= MOST_HELD) this.#held.delete(this.#held.keys().next().value as number);
      held = { generation, base: -1, from: old, told: old, grown: now };
      this.#held.set(ino, held);
    }
    held.grown = now;
    const last = this.#blockAt(size - 1);
    // With extents, blocks are allocated when bytes are written back, those before them first; else as they are written.
    if (hasExtents && held.base >= 0 && this.#blockAt(held.base) !== last) held.base = -1;
    if (held.base < 0 && old % this.#blockSize !== 0 && (this.#blockAt(old) === last || !hasExtents))
      held.base = old;
  }

  #blockAt(position: number): number {
    return Math.floor(position / this.#blockSize);
  }

  /** Notes the files that a commit makes longer. To be called before it is applied. */
  addFrom(commit: Commit, { geometry, view, fastCommits }: Parts, tables: InodeTables): void {
    const { inodeSize, blockSize } = geometry;
    const now = performance.now();
    const bytes = Buffer.from(commit.bytes.buffer, commit.bytes.byteOffset, commit.bytes.length);
    for (const [index, block] of commit.blocks.entries()) {
      const first = tables.firstInode(block);
      if (first === 0) continue;
      let old: Buffer;
      try {
        old = view.locate(block);
      } catch (error) {
        if (error instanceof IoError) continue;
        throw error;
      }
      let oldAt = view.at;
      if (fastCommits !== undefined) {
        // What fast commits have told of an inode may have to be read: what is located stays only until then.
        old = Buffer.from(old.subarray(oldAt, oldAt + blockSize));
        oldAt = 0;
      }
      for (let at = 0; at < blockSize; at += inodeSize) {
        const was = oldAt + at;
        const is = index * blockSize + at;
        if (!isSameFile(old, was, bytes, is)) continue;
        const ino = first + at / inodeSize;
        this.#addGrown(ino, old, was, bytes, is, now, toldInode(fastCommits, ino));
      }
    }
  }

  /** Notes the files that a fast commit makes longer. To be called before it is applied. */
  addFromFastCommit(operations: FastCommit, { geometry, inodes }: Parts): void {
    const now = performance.now();
    const inode = new Inode(geometry);
    for (const operation of operations) {
      if (operation.kind !== "inode") continue;
      try {
        inodes.read(operation.ino, inode);
      } catch (error) {
        if (error instanceof IoError) continue;
        throw error;
      }
      if (isSameFile(inode.raw, 0, operation.raw, 0))
        this.#addGrown(operation.ino, inode.raw, 0, operation.raw, 0, now, undefined);
    }
  }

  /** `known`: the inode as fast commits have told it already. */
  #addGrown(
    ino: number,
    old: Buffer,
    was: number,
    bytes: Buffer,
    is: number,
    now: number,
    known: Buffer | undefined,
  ): void {
    const isKnown = known !== undefined && isSameFile(known, 0, bytes, is);
    const before = isKnown ? sizeAt(known, 0) : sizeAt(old, was);
    const size = sizeAt(bytes, is);
    if (size <= before) return;
    const hasExtents = (bytes.readUInt32LE(is + FLAGS_AT) & InodeFlags.EXTENTS) !== 0;
    this.add(ino, generationAt(old, was), before, size, hasExtents, now);
  }

  /** The size up to which a file is shown. Throws IoError when its map is bad. */
  shown(inode: Inode, generation: number, size: number, parts: Parts, now = performance.now()): number {
    const held = this.#held.get(inode.ino);
    if (held === undefined) return size;
    if (held.generation !== generation || now - held.grown > WRITTEN_WITHIN) {
      this.#held.delete(inode.ino);
      return size;
    }
    let there = this.#there(inode, held, size, parts, now);
    if (there < size && this.#isWrittenBack(inode.ino, held, parts, now)) there = size;
    if (there >= size) this.#held.delete(inode.ino);
    else {
      held.from = there;
      if (held.base >= 0) held.base = there;
    }
    return there;
  }

  /** Up to where a file's bytes are there, whatever it is shown as. Throws IoError when its map is bad. */
  there(inode: Inode, generation: number, size: number, parts: Parts): number {
    const held = this.#held.get(inode.ino);
    if (held?.generation !== generation) return size;
    return this.#there(inode, held, size, parts, performance.now());
  }

  /** The files that can be shown longer than when this was last asked. Those that are shown whole are held no more. */
  revealed(parts: Parts, inode: Inode, now = performance.now()): number[] {
    const found: number[] = [];
    for (const [ino, held] of [...this.#held]) {
      let shown: number;
      try {
        parts.inodes.read(ino, inode);
        shown = this.shown(inode, held.generation, parts.inodes.size(inode), parts, now);
      } catch (error) {
        if (!(error instanceof IoError)) throw error;
        this.#held.delete(ino);
        continue;
      }
      if (shown <= held.told) continue;
      held.told = shown;
      found.push(held.generation, ino);
    }
    return found;
  }

  /** Whether the inode was written to its place, which a guest does after it has written the bytes before it. */
  #isWrittenBack(ino: number, { grown }: Held, { inodes }: Parts, now: number): boolean {
    return inodes.isInPlace(ino) || (now - grown > CHECKPOINTED_AFTER && inodes.isSettled(ino));
  }

  /** Up to where the bytes are there; `size` if they all are, or if what is missing is meant to be. */
  #there(inode: Inode, held: Held, size: number, { content }: Parts, now: number): number {
    if (inode.type !== FileType.REGULAR || inode.hasFlag(InodeFlags.INLINE_DATA | InodeFlags.ENCRYPT))
      return size;
    const run = this.#run;
    const last = this.#blockAt(size - 1);
    content.map(inode, last, run);
    // No size is logged for bytes that have no block: the guest has made a hole.
    if (run.physical === 0) return size;
    if (run.unwritten) return this.#written(inode, held, size, content, now);
    const { base } = held;
    if (base < 0 || size <= base) return size;
    const first = this.#blockAt(base);
    if (first === last) return this.#withoutZeros(inode, base, size, content);
    const end = (first + 1) * this.#blockSize;
    const there = this.#withoutZeros(inode, base, end, content);
    return there < end ? there : this.#withoutZeros(inode, last * this.#blockSize, size, content);
  }

  /** Up to where blocks are written. */
  #written(
    inode: Inode,
    { from, grown }: Held,
    size: number,
    content: Parts["content"],
    now: number,
  ): number {
    if (size - from > RESERVED || now - grown > CONVERTED_WITHIN) return size;
    const run = this.#run;
    let end = from;
    while (end < size) {
      const logical = this.#blockAt(end);
      content.map(inode, logical, run);
      if (!run.isData) break;
      end = (logical + run.length) * this.#blockSize;
    }
    return Math.min(end, size);
  }

  /** The end of the bytes from `start` to `end`, of one block, without the zeros at their end. */
  #withoutZeros(inode: Inode, start: number, end: number, content: Parts["content"]): number {
    const length = end - start;
    content.read(inode, start, length, this.#bytes, 0);
    let there = length;
    while (there > 0 && this.#bytes[there - 1] === 0) there--;
    return start + there;
  }
}

/** Offsets in struct ext4_inode. */
const MODE_AT = 0;
const SIZE_AT = 4;
const FLAGS_AT = 0x20;
const GENERATION_AT = 0x64;
const SIZE_HIGH_AT = 0x6c;

/** An inode as fast commits have told it; undefined: they have not, or it cannot be read. */
function toldInode(fastCommits: Parts["fastCommits"], ino: number): Buffer | undefined {
  try {
    return fastCommits?.inode(ino);
  } catch (error) {
    if (error instanceof IoError) return undefined;
    throw error;
  }
}

function isSameFile(old: Buffer, was: number, bytes: Buffer, is: number): boolean {
  const isRegular = (mode: number): boolean => (mode & FileType.MASK) === FileType.REGULAR;
  return (
    isRegular(old.readUInt16LE(was + MODE_AT)) &&
    isRegular(bytes.readUInt16LE(is + MODE_AT)) &&
    generationAt(old, was) === generationAt(bytes, is)
  );
}

function generationAt(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at + GENERATION_AT);
}

function sizeAt(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at + SIZE_AT) + bytes.readUInt32LE(at + SIZE_HIGH_AT) * 2 ** 32;
}
