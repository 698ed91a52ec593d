/** A commit whose copies are in force: its bytes in memory, or, when that was too much, in the journal. */
import { createHash } from "node:crypto";
import type { Source } from "../images/image.js";
import { EIO, IoError } from "../images/io-error.js";
import { readFully } from "./block-cache.js";
import type { Commit } from "./commit.js";
import type { LoggedCopy } from "./view.js";

export class HeldCommit {
  readonly sequence: number;
  readonly #blocks: Float64Array;
  readonly #places: Float64Array;
  readonly #blockSize: number;
  readonly #source: Source;
  #bytes: Uint8Array | undefined;
  /** Of each copy, once its bytes are let go. */
  #digests: readonly string[] = [];

  constructor(commit: Commit, blockSize: number, source: Source) {
    this.sequence = commit.sequence;
    this.#blocks = commit.blocks;
    this.#places = commit.places;
    this.#bytes = commit.bytes;
    this.#blockSize = blockSize;
    this.#source = source;
  }

  get bytesHeld(): number {
    return this.#bytes?.length ?? 0;
  }

  copy(index: number): LoggedCopy {
    return {
      sequence: this.sequence,
      read: (target, targetOffset) => this.#read(index, target, targetOffset),
    };
  }

  /** Lets go of the bytes, unless some of them stand nowhere else. */
  release(): void {
    const bytes = this.#bytes;
    if (bytes === undefined || this.#places.includes(0)) return;
    this.#digests = Array.from(this.#blocks, (_, index) =>
      digest(bytes, index * this.#blockSize, this.#blockSize),
    );
    this.#bytes = undefined;
  }

  /** Lets go of the bytes of a commit whose copies are in force no more. */
  drop(): void {
    this.#bytes = undefined;
  }

  #read(index: number, target: Buffer, targetOffset: number): boolean {
    const size = this.#blockSize;
    if (this.#bytes !== undefined) {
      target.set(this.#bytes.subarray(index * size, (index + 1) * size), targetOffset);
      return true;
    }
    this.#readBlock(this.#places[index] as number, target, targetOffset);
    // A copy that is no longer in the journal has been written to its place, or the journal could not go on.
    if (digest(target, targetOffset, size) === this.#digests[index]) return true;
    this.#readBlock(this.#blocks[index] as number, target, targetOffset);
    return false;
  }

  #readBlock(block: number, target: Buffer, targetOffset: number): void {
    const got = readFully(this.#source, target, this.#blockSize, block * this.#blockSize, targetOffset);
    if (got < this.#blockSize) throw new IoError(EIO, `block ${block} lies past the end of the volume`);
  }
}

function digest(bytes: Uint8Array, at: number, length: number): string {
  return createHash("md5")
    .update(bytes.subarray(at, at + length))
    .digest("base64");
}
