/** The blocks that an inode has beside its data: of its map, of its attributes, and of what a directory or link holds. */
import { FileType } from "../../filesystem.js";
import { BlockMap, hasMap } from "../block-map.js";
import type { Inode, Inodes } from "../inode.js";
import type { Geometry } from "../superblock.js";

/** The most blocks of one directory that are looked through, as when it is listed. */
const MOST_CONTENTS = 65536;

export interface BlockVisitor {
  /** A block of the map; returns its bytes, or undefined to go no further there. */
  map(block: number): Buffer | undefined;
  /** A block of a directory's entries, or of a link's target. */
  content(block: number): void;
}

export class FileBlocks {
  /** Of the inode visited last: how many blocks its map has and leads to, and the block of its attributes. */
  allocated = 0;
  /** Whether a structure of it was bad. */
  isBad = false;
  readonly #geometry: Geometry;
  readonly #inodes: Inodes;
  readonly #map: BlockMap;

  constructor(geometry: Geometry, inodes: Inodes) {
    this.#geometry = geometry;
    this.#inodes = inodes;
    this.#map = new BlockMap(geometry);
  }

  /** The block of extended attributes, which inodes may share; 0 for none. */
  attributes(inode: Inode): number {
    const block = this.#inodes.attributeBlock(inode);
    return this.#map.isThere(block) ? block : 0;
  }

  visit(inode: Inode, visitor: BlockVisitor): void {
    this.isBad = false;
    this.allocated = this.#inodes.attributeBlock(inode) === 0 ? 0 : 1;
    if (!hasMap(this.#geometry, this.#inodes, inode)) return;
    const hasContent = inode.type !== FileType.REGULAR;
    let contents = 0;
    this.#map.walk(inode, {
      map: (block) => visitor.map(block),
      run: (first, count) => {
        if (!hasContent) return;
        for (let n = 0; n < count && contents < MOST_CONTENTS; n++, contents++) visitor.content(first + n);
      },
    });
    this.allocated += this.#map.allocated;
    this.isBad = this.#map.isBad;
  }
}
