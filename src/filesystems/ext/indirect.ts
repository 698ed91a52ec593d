/** Direct and indirect blocks (i_block without extents; ext4 documentation, "Direct/Indirect Block Addressing"). */
import { EIO, IoError } from "../../images/io-error.js";
import type { View } from "../../versions/view.js";
import { I_BLOCK, type Inode } from "./inode.js";
import type { Run } from "./run.js";
import type { Geometry } from "./superblock.js";

/** i_block's first entries are blocks of data, then one each of single, double and triple indirect ones. */
const DIRECT = 12;
/** Logical blocks are 32 bits wide. */
const BLOCKS = 2 ** 32;

/** The block maps of one view. */
export class Indirect {
  readonly #geometry: Geometry;
  readonly #view: View;
  readonly #perBlock: number;

  constructor(geometry: Geometry, view: View) {
    this.#geometry = geometry;
    this.#view = view;
    this.#perBlock = geometry.blockSize / 4;
  }

  /** Finds the run that begins at logical block `logical`. Throws IoError (EIO) for a block number out of range. */
  map(inode: Inode, logical: number, run: Run): void {
    if (logical < DIRECT) {
      this.#run(inode, inode.raw, I_BLOCK, DIRECT, logical, run);
      return;
    }
    let within = logical - DIRECT;
    let span = this.#perBlock;
    let level = 1;
    while (within >= span) {
      within -= span;
      span *= this.#perBlock;
      if (++level > 3) {
        // Beyond what a map can reach there is nothing, however far the size goes.
        run.set(0, BLOCKS, false);
        return;
      }
    }
    let block = inode.raw.readUInt32LE(I_BLOCK + (DIRECT + level - 1) * 4);
    for (; ; level--) {
      if (block === 0) {
        run.set(0, span - within, false);
        return;
      }
      this.#check(inode, block);
      const buffer = this.#view.locate(block);
      if (level === 1) {
        this.#run(inode, buffer, this.#view.at, this.#perBlock, within, run);
        return;
      }
      span /= this.#perBlock;
      block = buffer.readUInt32LE(this.#view.at + Math.floor(within / span) * 4);
      within %= span;
    }
  }

  /** The run at entry `index` of a table of `count` block numbers. */
  #run(inode: Inode, buffer: Buffer, at: number, count: number, index: number, run: Run): void {
    const first = buffer.readUInt32LE(at + index * 4);
    let length = 1;
    while (index + length < count) {
      const next = buffer.readUInt32LE(at + (index + length) * 4);
      if (first === 0 ? next !== 0 : next !== first + length) break;
      length++;
    }
    if (first !== 0) {
      this.#check(inode, first);
      this.#check(inode, first + length - 1);
    }
    run.set(first, length, false);
  }

  #check(inode: Inode, block: number): void {
    if (block <= this.#geometry.firstDataBlock || block >= this.#geometry.blocksCount) {
      throw new IoError(EIO, `inode ${inode.ino}: block ${block} lies outside the file system`);
    }
  }
}
