/** The extent tree (struct ext4_extent_header and others; ext4 documentation, "Extent Tree"). */
import { EIO, IoError } from "../../images/io-error.js";
import { crc32c } from "../../layout/crc32c.js";
import type { View } from "../../versions/view.js";
import { I_BLOCK, I_BLOCK_SIZE, type Inode } from "./inode.js";
import type { Run } from "./run.js";
import type { Geometry } from "./superblock.js";

const MAGIC = 0xf30a;
/** EXT4_MAX_EXTENT_DEPTH */
const MAX_DEPTH = 5;
/** Bytes of the header, and of each entry after it. */
const HEADER = 12;
const ENTRY = 12;
/** A longer ee_len marks the extent as unwritten (EXT_INIT_MAX_LEN). */
const MAX_WRITTEN = 32768;
/** Logical blocks are 32 bits wide. */
const LAST_BLOCK = 0xffff_ffff;

/** The extent trees of one view. */
export class Extents {
  readonly #geometry: Geometry;
  readonly #view: View;

  constructor(geometry: Geometry, view: View) {
    this.#geometry = geometry;
    this.#view = view;
  }

  /** Finds the run that begins at logical block `logical`. Throws IoError (EIO) for a bad tree. */
  map(inode: Inode, logical: number, run: Run): void {
    let buffer: Buffer = inode.raw;
    let at = I_BLOCK;
    let room = I_BLOCK_SIZE;
    let depth = -1;
    // Where the next extent to the right begins, as far as the tree has been looked at: the end of a hole.
    let end = LAST_BLOCK + 1;
    for (;;) {
      const entries = buffer.readUInt16LE(at + 2);
      const max = buffer.readUInt16LE(at + 4);
      const here = buffer.readUInt16LE(at + 6);
      if (buffer.readUInt16LE(at) !== MAGIC || entries > max || HEADER + max * ENTRY > room)
        throw bad(inode, "header");
      if (depth < 0 ? here > MAX_DEPTH : here !== depth - 1) throw bad(inode, "depth");
      depth = here;
      const found = search(buffer, at + HEADER, entries, logical);
      if (found + 1 < entries) end = Math.min(end, buffer.readUInt32LE(at + HEADER + (found + 1) * ENTRY));
      const entry = at + HEADER + found * ENTRY;
      if (depth === 0) {
        this.#leaf(inode, buffer, found < 0 ? -1 : entry, logical, end, run);
        return;
      }
      if (found < 0) {
        run.set(0, Math.max(1, end - logical), false);
        return;
      }
      const child = buffer.readUInt32LE(entry + 4) + buffer.readUInt16LE(entry + 8) * 2 ** 32;
      if (child <= this.#geometry.firstDataBlock || child >= this.#geometry.blocksCount)
        throw bad(inode, "index");
      buffer = this.#view.locate(child);
      at = this.#view.at;
      room = this.#view.blockSize;
      if (this.#geometry.checksums && !this.#view.checked) this.#verify(inode, buffer, at);
    }
  }

  #leaf(inode: Inode, buffer: Buffer, entry: number, logical: number, end: number, run: Run): void {
    if (entry >= 0) {
      const first = buffer.readUInt32LE(entry);
      const stored = buffer.readUInt16LE(entry + 4);
      const unwritten = stored > MAX_WRITTEN;
      const length = unwritten ? stored - MAX_WRITTEN : stored;
      const skip = logical - first;
      if (skip < length) {
        const start = buffer.readUInt32LE(entry + 8) + buffer.readUInt16LE(entry + 6) * 2 ** 32;
        if (start <= this.#geometry.firstDataBlock || start + length > this.#geometry.blocksCount)
          throw bad(inode, "extent");
        run.set(start + skip, Math.min(length - skip, Math.max(1, end - logical)), unwritten);
        return;
      }
    }
    run.set(0, Math.max(1, end - logical), false);
  }

  /** struct ext4_extent_tail, after as many entries as fit. */
  #verify(inode: Inode, buffer: Buffer, at: number): void {
    const tail = HEADER + buffer.readUInt16LE(at + 4) * ENTRY;
    if (tail + 4 > this.#view.blockSize) throw bad(inode, "header");
    if (crc32c(inode.checksumSeed, buffer, at, at + tail) !== buffer.readUInt32LE(at + tail)) {
      throw bad(inode, "checksum");
    }
    this.#view.markChecked();
  }
}

/** The last of the sorted entries that begins at or before `logical`; -1 if none does. */
function search(buffer: Buffer, at: number, entries: number, logical: number): number {
  let low = 0;
  let high = entries;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (buffer.readUInt32LE(at + middle * ENTRY) <= logical) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function bad(inode: Inode, what: string): IoError {
  return new IoError(EIO, `inode ${inode.ino}: its extent tree has a bad ${what}`);
}
