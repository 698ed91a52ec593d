/** The first version: all metadata, taken as it is found. */
import type { Source } from "../../../images/image.js";
import { IoError } from "../../../images/io-error.js";
import { readFully } from "../../../versions/block-cache.js";
import type { Kept } from "../../agreement/kept.js";
import type { DirectoryPlace } from "../layout.js";
import { clustersNeeded, placeOfFile } from "./file.js";
import type { KeptBlocks } from "./overlay.js";
import { type KnownTree, MOST_FILES, TreeReader } from "./tree.js";

/** Bytes of a piece of what is taken, and of the first one. */
const PIECE = 1 << 20;
const FIRST_PIECE = 1 << 16;

/** Sectors, and their bytes one after the other (in shared memory). */
export interface Piece {
  readonly sectors: number[];
  readonly bytes: Buffer;
}

export class Base {
  /** What has been taken. */
  readonly pieces: Piece[] = [];
  readonly #source: Source;
  readonly #tree: KnownTree;
  readonly #kept: Kept;
  readonly #blocks: KeptBlocks;
  readonly #most: number;

  /** For a tree that is still empty; `blocks` read `kept`. `limit` in bytes. */
  constructor(source: Source, tree: KnownTree, kept: Kept, blocks: KeptBlocks, limit: number) {
    this.#source = source;
    this.#tree = tree;
    this.#kept = kept;
    this.#blocks = blocks;
    this.#most = Math.floor(limit / tree.layout.sectorSize);
  }

  /**
   * Takes the boot sector, the table, `more` sectors and all directories; pauses now and then. Returns false if it is more
   * than the limit. Throws IoError.
   */
  *take(more: (reader: TreeReader) => readonly number[]): Generator<void, boolean> {
    const { layout } = this.#tree;
    const { tableStart, tableSectors } = layout;
    this.#read(0, 1);
    const each = PIECE / layout.sectorSize;
    for (let n = 0; n < tableSectors; n += each) {
      this.#read(tableStart + n, Math.min(each, tableSectors - n));
      if (this.#isTooMuch) return false;
      yield;
    }
    const reader = new TreeReader(layout, this.#blocks);
    for (const sector of more(reader)) this.#read(sector, 1);
    const directories: Array<readonly [number, DirectoryPlace]> = [[layout.rootInode, layout.root]];
    for (let next = directories.pop(); next !== undefined; next = directories.pop()) {
      const [ino, place] = next;
      this.#own(reader, ino, place);
      const directory = reader.directory(ino, place);
      for (const sector of directory.sectors) this.#read(sector, 1);
      // Read again from what is kept now, so that both are the same.
      const taken = reader.directory(ino, place);
      this.#tree.setDirectory(ino, taken);
      for (const file of taken.files.values()) {
        if (this.#tree.files.has(file.ino)) continue;
        this.#tree.files.set(file.ino, file);
        if (file.isDirectory && !file.isBad) directories.push([file.ino, placeOfFile(file)]);
        else if (!file.isDirectory) {
          const { clusters } = reader.clusters(file, clustersNeeded(file, layout.clusterSize));
          this.#tree.own(file.ino, clusters);
        }
      }
      if (this.#isTooMuch) return false;
      yield;
    }
    return true;
  }

  get #isTooMuch(): boolean {
    return this.#kept.size > this.#most || this.#tree.files.size > MOST_FILES;
  }

  #own(reader: TreeReader, ino: number, place: DirectoryPlace): void {
    const { clusterSize, mostSlots } = this.#tree.layout;
    const count = Math.ceil((place.size ?? 0) / clusterSize);
    const { clusters } = reader.clusters(place, count, Math.ceil((mostSlots * 32) / clusterSize));
    this.#tree.own(ino, clusters);
  }

  /** Takes sectors; those past the end of the volume are left out. */
  #read(first: number, count: number): void {
    const { sectorSize } = this.#tree.layout;
    if (count === 1 && this.#kept.has(first)) return;
    const bytes = this.#room(count * sectorSize);
    let there = 0;
    try {
      there = Math.floor(readFully(this.#source, bytes, bytes.length, first * sectorSize) / sectorSize);
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
    }
    const { sectors } = this.pieces.at(-1) as Piece;
    for (let n = 0; n < there; n++) {
      sectors.push(first + n);
      this.#kept.set(first + n, bytes.subarray(n * sectorSize, (n + 1) * sectorSize));
    }
  }

  /** Room for `length` bytes in the last piece, or a new one. */
  #room(length: number): Buffer {
    const last = this.pieces.at(-1);
    const at = (last?.sectors.length ?? 0) * this.#tree.layout.sectorSize;
    if (last !== undefined && at + length <= last.bytes.length) return last.bytes.subarray(at, at + length);
    const bytes = Buffer.from(
      new SharedArrayBuffer(Math.max(last === undefined ? FIRST_PIECE : PIECE, length)),
    );
    this.pieces.push({ sectors: [], bytes });
    return bytes.subarray(0, length);
  }
}
