/**
 * Whether a cache holds what is not on its origin, by its metadata (the kernel's drivers/md/dm-cache-metadata.c, and for
 * arrays and bit sets drivers/md/persistent-data: dm-array.c, dm-bitset.c).
 */
import type { Source } from "../../images/image.js";
import { structure, u32, u64 } from "../../layout/struct.js";
import { BLOCK, DmBlocks, DmMetadataError, findInTree, hasChecksum, PLACE, u64At } from "./dm-btree.js";

/** struct cache_disk_superblock. */
const Superblock = structure("cache_disk_superblock", 292, {
  checksum: u32(0),
  flags: u32(4),
  block: u64(8),
  magic: u64(32),
  version: u32(40),
  mappingRoot: u64(192),
  cacheBlocks: u32(240),
  incompatible: u32(252),
  /** From version 2 on. */
  dirtyRoot: u64(284),
});

/** CACHE_SUPERBLOCK_MAGIC (octal there, too), the newest version that is known, SUPERBLOCK_CSUM_XOR, CLEAN_SHUTDOWN. */
const MAGIC = 0o6142003;
const NEWEST_VERSION = 2;
const SUPERBLOCK_SALT = 9031977;
const CLEAN_SHUTDOWN = 1;

/** struct array_block, without its values; and array_csum_xor. */
const ArrayBlock = structure("array_block", 24, {
  checksum: u32(0),
  entries: u32(8),
  valueSize: u32(12),
  block: u64(16),
});
const ARRAY_SALT = 595846735;
/** Values of an array are words of 64 bits here. */
const WORD = 8;
/** Halves of words that a block of an array has. */
const HALVES = Math.floor((BLOCK - ArrayBlock.size) / WORD) * 2;
/** M_VALID and M_DIRTY, of the lower bits of a place in the cache; the second counts up to version 1. */
const VALID = 1;
const DIRTY = 2;
/** Blocks of a cache that are looked at: LVM makes a million at most, if nobody asks for more. */
const MOST_PLACES = 2_000_000;
/** Blocks of metadata that are kept. */
const MOST_BLOCKS = 64;

/**
 * Whether all that is cached is on the origin, too, `superblock` being the metadata's first block. Throws DmMetadataError
 * for what makes no sense, and what reading throws.
 */
export function isClean(metadata: Source, superblock: Buffer): boolean {
  const { checksum, flags, block, magic, version, mappingRoot, cacheBlocks, incompatible, dirtyRoot } =
    Superblock.at(superblock);
  if (magic !== MAGIC || block !== 0 || !hasChecksum(superblock, checksum, SUPERBLOCK_SALT))
    throw new DmMetadataError("has no superblock");
  if (version < 1 || version > NEWEST_VERSION || incompatible !== 0)
    throw new DmMetadataError(`is of a later version (${version})`);
  // While it is in use, what is dirty is known to the kernel alone.
  if ((flags & CLEAN_SHUTDOWN) === 0) return false;
  if (cacheBlocks > MOST_PLACES) throw new DmMetadataError("is of a cache of more blocks than are looked at");
  const mapping = new Words(metadata, mappingRoot);
  const dirty = version === 1 ? undefined : new Words(metadata, dirtyRoot);
  for (let place = 0; place < cacheBlocks; place++) {
    const bits = mapping.half(place * 2);
    if ((bits & VALID) === 0) continue;
    // A bit for each place, in words of 32 bits, the lower half of 64 first.
    const isDirty =
      dirty === undefined ? (bits & DIRTY) !== 0 : ((dirty.half(place >>> 5) >>> (place & 31)) & 1) === 1;
    if (isDirty) return false;
  }
  return true;
}

/** An array of words of 64 bits. */
class Words {
  readonly #metadata: Source;
  readonly #root: number;
  readonly #blocks: DmBlocks;
  readonly #found = { node: Buffer.alloc(0) };
  readonly #array = Buffer.alloc(BLOCK);
  /** The one of its blocks that is in `#array`; -1: none. */
  #index = -1;
  #end = 0;

  constructor(metadata: Source, root: number) {
    this.#metadata = metadata;
    this.#root = root;
    this.#blocks = new DmBlocks(metadata, MOST_BLOCKS);
  }

  /** The half of a word: that with number 2n is the lower one of word n. Throws as isClean. */
  half(number: number): number {
    const index = Math.floor(number / HALVES);
    if (index !== this.#index) this.#load(index);
    const at = ArrayBlock.size + (number - index * HALVES) * 4;
    if (at >= this.#end) throw new DmMetadataError("has an array without its end");
    return this.#array.readUInt32LE(at);
  }

  #load(index: number): void {
    this.#index = -1;
    const at = findInTree(this.#blocks, this.#root, index, PLACE, this.#found);
    if (at < 0) throw new DmMetadataError("has an array without its end");
    const number = u64At(this.#found.node, at);
    const array = this.#array;
    if (!(number > 0) || this.#metadata.read(array, 0, BLOCK, number * BLOCK) < BLOCK)
      throw new DmMetadataError("names a block that is not there");
    const { checksum, block, entries, valueSize } = ArrayBlock.at(array);
    this.#end = ArrayBlock.size + entries * WORD;
    const isGood = hasChecksum(array, checksum, ARRAY_SALT) && block === number && valueSize === WORD;
    if (!isGood || this.#end > BLOCK) throw new DmMetadataError(`has a bad block (${number})`);
    this.#index = index;
  }
}
