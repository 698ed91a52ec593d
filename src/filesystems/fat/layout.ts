/** FAT12, FAT16 and FAT32 as far as they are laid out in their own way. */
import type { Blocks } from "../clusters/blocks.js";
import { ClusterTable, FIRST_CLUSTER } from "../clusters/cluster-table.js";
import type { DirectoryEntry } from "../clusters/entry.js";
import { type DirectoryPlace, type Layout, SLOT, type Slots } from "../clusters/layout.js";
import type { Geometry } from "./boot-sector.js";
import { EntryReader } from "./entries.js";

/**
 * The root's number: byte 32 of the volume is in its boot sector. The number of any other directory is the place of its
 * first slot, where its "." is; of a file the place of its short entry, which is its own as long as it is not moved to
 * another place (the kernel's i_pos). Places are counted in slots of 32 bytes from the volume's beginning.
 */
const ROOT_INODE = 1;
/** Slots of one directory (FAT_MAX_DIR_ENTRIES). */
const MOST_SLOTS = 65_536;
/** Numbers have 32 bits: what lies past 128 GiB has none. */
const NUMBERS = 2 ** 32;
const DOT = 0x2e;
/** What the entry of a directory for itself begins with. */
const SELF = Buffer.from(".          ");

export class FatLayout implements Layout {
  readonly type = "vfat";
  readonly sectorSize: number;
  readonly clusterSize: number;
  readonly clusters: number;
  readonly firstSector: number;
  readonly tableStart: number;
  readonly tableSectors: number;
  readonly root: DirectoryPlace;
  readonly rootInode = ROOT_INODE;
  readonly fixedSector: number;
  readonly mostSlots = MOST_SLOTS;
  readonly places = 1;
  /** 255 characters of 6 bytes (FAT_LFN_LEN, NLS_MAX_CHARSET_SIZE). */
  readonly nameLength = 1530;
  readonly geometry: Geometry;
  readonly #entries: EntryReader;
  readonly #inodeOf: (cluster: number) => number;

  constructor(geometry: Geometry) {
    this.geometry = geometry;
    this.sectorSize = geometry.sectorSize;
    this.clusterSize = geometry.clusterSize;
    this.clusters = geometry.clusters;
    this.firstSector = geometry.dataSector;
    this.tableStart = geometry.tableStart;
    this.tableSectors = geometry.tableSectors;
    this.fixedSector = geometry.rootSector;
    const isFixed = geometry.rootSlots > 0 || geometry.rootSector > 0;
    this.root = {
      firstCluster: geometry.rootCluster,
      isContiguous: false,
      size: isFixed ? geometry.rootSlots * SLOT : undefined,
    };
    this.#entries = new EntryReader(geometry.width === 28);
    this.#inodeOf = (cluster) => this.directoryInode(cluster);
  }

  table(blocks: Blocks): ClusterTable {
    const { width, tableStart, tableSectors, sectorSize, clusters } = this.geometry;
    return new ClusterTable(blocks, width, tableStart, tableSectors, sectorSize, clusters);
  }

  next(slots: Slots, from: number, out: DirectoryEntry): boolean {
    for (let slot = from; this.#entries.next(slots, slot, out, this.#inodeOf); slot = out.nextSlot) {
      if (isDots(out.alias, out.aliasLength)) continue;
      if (out.ino >= NUMBERS) out.ino = 0;
      return true;
    }
    return false;
  }

  directoryInode(firstCluster: number): number {
    // No directory's entry leads to the root.
    if (firstCluster === this.root.firstCluster || firstCluster < FIRST_CLUSTER) return 0;
    if (firstCluster >= this.clusters + FIRST_CLUSTER) return 0;
    const ino =
      (this.firstSector * this.sectorSize + (firstCluster - FIRST_CLUSTER) * this.clusterSize) / SLOT;
    return ino < NUMBERS ? ino : 0;
  }

  directoryCluster(ino: number, blocks: Blocks): number {
    const cluster = (ino * SLOT - this.firstSector * this.sectorSize) / this.clusterSize + FIRST_CLUSTER;
    if (!Number.isInteger(cluster) || cluster < FIRST_CLUSTER) return 0;
    if (cluster >= this.clusters + FIRST_CLUSTER || cluster === this.root.firstCluster) return 0;
    // A file's entry can be the first slot of a cluster, too, but not of a directory's first one.
    const buffer = blocks.locate(Math.floor((ino * SLOT) / this.sectorSize));
    return buffer.compare(SELF, 0, SELF.length, blocks.at, blocks.at + SELF.length) === 0 ? cluster : 0;
  }

  firstPlace(ino: number): number {
    return ino;
  }

  freeClusters(_blocks: Blocks, table: ClusterTable): number {
    return table.countFree();
  }

  /** As the kernel compares where names are shown in UTF-8: small and capital letters of ASCII are the same. */
  key(name: Buffer): string | undefined {
    let end = name.length;
    while (end > 0 && name[end - 1] === DOT) end--;
    return end === 0
      ? undefined
      : name.toString("latin1", 0, end).replace(/[A-Z]+/g, (big) => big.toLowerCase());
  }
}

function isDots(name: Buffer, length: number): boolean {
  return name[0] === DOT && (length === 1 || (length === 2 && name[1] === DOT));
}
