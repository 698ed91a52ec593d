/**
 * A view answers "what is in block N" in one version of a volume: the newest logged copy where the journal has one
 * that is not yet in its place, else the block in its place.
 */

import type { Source } from "../images/image.js";
import { EIO, IoError } from "../images/io-error.js";
import { type BlockCache, type CachedSource, readFully } from "./block-cache.js";
import { type Commit, isAfter } from "./commit.js";
import { HeldCommit } from "./held-commit.js";

/** A block's newest copy outside its place. */
export interface LoggedCopy {
  /** The transaction that it is of. */
  readonly sequence: number;
  /**
   * Puts the copy's bytes (one block) at `targetOffset`; false if the copy is gone, and they are what is in the block's
   * place. Throws IoError.
   */
  read(target: Buffer, targetOffset: number): boolean;
}

/** Bytes of logged copies that one view keeps at hand. */
const COPIES_AT_HAND = 8 << 20;

/** A copy's bytes. */
interface CopyAtHand {
  readonly bytes: Buffer;
  /** Whether they have been found good. */
  checked: boolean;
  /** See View.isGone. */
  readonly isGone: boolean;
}

/** One version of one volume's blocks. */
export class View {
  readonly blockSize: number;
  /** Where the block that was located last lies in the buffer that `locate` returned. */
  at = 0;
  /** Whether the block that was located last has been found good before (see `markChecked`). */
  checked = false;
  /**
   * Whether the block that was located last is not known as it is in this version: its copy is gone, and what is in its
   * place is of a later version, or of an earlier one if a later transaction has a copy of it.
   */
  isGone = false;
  /** How often a logged copy has been read. */
  copyReads = 0;
  readonly #cached: CachedSource;
  readonly #blocksPerChunk: number;
  readonly #copies = new Map<number, LoggedCopy>();
  readonly #atHand = new Map<number, CopyAtHand>();
  readonly #commits: HeldCommit[] = [];
  #settled: number | undefined;
  #reads: Set<number> | undefined;
  #isStrict = false;
  #slot = -1;
  #bit = 0;
  #logged: CopyAtHand | undefined;

  /** `blockSize` in bytes, a power of two from 512 on. */
  constructor(source: Source, blockSize: number, cache: BlockCache) {
    this.blockSize = blockSize;
    this.#cached = cache.add(source, blockSize);
    this.#blocksPerChunk = this.#cached.chunks.chunkSize / blockSize;
  }

  /** How many whole blocks the volume's bytes make (a volume cut short has fewer than its file system says). */
  get blocksThere(): number {
    return Math.floor(this.#cached.source.size / this.blockSize);
  }

  /**
   * Finds a block: returns a buffer in which it lies at `this.at`. It stays there until the next call or two only.
   * With `ahead`, blocks after it are likely to be asked for next. Throws IoError when it cannot be read.
   */
  locate(block: number, ahead = false): Buffer {
    if (this.#copies.size !== 0) {
      const copy = this.#copies.get(block);
      if (copy !== undefined) return this.#locateCopy(block, copy);
    }
    if (this.#reads !== undefined) this.#reads.add(block);
    const { chunks } = this.#cached;
    const chunk = Math.floor(block / this.#blocksPerChunk);
    const within = block - chunk * this.#blocksPerChunk;
    const slot = chunks.slot(this.#cached, chunk, ahead);
    this.at = within * this.blockSize;
    if (this.at + this.blockSize > chunks.length(slot)) throw beyondEnd(block);
    this.#logged = undefined;
    this.isGone = false;
    this.#slot = slot;
    this.#bit = 1 << within;
    this.checked = ((chunks.checked[slot] as number) & this.#bit) !== 0;
    return chunks.bytes(slot);
  }

  /** From now on adds the blocks whose bytes are those in their places to `reads`; undefined: no more. */
  noteReads(reads: Set<number> | undefined): void {
    this.#reads = reads;
  }

  /** From now on a block that is not known as it is in this version cannot be read; see `isGone`. */
  refuseGone(): void {
    this.#isStrict = true;
  }

  /** Notes that the block that was located last is good, so that its checksum need not be computed again. */
  markChecked(): void {
    if (this.#logged !== undefined) this.#logged.checked = true;
    else
      this.#cached.chunks.checked[this.#slot] =
        (this.#cached.chunks.checked[this.#slot] as number) | this.#bit;
    this.checked = true;
  }

  /**
   * Reads `length` bytes from byte `offset` of `block` on, across as many blocks as that takes, past the cache.
   * Logged copies are honoured (a journal may hold data). Throws IoError; bytes past the end of the volume are EIO.
   */
  readData(block: number, offset: number, length: number, target: Buffer, targetOffset: number): void {
    if (this.#copies.size !== 0 && this.#anyCopy(block, offset + length)) {
      this.#readMixed(block, offset, length, target, targetOffset);
      return;
    }
    const position = block * this.blockSize + offset;
    if (readFully(this.#cached.source, target, length, position, targetOffset) < length)
      throw beyondEnd(block);
  }

  /** Reads a block in its place, whatever has been logged, past the cache. Throws IoError. */
  readPlace(block: number, target: Buffer, targetOffset: number): void {
    const position = block * this.blockSize;
    if (readFully(this.#cached.source, target, this.blockSize, position, targetOffset) < this.blockSize)
      throw beyondEnd(block);
  }

  /** Where the newest copy of a block is, from now on; undefined: in its place. */
  setCopy(block: number, copy: LoggedCopy | undefined): void {
    this.#atHand.delete(block);
    if (copy === undefined) this.#copies.delete(block);
    else this.#copies.set(block, copy);
  }

  /** Moves on to the next version. */
  apply(commit: Commit): void {
    this.settle(commit.settled);
    for (const block of commit.revoked) {
      this.setCopy(block, undefined);
      this.forgetPlace(block);
    }
    const held = new HeldCommit(commit, this.blockSize, this.#cached.source);
    for (const [index, block] of commit.blocks.entries()) this.setCopy(block, held.copy(index));
    this.#commits.push(held);
    this.#cached.commits.add(held);
  }

  /** Drops the copies of transactions before `sequence`: they are in their places now. */
  settle(sequence: number): void {
    if (this.#settled === sequence) return;
    this.#settled = sequence;
    for (const [block, copy] of this.#copies) {
      if (!isAfter(sequence, copy.sequence)) continue;
      this.setCopy(block, undefined);
      this.forgetPlace(block);
    }
    while (this.#commits[0] !== undefined && isAfter(sequence, this.#commits[0].sequence))
      this.#commits.shift()?.drop();
  }

  /** How many blocks have their newest copy outside their place. */
  get copies(): number {
    return this.#copies.size;
  }

  /**
   * Whether the `length` bytes at `offset` of a block's newest copy are also in its place; false if there is no copy.
   * Throws IoError.
   */
  isInPlace(block: number, offset: number, length: number): boolean {
    const copy = this.#copies.get(block);
    if (copy === undefined) return false;
    const bytes = this.#locateCopy(block, copy);
    const place = Buffer.allocUnsafe(length);
    const position = block * this.blockSize + offset;
    if (readFully(this.#cached.source, place, length, position) < length) return false;
    return bytes.compare(place, 0, length, offset, offset + length) === 0;
  }

  /** The blocks that have their newest copy outside their place. */
  logged(): Iterable<number> {
    return this.#copies.keys();
  }

  /** Whether the newest copy of a block is outside its place. */
  hasCopy(block: number): boolean {
    return this.#copies.has(block);
  }

  /** Forgets what was read of a block's place. */
  forgetPlace(block: number): void {
    this.#cached.chunks.drop(this.#cached.id, Math.floor(block / this.#blocksPerChunk));
  }

  /** Forgets what was read of all places. */
  forgetPlaces(): void {
    this.#cached.chunks.dropAll(this.#cached.id);
  }

  /** Forgets all that was read, and all copies. */
  forgetAll(): void {
    this.#cached.chunks.dropAll(this.#cached.id);
    this.#copies.clear();
    this.#atHand.clear();
    for (const held of this.#commits.splice(0)) held.drop();
  }

  #locateCopy(block: number, copy: LoggedCopy): Buffer {
    let held = this.#atHand.get(block);
    if (held === undefined) {
      const limit = Math.max(64, COPIES_AT_HAND / this.blockSize);
      let spare: Buffer | undefined;
      for (const [oldest, { bytes }] of this.#atHand) {
        if (this.#atHand.size < limit) break;
        this.#atHand.delete(oldest);
        spare = bytes;
      }
      const bytes = spare ?? Buffer.allocUnsafeSlow(this.blockSize);
      this.copyReads++;
      held = { bytes, checked: false, isGone: !copy.read(bytes, 0) };
      this.#atHand.set(block, held);
    }
    this.isGone = held.isGone;
    if (held.isGone) {
      if (this.#isStrict)
        throw new IoError(EIO, `block ${block}: its copy in the journal has been written over`);
      this.#reads?.add(block);
    }
    this.#logged = held;
    this.at = 0;
    this.checked = held.checked;
    return held.bytes;
  }

  #anyCopy(block: number, bytes: number): boolean {
    const blocks = Math.ceil(bytes / this.blockSize);
    for (let n = 0; n < blocks; n++) if (this.#copies.has(block + n)) return true;
    return false;
  }

  #readMixed(block: number, offset: number, length: number, target: Buffer, targetOffset: number): void {
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const current = block + Math.floor(at / this.blockSize);
      const within = at % this.blockSize;
      const part = Math.min(this.blockSize - within, length - done);
      const copy = this.#copies.get(current);
      if (copy !== undefined) {
        const bytes = this.#locateCopy(current, copy);
        bytes.copy(target, targetOffset + done, within, within + part);
      } else {
        const position = current * this.blockSize + within;
        if (readFully(this.#cached.source, target, part, position, targetOffset + done) < part) {
          throw beyondEnd(current);
        }
      }
      done += part;
    }
  }
}

function beyondEnd(block: number): IoError {
  return new IoError(EIO, `block ${block} lies past the end of the volume`);
}
