/** The first version: a walk through all metadata, taken as it is found. */
import type { Source } from "../../../images/image.js";
import { readFully } from "../../../versions/block-cache.js";
import { FileType } from "../../filesystem.js";
import { Inode, InodeFlags } from "../inode.js";
import { type Accepted, copyInode, isLive } from "./accepted.js";
import { type NameVisitor, visitInlineNames, visitNames } from "./names.js";

/** Bytes of a piece of what is taken. */
const PIECE = 4 << 20;
/** Names' inodes that are counted at most. */
const MOST_NAMED = 2_000_000;

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
  readonly #inode: Inode;

  /** For a version that is still empty; `limit` in bytes. */
  constructor(source: Source, accepted: Accepted, limit: number) {
    this.#source = source;
    this.#accepted = accepted;
    this.#most = Math.floor(limit / accepted.parts.geometry.blockSize);
    this.#inode = new Inode(accepted.parts.geometry);
  }

  /** Takes all metadata; pauses now and then. Returns false if it is more than the limit. Throws IoError. */
  *take(): Generator<void, boolean> {
    const { places } = this.#accepted;
    this.#read(places.superblock);
    for (const block of places.descriptors) {
      const descriptors = this.#read(block);
      if (descriptors === undefined) continue;
      for (const bitmap of places.bitmapsOf(block, descriptors)) {
        const bits = this.#read(bitmap);
        if (this.#isTooMuch) return false;
        if (bits === undefined) continue;
        for (const table of places.tableBlocksOf(bitmap, bits)) {
          this.#takeInodes(table);
          if (this.#isTooMuch) return false;
          yield;
        }
      }
    }
    return true;
  }

  get #isTooMuch(): boolean {
    return this.#accepted.kept.size > this.#most || this.#accepted.named > MOST_NAMED;
  }

  #takeInodes(table: number): void {
    const { places } = this.#accepted;
    const bytes = this.#read(table);
    const first = places.tables.firstInode(table);
    if (bytes === undefined || first === 0) return;
    for (let n = 0; n < places.inodesPerBlock && !this.#isTooMuch; n++) {
      const inode = copyInode(this.#accepted, first + n, bytes, this.#inode);
      if (isLive(inode)) this.#takeInode(inode);
    }
  }

  #takeInode(inode: Inode): void {
    const { directoryBlock, fileBlocks, kept, owners, parts, places } = this.#accepted;
    const { ino } = inode;
    const attributes = fileBlocks.attributes(inode);
    if (attributes !== 0 && !places.isFixed(attributes)) {
      this.#accepted.share(attributes, 1);
      if (!kept.has(attributes)) this.#read(attributes);
    }
    const isDirectory = inode.type === FileType.DIRECTORY;
    const count: NameVisitor = (_buffer, _at, _length, named) => this.#accepted.addNames(named, 1);
    const claim = (block: number): Buffer | undefined => {
      if (owners.has(block) || places.isFixed(block) || this.#isTooMuch) return undefined;
      owners.set(block, ino);
      return this.#read(block);
    };
    fileBlocks.visit(inode, {
      map: claim,
      content: (block) => {
        const bytes = claim(block);
        if (bytes !== undefined && isDirectory) visitNames(directoryBlock, bytes, count);
      },
    });
    if (isDirectory && inode.hasFlag(InodeFlags.INLINE_DATA))
      visitInlineNames(parts.directories, inode, directoryBlock, count);
  }

  /** Takes a block; undefined if it lies past the end of the volume. */
  #read(block: number): Buffer | undefined {
    const { blockSize } = this.#accepted.parts.geometry;
    let piece = this.pieces.at(-1);
    if (piece === undefined || piece.blocks.length * blockSize === piece.bytes.length) {
      piece = { blocks: [], bytes: Buffer.from(new SharedArrayBuffer(PIECE)) };
      this.pieces.push(piece);
    }
    const at = piece.blocks.length * blockSize;
    const bytes = piece.bytes.subarray(at, at + blockSize);
    if (readFully(this.#source, bytes, blockSize, block * blockSize) < blockSize) return undefined;
    piece.blocks.push(block);
    this.#accepted.kept.set(block, bytes);
    return bytes;
  }
}
