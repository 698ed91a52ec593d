/** Hash tree directories (ext4 documentation, "Hash Tree Directories"): which leaves can hold a name of a given hash. */
import { hashCountAt } from "./dirblock.js";

/** Levels below the root that the kernel allows with large_dir (EXT4_HTREE_LEVEL). */
const MAX_LEVELS = 3;
const ENTRY = 8;
const ROOT_INFO_AT = 24;

/** What a walk needs of the directory: its n-th block in a buffer at `at`. */
export interface DirectoryBlocks {
  at: number;
  locate(block: number): Buffer;
}

/** A walk down one directory's hash tree, used again for others. */
export class HashTree {
  /** dx_root_info.hash_version. */
  hashVersion = 0;
  /** The leaf's block in the directory. */
  leaf = 0;
  readonly #blockSize: number;
  readonly #largeDirectories: boolean;
  readonly #blocks = new Float64Array(MAX_LEVELS + 1);
  readonly #index = new Int32Array(MAX_LEVELS + 1);
  #levels = 0;
  #count = 0;

  constructor(blockSize: number, largeDirectories: boolean) {
    this.#blockSize = blockSize;
    this.#largeDirectories = largeDirectories;
  }

  /** Looks at the root; false if it is not one that can be used: then a linear search must do. */
  enter(directory: DirectoryBlocks): boolean {
    const buffer = directory.locate(0);
    const { at } = directory;
    if (hashCountAt(buffer, at, this.#blockSize) !== ROOT_INFO_AT + ENTRY) return false;
    this.hashVersion = buffer[at + ROOT_INFO_AT + 4] as number;
    this.#levels = buffer[at + ROOT_INFO_AT + 6] as number;
    return this.#levels < (this.#largeDirectories ? MAX_LEVELS : MAX_LEVELS - 1);
  }

  /** Goes down to the first leaf for `hash`; false if the tree is bad. */
  descend(directory: DirectoryBlocks, hash: number): boolean {
    return this.#descendFrom(directory, 0, 0, hash);
  }

  /** Goes to the next leaf if names of the same hash go on there (its first hash then has the lowest bit set). */
  next(directory: DirectoryBlocks, hash: number): boolean {
    for (let level = this.#levels; level >= 0; level--) {
      const index = (this.#index[level] as number) + 1;
      const entries = this.#entries(directory, this.#blocks[level] as number, level);
      if (entries < 0) return false;
      if (index >= this.#count) continue;
      const first = this.#buffer.readUInt32LE(entries + index * ENTRY);
      if ((first & 1) === 0 || (first & ~1) >>> 0 !== hash) return false;
      this.#index[level] = index;
      const block = this.#buffer.readUInt32LE(entries + index * ENTRY + 4) & 0xfff_ffff;
      if (level === this.#levels) {
        this.leaf = block;
        return true;
      }
      return this.#descendFrom(directory, level + 1, block, hash);
    }
    return false;
  }

  #buffer: Buffer = Buffer.alloc(0);

  #descendFrom(directory: DirectoryBlocks, fromLevel: number, fromBlock: number, hash: number): boolean {
    let block = fromBlock;
    for (let level = fromLevel; level <= this.#levels; level++) {
      this.#blocks[level] = block;
      const entries = this.#entries(directory, block, level);
      if (entries < 0) return false;
      // The first entry has no hash: it stands for all that is below the second's.
      let low = 1;
      let high = this.#count;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if (this.#buffer.readUInt32LE(entries + middle * ENTRY) > hash) high = middle;
        else low = middle + 1;
      }
      this.#index[level] = low - 1;
      block = this.#buffer.readUInt32LE(entries + (low - 1) * ENTRY + 4) & 0xfff_ffff;
    }
    this.leaf = block;
    return true;
  }

  /** Where a block's entries begin, -1 if it is no index block; sets the count and the buffer. */
  #entries(directory: DirectoryBlocks, block: number, level: number): number {
    const buffer = directory.locate(block);
    const { at } = directory;
    const countAt = hashCountAt(buffer, at, this.#blockSize);
    if (countAt !== (level === 0 ? ROOT_INFO_AT + ENTRY : ENTRY)) return -1;
    const limit = buffer.readUInt16LE(at + countAt);
    const count = buffer.readUInt16LE(at + countAt + 2);
    if (count < 1 || count > limit || countAt + limit * ENTRY > this.#blockSize) return -1;
    this.#buffer = buffer;
    this.#count = count;
    return at + countAt;
  }
}
