/** exFAT as far as it is laid out in its own way. */
import type { Blocks } from "../clusters/blocks.js";
import { Chains } from "../clusters/chains.js";
import { ClusterTable, FIRST_CLUSTER } from "../clusters/cluster-table.js";
import type { DirectoryEntry } from "../clusters/entry.js";
import { type DirectoryPlace, type Layout, SLOT, type Slots } from "../clusters/layout.js";
import type { Geometry } from "./boot-sector.js";
import { EntryReader } from "./entries.js";

/** Bytes of one directory, by the specification (section 7.4), in slots. */
const MOST_SLOTS = (256 << 20) / SLOT;
/** A set of entries has three slots at least: no two begin within the same three of a cluster. */
const SLOTS_EACH = 3;
/** Numbers have 32 bits, one of which tells directories from files: no more than 192 GiB can be told apart. */
const NUMBERS = 2 ** 31;
const DOT = 0x2e;
/** How many bits of a byte are set. */
const BITS = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll("0", "").length);

/** Bytes of the allocation bitmap, and where they lie. */
export interface Bitmap {
  readonly firstCluster: number;
  readonly size: number;
}

/**
 * The number of a directory is made of its first cluster (odd numbers); that of a file of the place of its entry, which is
 * its own as long as it is not moved to another place (even numbers).
 */
export class ExfatLayout implements Layout {
  readonly type = "exfat";
  readonly sectorSize: number;
  readonly clusterSize: number;
  readonly clusters: number;
  readonly firstSector: number;
  readonly tableStart: number;
  readonly tableSectors: number;
  readonly root: DirectoryPlace;
  readonly rootInode: number;
  readonly fixedSector = 0;
  readonly mostSlots = MOST_SLOTS;
  readonly places = SLOTS_EACH;
  /** 255 characters of 6 bytes (EXFAT_MAX_FILE_LEN, NLS_MAX_CHARSET_SIZE). */
  readonly nameLength = 1530;
  readonly geometry: Geometry;
  bitmap: Bitmap | undefined;
  upcase: Uint16Array | undefined;
  readonly #entries = new EntryReader();
  /** Slots, and numbers of files, of a cluster; and the first cluster's first slot. */
  readonly #slotsEach: number;
  readonly #numbersEach: number;
  readonly #firstSlot: number;

  constructor(geometry: Geometry) {
    this.geometry = geometry;
    this.sectorSize = geometry.sectorSize;
    this.clusterSize = geometry.clusterSize;
    this.clusters = geometry.clusters;
    this.firstSector = geometry.dataSector;
    this.tableStart = geometry.tableStart;
    this.tableSectors = geometry.tableSectors;
    this.root = { firstCluster: geometry.rootCluster, isContiguous: false, size: undefined };
    this.rootInode = geometry.rootCluster * 2 + 1;
    this.#slotsEach = geometry.clusterSize / SLOT;
    this.#numbersEach = Math.ceil(this.#slotsEach / SLOTS_EACH);
    this.#firstSlot = (geometry.dataSector * geometry.sectorSize) / SLOT;
  }

  table(blocks: Blocks): ClusterTable {
    const { tableStart, tableSectors, sectorSize, clusters } = this.geometry;
    return new ClusterTable(blocks, 32, tableStart, tableSectors, sectorSize, clusters);
  }

  next(slots: Slots, from: number, out: DirectoryEntry): boolean {
    if (!this.#entries.next(slots, from, out)) return false;
    const directory = out.isDirectory ? this.directoryInode(out.firstCluster) : 0;
    if (out.isDirectory && directory === 0) out.isBad = true;
    const number = directory !== 0 ? directory : this.#numberOf(out.place);
    out.ino = number < NUMBERS * 2 ? number : 0;
    return true;
  }

  directoryInode(firstCluster: number): number {
    if (firstCluster < FIRST_CLUSTER || firstCluster >= this.clusters + FIRST_CLUSTER) return 0;
    // No directory's entry leads to the root.
    return firstCluster === this.root.firstCluster || firstCluster >= NUMBERS ? 0 : firstCluster * 2 + 1;
  }

  directoryCluster(ino: number): number {
    const cluster = Math.floor(ino / 2);
    const isOne = ino % 2 === 1 && cluster >= FIRST_CLUSTER && cluster !== this.root.firstCluster;
    return isOne && cluster < this.clusters + FIRST_CLUSTER ? cluster : 0;
  }

  firstPlace(ino: number): number {
    const number = Math.floor(ino / 2) - 1;
    const cluster = Math.floor(number / this.#numbersEach);
    return this.#firstSlot + cluster * this.#slotsEach + (number % this.#numbersEach) * SLOTS_EACH;
  }

  /** The number of a file whose entry lies at a place; 0 if there can be none. */
  #numberOf(place: number): number {
    const within = place - this.#firstSlot;
    if (within < 0) return 0;
    const cluster = Math.floor(within / this.#slotsEach);
    const slot = within - cluster * this.#slotsEach;
    return (cluster * this.#numbersEach + Math.floor(slot / SLOTS_EACH) + 1) * 2;
  }

  /** The sector that has a cluster's bit, counted from the bitmap's first; and the bit's place in it. */
  bitOf(cluster: number): readonly [number, number] {
    const bit = cluster - FIRST_CLUSTER;
    const each = this.sectorSize * 8;
    return [Math.floor(bit / each), bit % each];
  }

  /** By the bitmap; without one nothing is free. */
  freeClusters(blocks: Blocks, table: ClusterTable): number {
    const { bitmap, clusters, clusterSize, sectorSize, firstSector } = this;
    if (bitmap === undefined) return 0;
    const chains = new Chains(table, clusters);
    const perCluster = clusterSize / sectorSize;
    let used = 0;
    for (let sector = 0, left = clusters; left > 0; sector++) {
      if (!chains.find(bitmap.firstCluster, Math.floor(sector / perCluster))) break;
      const start = firstSector + (chains.cluster - FIRST_CLUSTER) * perCluster;
      const buffer = blocks.locate(start + (sector % perCluster), true);
      const { at } = blocks;
      const bits = Math.min(left, sectorSize * 8);
      for (let byte = 0; byte < bits >> 3; byte++) used += BITS[buffer[at + byte] as number] as number;
      if ((bits & 7) !== 0)
        used += BITS[(buffer[at + (bits >> 3)] as number) & ((1 << (bits & 7)) - 1)] as number;
      left -= bits;
    }
    return clusters - used;
  }

  /** Names mean the same if they do in capital letters, as the volume's table has them; points at the end do not count. */
  key(name: Buffer): string | undefined {
    let end = name.length;
    while (end > 0 && name[end - 1] === DOT) end--;
    if (end === 0) return undefined;
    const { upcase } = this;
    let isAscii = true;
    for (let at = 0; at < end; at++) if ((name[at] as number) >= 0x80) isAscii = false;
    const text = isAscii ? name.toString("latin1", 0, end) : name.toString("utf8", 0, end);
    if (upcase === undefined) return text;
    let key = "";
    for (let at = 0; at < text.length; at++)
      key += String.fromCharCode(upcase[text.charCodeAt(at)] as number);
    return key;
  }
}
