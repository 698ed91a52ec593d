/**
 * Logged copies of blocks that are free. With inline data the kernel logs a regular file's block when the data moves
 * out of the inode (ext4_convert_inline_data), but as it does not take it for metadata it revokes nothing when the block
 * is freed: the next file that gets the block must not be shown the copy. The block bitmap, logged when the block was
 * freed, tells.
 */
import { IoError } from "../../images/io-error.js";
import type { View } from "../../versions/view.js";
import { Incompat } from "./features.js";
import type { Groups } from "./groups.js";
import type { Geometry } from "./superblock.js";

export class FreedBlocks {
  readonly #geometry: Geometry;
  /** Groups by the blocks of their block bitmaps. */
  readonly #groups = new Map<number, number>();

  constructor(geometry: Geometry, groups: Groups) {
    this.#geometry = geometry;
    if (!geometry.hasIncompat(Incompat.INLINE_DATA)) return;
    for (let group = 0; group < groups.there; group++) {
      try {
        this.#groups.set(groups.blockBitmap(group), group);
      } catch (error) {
        // A group without a good descriptor has no blocks that anybody uses.
        if (!(error instanceof IoError)) throw error;
      }
    }
  }

  isBitmap(block: number): boolean {
    return this.#groups.has(block);
  }

  /** Those of `candidates` that are free by the bitmap that is in block `block`. */
  among(block: number, bitmap: Buffer, candidates: Iterable<number>): number[] {
    const { firstDataBlock, blocksPerGroup, clusterBlocks } = this.#geometry;
    const first = firstDataBlock + (this.#groups.get(block) as number) * blocksPerGroup;
    const free: number[] = [];
    for (const candidate of candidates) {
      if (candidate < first || candidate >= first + blocksPerGroup) continue;
      const bit = Math.floor((candidate - first) / clusterBlocks);
      if ((((bitmap[bit >>> 3] as number) >> (bit & 7)) & 1) === 0) free.push(candidate);
    }
    return free;
  }

  /** Drops the view's copies of blocks that are free, in the groups whose bitmaps are among `logged`. */
  drop(view: View, logged: Iterable<number>): void {
    if (this.#groups.size === 0) return;
    for (const block of logged) {
      const bitmap = this.isBitmap(block) ? bitmapOf(view, block) : undefined;
      if (bitmap === undefined) continue;
      for (const free of this.among(block, bitmap, view.logged())) {
        view.setCopy(free, undefined);
        view.forgetPlace(free);
      }
    }
  }
}

/** A copy of a bitmap's block; undefined if it cannot be read. */
function bitmapOf(view: View, block: number): Buffer | undefined {
  try {
    const buffer = view.locate(block);
    return Buffer.from(buffer.subarray(view.at, view.at + view.blockSize));
  } catch (error) {
    if (error instanceof IoError) return undefined;
    throw error;
  }
}
