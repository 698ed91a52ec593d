/**
 * A cache of what lies on volumes, shared by all of them and bounded in bytes. It holds aligned chunks of a volume's
 * bytes, at least a block each, so that neighbours (inodes, directory blocks) come with one read.
 *
 * Chunks are found through a hash table with chains in typed arrays, and given up by the clock algorithm: a chunk used
 * since the hand last passed stays. A chunk stays where it is until some hundred others have been loaded after its
 * last use, so bytes just located can be read without a copy as long as few others are located meanwhile.
 */
import type { Source } from "../images/image.js";
import { EIO, IoError } from "../images/io-error.js";
import { CountedSource, type ReadCount } from "./counted-source.js";

/** Bytes of the smallest chunk; volumes with larger blocks have chunks of a block. */
const SMALLEST_CHUNK = 16384;
/** Bytes that are read at once where a reader says that it goes on with what follows. */
const READ_AHEAD = 131072;
/** What was read at once, for as long as it is put into chunks: of any cache of the thread. */
const readAhead = Buffer.allocUnsafeSlow(READ_AHEAD);

/** Places of what a cache counts: chunks that were asked for and were there, and those that were read. */
export const CacheCount = { HITS: 0, MISSES: 1, SIZE: 2 } as const;

/** A volume as a cache knows it. */
export interface CachedSource {
  /** Small, unique within the cache. */
  readonly id: number;
  readonly source: Source;
  readonly chunks: ChunkCache;
}

/** All chunks of one size. */
export class ChunkCache {
  readonly chunkSize: number;
  /** For each slot, which of its blocks were found good by the reader (a bit each, the first block is bit 0). */
  readonly checked: Uint32Array;
  readonly #capacity: number;
  readonly #slots: Buffer[] = [];
  readonly #owner: Int32Array;
  readonly #chunk: Float64Array;
  readonly #length: Int32Array;
  readonly #used: Uint8Array;
  readonly #chain: Int32Array;
  readonly #heads: Int32Array;
  readonly #mask: number;
  readonly #counts: Float64Array;
  #hand = 0;

  /** `counts`: as BlockCache has it. */
  constructor(chunkSize: number, bytes: number, counts: Float64Array) {
    this.chunkSize = chunkSize;
    this.#counts = counts;
    this.#capacity = Math.max(64, Math.floor(bytes / chunkSize));
    this.#owner = new Int32Array(this.#capacity).fill(-1);
    this.#chunk = new Float64Array(this.#capacity);
    this.#length = new Int32Array(this.#capacity);
    this.#used = new Uint8Array(this.#capacity);
    this.checked = new Uint32Array(this.#capacity);
    this.#chain = new Int32Array(this.#capacity).fill(-1);
    const heads = 2 ** Math.ceil(Math.log2(this.#capacity * 2));
    this.#heads = new Int32Array(heads).fill(-1);
    this.#mask = heads - 1;
  }

  /**
   * The slot that holds a chunk, which is read if it is not there; with `ahead` so are those after it.
   * Throws IoError when it cannot be read.
   */
  slot(owner: CachedSource, chunk: number, ahead: boolean): number {
    const found = this.#find(owner.id, chunk);
    if (found >= 0) {
      this.#used[found] = 1;
      this.#counts[CacheCount.HITS] = (this.#counts[CacheCount.HITS] as number) + 1;
      return found;
    }
    this.#counts[CacheCount.MISSES] = (this.#counts[CacheCount.MISSES] as number) + 1;
    return ahead && this.chunkSize < READ_AHEAD ? this.#loadAhead(owner, chunk) : this.#load(owner, chunk);
  }

  /** The bytes of a slot. */
  bytes(slot: number): Buffer {
    return this.#slots[slot] as Buffer;
  }

  /** How many bytes of a slot there are on the volume. */
  length(slot: number): number {
    return this.#length[slot] as number;
  }

  /** Forgets a chunk, if it is there. */
  drop(owner: number, chunk: number): void {
    const slot = this.#find(owner, chunk);
    if (slot >= 0) this.#release(slot);
  }

  /** Forgets all chunks of a volume. */
  dropAll(owner: number): void {
    for (let slot = 0; slot < this.#slots.length; slot++)
      if (this.#owner[slot] === owner) this.#release(slot);
  }

  #hash(owner: number, chunk: number): number {
    const low = chunk >>> 0;
    const high = (chunk / 0x1_0000_0000) >>> 0;
    let h = Math.imul(low ^ Math.imul(owner + 1, 0x85ebca6b) ^ Math.imul(high, 0xc2b2ae35), 0x9e3779b1);
    h ^= h >>> 15;
    return h & this.#mask;
  }

  #find(owner: number, chunk: number): number {
    let slot = this.#heads[this.#hash(owner, chunk)] as number;
    while (slot >= 0 && (this.#chunk[slot] !== chunk || this.#owner[slot] !== owner))
      slot = this.#chain[slot] as number;
    return slot;
  }

  #load(owner: CachedSource, chunk: number): number {
    const slot = this.#freeSlot();
    const length = readFully(
      owner.source,
      this.#slots[slot] as Buffer,
      this.chunkSize,
      chunk * this.chunkSize,
    );
    this.#enter(slot, owner.id, chunk, length);
    return slot;
  }

  #loadAhead(owner: CachedSource, chunk: number): number {
    const size = this.chunkSize;
    const length = readFully(owner.source, readAhead, READ_AHEAD, chunk * size);
    for (let next = 1; next * size < length; next++) {
      if (this.#find(owner.id, chunk + next) >= 0) continue;
      const slot = this.#freeSlot();
      const there = Math.min(size, length - next * size);
      readAhead.copy(this.#slots[slot] as Buffer, 0, next * size, next * size + there);
      this.#enter(slot, owner.id, chunk + next, there);
    }
    const slot = this.#freeSlot();
    const there = Math.min(size, length);
    readAhead.copy(this.#slots[slot] as Buffer, 0, 0, there);
    this.#enter(slot, owner.id, chunk, there);
    return slot;
  }

  #enter(slot: number, owner: number, chunk: number, length: number): void {
    this.#owner[slot] = owner;
    this.#chunk[slot] = chunk;
    this.#length[slot] = length;
    this.#used[slot] = 1;
    this.checked[slot] = 0;
    const head = this.#hash(owner, chunk);
    this.#chain[slot] = this.#heads[head] as number;
    this.#heads[head] = slot;
  }

  #freeSlot(): number {
    if (this.#slots.length < this.#capacity) {
      this.#slots.push(Buffer.allocUnsafeSlow(this.chunkSize));
      return this.#slots.length - 1;
    }
    for (;;) {
      const slot = this.#hand;
      this.#hand = slot + 1 === this.#capacity ? 0 : slot + 1;
      if (this.#used[slot] === 0) {
        this.#release(slot);
        return slot;
      }
      this.#used[slot] = 0;
    }
  }

  #release(slot: number): void {
    const owner = this.#owner[slot] as number;
    if (owner < 0) return;
    const head = this.#hash(owner, this.#chunk[slot] as number);
    let before = this.#heads[head] as number;
    if (before === slot) this.#heads[head] = this.#chain[slot] as number;
    else {
      while (this.#chain[before] !== slot) before = this.#chain[before] as number;
      this.#chain[before] = this.#chain[slot] as number;
    }
    this.#owner[slot] = -1;
    this.#used[slot] = 0;
  }
}

/** The cache of one process or thread. */
export class BlockCache implements ReadCount {
  /** How often the sources that were made by `counted` have been read. */
  reads = 0;
  readonly #bytes: number;
  readonly #sizes = new Map<number, ChunkCache>();
  readonly #counts: Float64Array;
  #nextId = 0;

  /**
   * `bytes`: the most that it holds for volumes with blocks of up to 16 KiB, and again for each larger block size.
   * `counts`: see CacheCount; in shared memory others can read it.
   */
  constructor(bytes: number, counts: Float64Array = new Float64Array(CacheCount.SIZE)) {
    this.#bytes = bytes;
    this.#counts = counts;
  }

  /** A source whose reads are counted here too. */
  counted(source: Source): CountedSource {
    return new CountedSource(source, this);
  }

  /** Registers a volume; `blockSize` in bytes, a power of two. */
  add(source: Source, blockSize: number): CachedSource {
    const chunkSize = Math.max(SMALLEST_CHUNK, blockSize);
    let chunks = this.#sizes.get(chunkSize);
    if (chunks === undefined) {
      chunks = new ChunkCache(chunkSize, this.#bytes, this.#counts);
      this.#sizes.set(chunkSize, chunks);
    }
    return { id: this.#nextId++, source, chunks };
  }

  /** Forgets a volume. */
  remove(cached: CachedSource): void {
    cached.chunks.dropAll(cached.id);
  }
}

/** Reads until `length` bytes are there or the source ends; returns how many. Throws IoError when it cannot be read. */
export function readFully(
  source: Source,
  target: Buffer,
  length: number,
  position: number,
  targetOffset = 0,
): number {
  let done = 0;
  try {
    while (done < length) {
      const got = source.read(target, targetOffset + done, length - done, position + done);
      if (got <= 0) break;
      done += got;
    }
  } catch (error) {
    throw new IoError(
      EIO,
      `bytes ${position}-${position + length - 1} cannot be read: ${(error as Error).message}`,
    );
  }
  return done;
}
