/** A file's bytes: its map of blocks, whichever kind it is, and reading through it. Inline data is not dealt with here. */
import { EIO, IoError } from "../../images/io-error.js";
import type { View } from "../../versions/view.js";
import { Extents } from "./extents.js";
import { Indirect } from "./indirect.js";
import { type Inode, InodeFlags } from "./inode.js";
import { Run } from "./run.js";
import type { Geometry } from "./superblock.js";

/** Maps of single files that take the place of what is on the disk (fast commits change them). */
export interface MapOverlay {
  /** Fills `run` with the run that begins at `logical`; false if the file's map is the disk's. */
  map(ino: number, logical: number, run: Run): boolean;
}

/** Logical blocks are 32 bits wide. */
const BLOCKS = 2 ** 32;
/** Runs that one seek looks at: a hostile map can be all runs of one block. */
const MOST_RUNS = 100_000;

/** The contents of the files of one view. */
export class Content {
  /** Set while fast commits are in force. */
  overlay: MapOverlay | undefined;
  readonly #blockSize: number;
  readonly #view: View;
  readonly #extents: Extents;
  readonly #indirect: Indirect;
  readonly #run = new Run();

  constructor(geometry: Geometry, view: View) {
    this.#blockSize = geometry.blockSize;
    this.#view = view;
    this.#extents = new Extents(geometry, view);
    this.#indirect = new Indirect(geometry, view);
  }

  /** Finds the run of blocks that begins at logical block `logical`. Throws IoError (EIO) for a bad map. */
  map(inode: Inode, logical: number, run: Run): void {
    if (logical >= BLOCKS) {
      // No map reaches so far, though a size may say that the file does.
      run.set(0, BLOCKS, false);
      return;
    }
    if (this.overlay?.map(inode.ino, logical, run)) return;
    if (inode.hasFlag(InodeFlags.EXTENTS)) this.#extents.map(inode, logical, run);
    else this.#indirect.map(inode, logical, run);
  }

  /** Reads `length` bytes, all of them within the file; holes and unwritten blocks are zeros. Throws IoError. */
  read(inode: Inode, position: number, length: number, target: Buffer, targetOffset: number): void {
    const run = this.#run;
    let done = 0;
    while (done < length) {
      const at = position + done;
      const logical = Math.floor(at / this.#blockSize);
      const within = at - logical * this.#blockSize;
      this.map(inode, logical, run);
      const part = Math.min(run.length * this.#blockSize - within, length - done);
      if (run.isData) this.#view.readData(run.physical, within, part, target, targetOffset + done);
      else target.fill(0, targetOffset + done, targetOffset + done + part);
      done += part;
    }
  }

  /**
   * The first byte from `position` on, below `size`, that is data (or in a hole); `size` if there is none. After
   * MOST_RUNS runs the rest counts as data, which is how a hole reads.
   */
  seek(inode: Inode, position: number, size: number, hole: boolean): number {
    const run = this.#run;
    let at = position;
    for (let runs = 0; at < size; runs++) {
      if (runs === MOST_RUNS) return hole ? size : at;
      const logical = Math.floor(at / this.#blockSize);
      this.map(inode, logical, run);
      if (run.isData !== hole) return at;
      at = (logical + run.length) * this.#blockSize;
    }
    return size;
  }

  /** The block on the volume that holds logical block `logical`. Throws EIO if there is none. */
  block(inode: Inode, logical: number): number {
    this.map(inode, logical, this.#run);
    if (!this.#run.isData) throw new IoError(EIO, `inode ${inode.ino}: block ${logical} is a hole`);
    return this.#run.physical;
  }
}
