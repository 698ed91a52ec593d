/** Where files lie, as a follower's steps have left them. */
import { IoError } from "../../images/io-error.js";
import type { BlockSink } from "../crawler.js";
import type { FileFacts, FileMaps } from "../follower.js";
import { Inode } from "./inode.js";
import { InodeBlocks } from "./inode-blocks.js";
import type { Parts } from "./parts.js";

/** Runs of one file that are told at most. */
const MOST_RUNS = 1 << 20;

export class ExtFileMaps implements FileMaps {
  readonly #partsNow: () => Parts;
  #parts: Parts | undefined;
  #inode!: Inode;

  /** `partsNow`: what the file system consists of at that moment. */
  constructor(partsNow: () => Parts) {
    this.#partsNow = partsNow;
  }

  get blockSize(): number {
    return this.#partsNow().geometry.blockSize;
  }

  facts(ino: number, out: FileFacts): boolean {
    try {
      const inode = this.#read(ino);
      out.generation = inode.fields.i_generation;
      out.mode = inode.mode;
      out.size = this.#partsNow().inodes.size(inode);
      return true;
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      return false;
    }
  }

  extents(ino: number, sink: BlockSink): void {
    try {
      const inode = this.#read(ino);
      const parts = this.#partsNow();
      const blocks = new InodeBlocks(parts);
      blocks.blocksLeft = parts.view.blocksThere;
      blocks.runsLeft = MOST_RUNS;
      blocks.tell(inode, sink);
    } catch (error) {
      // Of what cannot be read nobody knows where it lies.
      if (!(error instanceof IoError)) throw error;
    }
  }

  #read(ino: number): Inode {
    const parts = this.#partsNow();
    if (parts !== this.#parts) {
      this.#parts = parts;
      this.#inode = new Inode(parts.geometry);
    }
    return parts.inodes.read(ino, this.#inode);
  }
}
