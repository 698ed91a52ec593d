/** The bytes of files. */
import { EIO, IoError } from "../../images/io-error.js";
import type { Chains } from "./chains.js";
import { FIRST_CLUSTER } from "./cluster-table.js";
import type { DirectoryEntry } from "./entry.js";
import type { Layout } from "./layout.js";

/** Where bytes are read from, by sectors; see View.readData. */
export interface Data {
  readData(sector: number, offset: number, length: number, target: Buffer, targetOffset: number): void;
}

export class Content {
  readonly #layout: Layout;
  readonly #data: Data;
  readonly #chains: Chains;

  constructor(layout: Layout, data: Data, chains: Chains) {
    this.#layout = layout;
    this.#data = data;
    this.#chains = chains;
  }

  /** Reads `length` bytes at `position`, all of which are there by the file's size. Throws IoError. */
  read(file: DirectoryEntry, position: number, length: number, target: Buffer, targetOffset: number): void {
    const { clusterSize, sectorSize, firstSector } = this.#layout;
    // What has never been written reads as zeros.
    const written = Math.max(0, Math.min(length, file.validSize - position));
    target.fill(0, targetOffset + written, targetOffset + length);
    for (let done = 0; done < written; ) {
      const index = Math.floor((position + done) / clusterSize);
      const within = position + done - index * clusterSize;
      const there = this.locate(file, index) * clusterSize - within;
      const part = Math.min(there, written - done);
      const sector =
        firstSector +
        (this.cluster - FIRST_CLUSTER) * (clusterSize / sectorSize) +
        Math.floor(within / sectorSize);
      this.#data.readData(sector, within % sectorSize, part, target, targetOffset + done);
      done += part;
    }
  }

  /** See `locate`. */
  cluster = 0;

  /** Finds a file's cluster by its place in it; returns how many follow each other from there on. Throws IoError. */
  locate(file: DirectoryEntry, index: number): number {
    const { firstCluster, isContiguous } = file;
    const { clusters } = this.#layout;
    if (isContiguous) {
      this.cluster = firstCluster + index;
      const there = clusters + FIRST_CLUSTER - this.cluster;
      if (firstCluster < FIRST_CLUSTER || there <= 0) throw beyond(file);
      return there;
    }
    if (firstCluster === 0 || !this.#chains.find(firstCluster, index)) throw beyond(file);
    this.cluster = this.#chains.cluster;
    return this.#chains.count;
  }
}

function beyond({ ino, size }: DirectoryEntry): IoError {
  return new IoError(EIO, `inode ${ino}: it has fewer clusters than its ${size} bytes take`);
}
