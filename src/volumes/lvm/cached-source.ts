/** The origin of a cache that holds back writes, for as long as it holds none. */
import type { Log, Source } from "../../images/image.js";
import { EIO, IoError } from "../../images/io-error.js";
import { isClean } from "./cache-metadata.js";
import { BLOCK, DmMetadataError } from "./dm-btree.js";
import { Unreadable } from "./unreadable.js";

/** Bytes of a superblock by which it is told from another: the checksum and the flags stand first. */
const MARK = 8;

export class CachedSource implements Source {
  readonly #origin: Source;
  readonly #metadata: Source;
  readonly #log: Log;
  readonly #superblock = Buffer.alloc(BLOCK);
  readonly #mark = Buffer.alloc(MARK);
  #problem: string;

  /** Throws Unreadable for a cache that is not clean. */
  constructor(origin: Source, metadata: Source, log: Log) {
    this.#origin = origin;
    this.#metadata = metadata;
    this.#log = log;
    this.#problem = this.#look();
    if (this.#problem !== "") throw new Unreadable(this.#problem);
  }

  get size(): number {
    return this.#origin.size;
  }

  read(target: Buffer, targetOffset: number, length: number, position: number): number {
    const there = this.#metadata.read(this.#mark, 0, MARK, 0);
    if (there < MARK || this.#superblock.compare(this.#mark, 0, MARK, 0, MARK) !== 0) {
      const problem = this.#look();
      if (problem !== "" && problem !== this.#problem)
        this.#log(`a cached volume cannot be read any more: ${problem}`);
      this.#problem = problem;
    }
    if (this.#problem !== "") throw new IoError(EIO, this.#problem);
    return this.#origin.read(target, targetOffset, length, position);
  }

  /** Why it cannot be read; "": it can. */
  #look(): string {
    try {
      this.#metadata.read(this.#superblock, 0, BLOCK, 0);
      return isClean(this.#metadata, this.#superblock) ? "" : DIRTY;
    } catch (error) {
      // So that it is looked at again.
      this.#superblock.fill(0xff, 0, MARK);
      return error instanceof DmMetadataError
        ? `the metadata of its cache ${error.message}`
        : "the metadata of its cache cannot be read";
    }
  }
}

const DIRTY =
  "its cache (writeback) may hold what is not on its disk yet, and caches are not read; it is on the disk when the guest is shut down and has written it there (lvs -o+cache_dirty_blocks), or by lvconvert --splitcache or lvchange --cachemode writethrough in the guest";
