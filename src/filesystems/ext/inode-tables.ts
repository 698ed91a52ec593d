/** Which inodes a block holds: the inode tables of all groups, by where they lie. */
import { IoError } from "../../images/io-error.js";
import type { Groups } from "./groups.js";
import type { Geometry } from "./superblock.js";

/** Where the table of a group begins that has none. */
const NO_TABLE = -1;

export class InodeTables {
  readonly #geometry: Geometry;
  readonly #blocksEach: number;
  readonly #starts: Float64Array;
  readonly #groups: Uint32Array;

  /** Reads all descriptors; a group without a good one has no table. */
  constructor(geometry: Geometry, groups: Groups) {
    this.#geometry = geometry;
    this.#blocksEach = Math.ceil((geometry.inodesPerGroup * geometry.inodeSize) / geometry.blockSize);
    const starts = new Float64Array(groups.there);
    for (let group = 0; group < starts.length; group++) starts[group] = tableStart(groups, group);
    // Tables lie in the order of their groups, but for what resizing did.
    this.#groups = Uint32Array.from(starts.keys()).sort(
      (a, b) => (starts[a] as number) - (starts[b] as number),
    );
    this.#starts = Float64Array.from(this.#groups, (group) => starts[group] as number);
  }

  /** How many blocks the inode table of each group has. */
  get blocksEach(): number {
    return this.#blocksEach;
  }

  /** The number of the first inode in a block; 0 if the block is none of an inode table. */
  firstInode(block: number): number {
    const starts = this.#starts;
    let low = 0;
    let high = starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((starts[middle] as number) <= block) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return 0;
    const start = starts[low - 1] as number;
    const within = block - start;
    if (start === NO_TABLE || within >= this.#blocksEach) return 0;
    const { inodesPerGroup, blockSize, inodeSize } = this.#geometry;
    return (this.#groups[low - 1] as number) * inodesPerGroup + within * (blockSize / inodeSize) + 1;
  }
}

function tableStart(groups: Groups, group: number): number {
  try {
    return groups.inodeTable(group);
  } catch (error) {
    if (error instanceof IoError) return NO_TABLE;
    throw error;
  }
}
