/** The file allocation table: which cluster follows which. */
import type { Blocks } from "./blocks.js";

/** What follows a cluster where it is no other cluster. */
export const Link = {
  /** The cluster is in no file. */
  FREE: 0,
  /** It is its chain's last. */
  END: -1,
  /** The number makes no sense. */
  INVALID: -2,
} as const;

/** The number of the first cluster. */
export const FIRST_CLUSTER = 2;

/** What a table of each width has in the place of a next cluster's number. */
const BAD_12 = 0xff7;
const BAD_16 = 0xfff7;
const BAD_28 = 0x0ffffff7;
const BAD_32 = 0xfffffff7;

/** How wide the entries are, bits: FAT32 uses 28 of 32, exFAT all. */
export type TableWidth = 12 | 16 | 28 | 32;

export class ClusterTable {
  /** The table's first sector, and how many it has. */
  readonly start: number;
  readonly sectors: number;
  readonly width: TableWidth;
  readonly #blocks: Blocks;
  readonly #sectorSize: number;
  /** The highest cluster's number. */
  readonly #last: number;
  readonly #perSector: number;

  /** `clusters`: how many the volume has; `sectorSize` in bytes. */
  constructor(
    blocks: Blocks,
    width: TableWidth,
    start: number,
    sectors: number,
    sectorSize: number,
    clusters: number,
  ) {
    this.#blocks = blocks;
    this.width = width;
    this.start = start;
    this.sectors = sectors;
    this.#sectorSize = sectorSize;
    this.#last = clusters + FIRST_CLUSTER - 1;
    this.#perSector = (sectorSize * 8) / (width === 28 ? 32 : width);
  }

  isCluster(number: number): boolean {
    return number >= FIRST_CLUSTER && number <= this.#last;
  }

  /** The cluster after one, or a Link. Throws IoError. */
  next(cluster: number): number {
    if (!this.isCluster(cluster)) return Link.INVALID;
    switch (this.width) {
      case 12:
        return this.#checked(this.#entry12(cluster), BAD_12);
      case 16: {
        const sector = Math.floor(cluster / this.#perSector);
        const buffer = this.#blocks.locate(this.start + sector, true);
        const at = this.#blocks.at + (cluster - sector * this.#perSector) * 2;
        return this.#checked(buffer.readUInt16LE(at), BAD_16);
      }
      default: {
        const sector = Math.floor(cluster / this.#perSector);
        const buffer = this.#blocks.locate(this.start + sector, true);
        return this.#wide(buffer, this.#blocks.at + (cluster - sector * this.#perSector) * 4);
      }
    }
  }

  /**
   * How many clusters from `cluster` on follow each other in their places and in their chain, `most` at most; `after` is
   * then what follows the last of them. Throws IoError.
   */
  run(cluster: number, most: number): number {
    let last = cluster;
    for (;;) {
      const next = this.next(last);
      this.after = next;
      if (next !== last + 1 || last - cluster + 1 >= most) return last - cluster + 1;
      last = next;
    }
  }

  /** See `run`. */
  after = 0;

  /** How many clusters are free. Throws IoError. */
  countFree(): number {
    let free = 0;
    if (this.width === 12) {
      for (let cluster = FIRST_CLUSTER; cluster <= this.#last; cluster++)
        if (this.next(cluster) === Link.FREE) free++;
      return free;
    }
    const size = this.width === 16 ? 2 : 4;
    for (let sector = 0, first = 0; first <= this.#last; sector++, first += this.#perSector) {
      const buffer = this.#blocks.locate(this.start + sector, true);
      const { at } = this.#blocks;
      const count = Math.min(this.#perSector, this.#last + 1 - first);
      for (let n = first === 0 ? FIRST_CLUSTER : 0; n < count; n++) {
        const place = at + n * size;
        const entry = size === 2 ? buffer.readUInt16LE(place) : buffer.readUInt32LE(place);
        if ((this.width === 28 ? entry & 0x0fffffff : entry) === 0) free++;
      }
    }
    return free;
  }

  /** The sectors that have a cluster's entry: the first, and how many. */
  sectorOfEntry(cluster: number): number {
    if (this.width !== 12) return this.start + Math.floor(cluster / this.#perSector);
    return this.start + Math.floor(Math.floor((cluster * 3) / 2) / this.#sectorSize);
  }

  #wide(buffer: Buffer, at: number): number {
    const entry = buffer.readUInt32LE(at);
    return this.width === 28 ? this.#checked(entry & 0x0fffffff, BAD_28) : this.#checked(entry, BAD_32);
  }

  /** As the kernel does, a cluster that is marked as bad ends its chain. */
  #checked(entry: number, bad: number): number {
    if (entry >= bad) return Link.END;
    return entry === 0 || this.isCluster(entry) ? entry : Link.INVALID;
  }

  #entry12(cluster: number): number {
    const at = Math.floor((cluster * 3) / 2);
    const low = this.#byte(at);
    const high = this.#byte(at + 1);
    return cluster % 2 === 0 ? low | ((high & 0xf) << 8) : (low >> 4) | (high << 4);
  }

  #byte(at: number): number {
    const sector = Math.floor(at / this.#sectorSize);
    const buffer = this.#blocks.locate(this.start + sector, true);
    return buffer[this.#blocks.at + (at - sector * this.#sectorSize)] as number;
  }
}
