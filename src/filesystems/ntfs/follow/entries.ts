/** The names in a directory's index: in those of its blocks that are of interest, and where these lie. */
import { EIO, IoError } from "../../../images/io-error.js";
import { AttributeType } from "../attribute.js";
import { I30 } from "../directory.js";
import { FileName, Namespace } from "../file-name.js";
import { Index, IndexNode } from "../index.js";
import type { Inode } from "../inode.js";
import { SystemRecord } from "../mft.js";
import { encoded, isShowable } from "../names.js";
import type { Parts } from "../parts.js";
import { referenceAt } from "../record.js";
import { Stream } from "../stream.js";
import { nameKey } from "./side.js";

/** Index blocks of one directory: enough for some millions of names. */
const MOST_BLOCKS = 1 << 18;

/** A name as an index has it. */
export interface Entry {
  readonly directory: number;
  readonly name: Buffer;
  readonly ino: number;
}

export interface Entries {
  readonly names: Map<string, Entry>;
  /** Numbers of index blocks that those that were looked at lead to. */
  readonly children: Set<number>;
  /** A name, or a block, was found twice, or something could not be read. */
  isBad: boolean;
}

/** The index of one directory in one version. The inode is not to be used for another file meanwhile. */
export class OpenIndex {
  readonly #parts: Parts;
  readonly #ino: number;
  readonly #index: Index;
  readonly #stream: Stream | undefined;

  /** Throws IoError. */
  constructor(parts: Parts, inode: Inode) {
    this.#parts = parts;
    this.#ino = inode.ino;
    this.#index = new Index(parts.mft, inode, I30);
    const allocation = inode.find(AttributeType.INDEX_ALLOCATION, I30);
    this.#stream = allocation < 0 ? undefined : new Stream(parts.mft, inode, allocation);
  }

  /** The index blocks that are in use, and the blocks of the volume that each lies in. Throws IoError. */
  used(): Map<number, number[]> {
    const found = new Map<number, number[]>();
    const index = this.#index;
    for (let number = index.nextUsed(0); number < index.blocks; number = index.nextUsed(number + 1)) {
      if (found.size === MOST_BLOCKS)
        throw new IoError(EIO, `directory ${this.#ino} is too large to be followed`);
      found.set(number, this.#blocksOf(number));
    }
    return found;
  }

  /** What is in some index blocks, and, with `root`, in the root. */
  entries(numbers: readonly number[], root: boolean): Entries {
    const entries: Entries = { names: new Map(), children: new Set(), isBad: false };
    const node = new IndexNode();
    try {
      if (root) {
        this.#index.enterRoot(node);
        this.#collect(node, entries);
      }
      const block = Buffer.allocUnsafe(this.#index.blockSize);
      for (const number of numbers) {
        this.#index.enterBlock(number, block, node);
        this.#collect(node, entries);
      }
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      entries.isBad = true;
    }
    return entries;
  }

  #collect(node: IndexNode, { names, children }: Entries): void {
    const name = new FileName();
    while (node.step()) {
      const { child } = node;
      if (child >= 0) {
        const number = this.#index.blockOf(child);
        if (children.has(number)) throw new IoError(EIO, "an index block has two parents");
        children.add(number);
      }
      if (node.isLast) break;
      if (!name.move(node.buffer, node.keyAt, node.keyLength)) continue;
      const ino = referenceAt(node.buffer, node.at);
      if (name.namespace === Namespace.DOS || ino < SystemRecord.FIRST_USER) continue;
      if (!isShowable(name.buffer, name.nameAt, name.length)) continue;
      const bytes = encoded(name.buffer, name.nameAt, name.length);
      const key = nameKey(this.#ino, bytes);
      if (names.has(key)) throw new IoError(EIO, "a name is in a directory twice");
      names.set(key, { directory: this.#ino, name: bytes, ino });
    }
    if (node.isBad) throw new IoError(EIO, "a directory has a bad entry");
  }

  #blocksOf(number: number): number[] {
    const { clusterSize, blockSize, blocksPerCluster } = this.#parts.geometry;
    const { blockSize: length } = this.#index;
    const blocks: number[] = [];
    const stream = this.#stream;
    if (stream === undefined) return blocks;
    const step = Math.min(length, blockSize);
    for (let at = number * length; at < (number + 1) * length; at += step) {
      const vcn = Math.floor(at / clusterSize);
      if (!stream.tryMap(vcn) || stream.cluster < 0) continue;
      blocks.push(stream.cluster * blocksPerCluster + Math.floor((at - vcn * clusterSize) / blockSize));
    }
    return blocks;
  }
}
