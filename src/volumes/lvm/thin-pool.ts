/** A thin pool, and the thin volumes and their snapshots in it, while the guest goes on giving them room. */
import type { Log, Source } from "../../images/image.js";
import { EIO, IoError } from "../../images/io-error.js";
import { BLOCK, DmBlocks, DmMetadataError, findInTree, PLACE, u64At } from "./dm-btree.js";
import { SECTOR } from "./label.js";
import { DETAILS, readThinRoots, type ThinRoots } from "./thin-metadata.js";
import { Unreadable } from "./unreadable.js";

/** Blocks of a pool's metadata that are kept: 2 MiB. */
const MOST_BLOCKS = 512;
/** Places of a volume's blocks that are kept. A power of two. */
const MOST_PLACES = 4096;
/** Bytes of a superblock by which it is told from another: the checksum stands first, the transaction's number in 48. */
const MARK = 56;
/** How often a place is looked up, or a superblock read, afresh while the guest changes the metadata. */
const TRIES = 8;
/** Sectors of a block of data (DATA_DEV_BLOCK_SIZE_MIN_SECTORS and _MAX_). */
const SMALLEST = 128;
const LARGEST = 2097152;

export class ThinPool {
  /** Bytes of a block of data. */
  readonly blockSize: number;
  /** Another number whenever the metadata has changed. */
  version = 0;
  readonly data: Source;
  readonly #metadata: Source;
  readonly #blocks: DmBlocks;
  readonly #log: Log;
  readonly #superblock = Buffer.alloc(BLOCK);
  readonly #mark = Buffer.alloc(MARK);
  readonly #found = { node: Buffer.alloc(0) };
  /** By a volume's number: the root of its tree, -1 if it is not there. Of this version. */
  readonly #trees = new Map<number, number>();
  /** Whether the superblock that was read last made sense. */
  #isKnown = true;
  #roots: ThinRoots;
  #logged = "";

  /** `chunk`: sectors of a block of data, as LVM has it. Throws Unreadable. */
  constructor(metadata: Source, data: Source, chunk: number, log: Log) {
    this.#metadata = metadata;
    this.data = data;
    this.#log = log;
    this.#blocks = new DmBlocks(metadata, MOST_BLOCKS);
    const roots = this.#readRoots();
    if ("problem" in roots)
      throw new Unreadable(`the metadata of its thin pool cannot be read: ${roots.problem}`);
    const { dataBlockSize: size } = roots;
    if (size !== chunk || !(size >= SMALLEST && size <= LARGEST) || size % SMALLEST !== 0)
      throw new Unreadable("its thin pool has another block size than LVM says");
    this.blockSize = size * SECTOR;
    this.#roots = roots;
  }

  /** Whether the pool has a volume of that number. Throws IoError. */
  has(device: number): boolean {
    return this.#attempt(() => {
      const found = findInTree(this.#blocks, this.#roots.details, device, DETAILS, this.#found);
      return found >= 0 && this.#tree(device) >= 0;
    });
  }

  /** Takes in what the guest has changed. Throws IoError, and what reading throws. */
  refresh(): void {
    if (this.#isCurrent()) return;
    const roots = this.#readRoots();
    this.version++;
    this.#blocks.clear();
    this.#trees.clear();
    this.#isKnown = !("problem" in roots);
    if ("problem" in roots) throw this.#failure(roots.problem);
    this.#roots = roots;
  }

  /**
   * The first byte in the data of a volume's block; -1 if it has no room. Throws IoError for metadata that makes no sense,
   * and what reading throws.
   */
  placeOf(device: number, block: number): number {
    return this.#attempt(() => {
      const tree = this.#tree(device);
      if (tree < 0) throw new DmMetadataError("does not have a volume any more");
      const at = findInTree(this.#blocks, tree, block, PLACE, this.#found);
      if (at < 0) return -1;
      // The lower 24 bits are the time at which it was given room.
      const { node } = this.#found;
      const place = node.readUInt32LE(at + 4) * 2 ** 8 + (node.readUInt32LE(at) >>> 24);
      const start = place * this.blockSize;
      if (start + this.blockSize > this.data.size)
        throw new DmMetadataError("names a place past the end of the pool's data");
      return start;
    });
  }

  #tree(device: number): number {
    const known = this.#trees.get(device);
    if (known !== undefined) return known;
    const at = findInTree(this.#blocks, this.#roots.mapping, device, PLACE, this.#found);
    const root = at < 0 ? -1 : u64At(this.#found.node, at);
    this.#trees.set(device, root);
    return root;
  }

  /** Calls `find` once more when the metadata has changed meanwhile: then its blocks may be others. */
  #attempt<T>(find: () => T): T {
    let problem = "is changed all the time";
    for (let tries = 0; tries < TRIES; tries++) {
      let value: T | undefined;
      try {
        value = find();
      } catch (error) {
        if (!(error instanceof DmMetadataError)) throw error;
        problem = error.message;
      }
      if (this.#isCurrent()) {
        if (value !== undefined) return value;
        break;
      }
      this.refresh();
    }
    throw this.#failure(problem);
  }

  /** Whether the superblock is the one that is known. */
  #isCurrent(): boolean {
    const there = this.#metadata.read(this.#mark, 0, MARK, 0);
    return this.#isKnown && there === MARK && this.#superblock.compare(this.#mark, 0, MARK, 0, MARK) === 0;
  }

  #readRoots(): ThinRoots | { readonly problem: string } {
    let roots: ThinRoots | { readonly problem: string } = { problem: "it is not there" };
    // It may be half written just now.
    for (let tries = 0; tries < TRIES; tries++) {
      if (this.#metadata.read(this.#superblock, 0, BLOCK, 0) < BLOCK) return roots;
      roots = readThinRoots(this.#superblock);
      if (!("problem" in roots)) return roots;
    }
    return roots;
  }

  #failure(problem: string): IoError {
    const line = `the metadata of a thin pool ${problem}: what it leads to cannot be read`;
    if (line !== this.#logged) this.#log(line);
    this.#logged = line;
    return new IoError(EIO, line);
  }
}

/** The bytes of a thin volume: where it has no room, zeros. */
export class ThinSource implements Source {
  readonly size: number;
  readonly #pool: ThinPool;
  readonly #device: number;
  /** Where blocks are that were looked up, by the lower bits of their numbers; of one version of the metadata. */
  readonly #numbers = new Float64Array(MOST_PLACES).fill(-1);
  readonly #places = new Float64Array(MOST_PLACES);
  #version = 0;

  /** `device`: its number in the pool; `size`: bytes. */
  constructor(pool: ThinPool, device: number, size: number) {
    this.#pool = pool;
    this.#device = device;
    this.size = size;
  }

  read(target: Buffer, targetOffset: number, length: number, position: number): number {
    const pool = this.#pool;
    pool.refresh();
    const { blockSize } = pool;
    const wanted = Math.min(length, this.size - position);
    let done = 0;
    while (done < wanted) {
      const at = position + done;
      let block = Math.floor(at / blockSize);
      const within = at - block * blockSize;
      const place = this.#placeOf(block);
      let here = Math.min(wanted - done, blockSize - within);
      // Those that follow in the same way are read with it.
      while (here < wanted - done) {
        const next = this.#placeOf(++block);
        if (place < 0 ? next >= 0 : next !== place + within + here) break;
        here = Math.min(wanted - done, here + blockSize);
      }
      if (place < 0) target.fill(0, targetOffset + done, targetOffset + done + here);
      else if (pool.data.read(target, targetOffset + done, here, place + within) < here) return done;
      done += here;
    }
    return Math.max(0, done);
  }

  #placeOf(block: number): number {
    const slot = block % MOST_PLACES;
    if (this.#version === this.#pool.version && this.#numbers[slot] === block)
      return this.#places[slot] as number;
    const place = this.#pool.placeOf(this.#device, block);
    if (this.#version !== this.#pool.version) {
      this.#version = this.#pool.version;
      this.#numbers.fill(-1);
    }
    this.#numbers[slot] = block;
    this.#places[slot] = place;
    return place;
  }
}
