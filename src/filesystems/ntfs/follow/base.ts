/** The first version: all records that are in use, and the blocks of directories, taken as they are found. */
import type { Source } from "../../../images/image.js";
import { readFully } from "../../../versions/block-cache.js";
import type { Accepted } from "./accepted.js";
import { baseOf, saysInUse } from "./raw-record.js";

/** Bytes of a piece of what is taken, and of what is read at once. */
const PIECE = 4 << 20;
const BATCH = 262_144;

/** Blocks, and their bytes one after the other (in shared memory). */
export interface Piece {
  readonly blocks: number[];
  readonly bytes: Buffer;
}

export class Base {
  /** What has been taken. */
  readonly pieces: Piece[] = [];
  readonly #source: Source;
  readonly #accepted: Accepted;
  readonly #most: number;

  /** For a version that is still empty; `limit` in bytes. */
  constructor(source: Source, accepted: Accepted, limit: number) {
    this.#source = source;
    this.#accepted = accepted;
    this.#most = limit;
  }

  /** Takes all metadata; pauses now and then. Returns false if it is more than the limit. Throws IoError. */
  *take(): Generator<void, boolean> {
    const { geometry, places, records } = this.#accepted;
    const { recordSize } = geometry;
    const batch = Math.max(1, Math.floor(BATCH / recordSize));
    const buffer = Buffer.allocUnsafeSlow(batch * recordSize);
    for (let first = 0; first < places.records; first += batch) {
      const count = Math.min(batch, places.records - first);
      places.read(this.#source, first, count, buffer);
      for (let n = 0; n < count; n++) {
        const at = n * recordSize;
        if (!saysInUse(buffer, at)) continue;
        records.set(first + n, this.#takeBytes(places.blocksOf(first + n), buffer, at));
      }
      if (this.#accepted.size > this.#most) return false;
      yield;
    }
    for (const [record, bytes] of records) {
      if (baseOf(bytes, 0, record) !== record) continue;
      this.#takeOthers(record);
      if (this.#accepted.size > this.#most) return false;
      yield;
    }
    return true;
  }

  #takeOthers(record: number): void {
    const { others, owners, geometry } = this.#accepted;
    const { blockSize } = geometry;
    const room = Math.max(0, Math.floor((this.#most - this.#accepted.size) / blockSize) + 1);
    const side = this.#accepted.side(record, room);
    const bytes = Buffer.alloc(blockSize);
    for (const block of side.blocks) {
      if (others.has(block)) continue;
      readFully(this.#source, bytes, blockSize, block * blockSize);
      owners.set(block, record);
      others.set(block, this.#takeBytes([block], bytes, 0));
    }
    this.#accepted.noteHidden(side);
  }

  /** Copies bytes of blocks to where they are kept. */
  #takeBytes(blocks: readonly number[], buffer: Buffer, at: number): Buffer {
    const { blockSize, recordSize } = this.#accepted.geometry;
    const length = Math.max(blocks.length * blockSize, blocks.length === 0 ? recordSize : 0);
    // What lies nowhere can be in no commit.
    if (blocks.length === 0) return Buffer.from(buffer.subarray(at, at + recordSize));
    let piece = this.pieces.at(-1);
    if (piece === undefined || piece.blocks.length * blockSize + length > piece.bytes.length) {
      piece = { blocks: [], bytes: Buffer.from(new SharedArrayBuffer(PIECE)) };
      this.pieces.push(piece);
    }
    const to = piece.blocks.length * blockSize;
    const bytes = piece.bytes.subarray(to, to + length);
    buffer.copy(bytes, 0, at, at + length);
    piece.blocks.push(...blocks);
    return bytes;
  }
}
