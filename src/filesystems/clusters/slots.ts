/** Reading the slots of directories. */
import type { Blocks } from "./blocks.js";
import type { Chains } from "./chains.js";
import { type ClusterTable, FIRST_CLUSTER } from "./cluster-table.js";
import { type DirectoryPlace, type Layout, SLOT, type Slots } from "./layout.js";

/** The slots of one directory. */
export class DirectorySlots implements Slots {
  at = 0;
  place = 0;
  readonly #layout: Layout;
  readonly #blocks: Blocks;
  readonly #chains: Chains;
  readonly #directory: DirectoryPlace;
  readonly #perCluster: number;
  readonly #perSector: number;
  readonly #count: number;

  constructor(layout: Layout, blocks: Blocks, chains: Chains, directory: DirectoryPlace) {
    this.#layout = layout;
    this.#blocks = blocks;
    this.#chains = chains;
    this.#directory = directory;
    this.#perCluster = layout.clusterSize / SLOT;
    this.#perSector = layout.sectorSize / SLOT;
    const { size } = directory;
    this.#count = Math.min(layout.mostSlots, size === undefined ? layout.mostSlots : Math.floor(size / SLOT));
  }

  /** The cluster that has a slot, and a sector of it. */
  locate(slot: number): Buffer | undefined {
    if (slot >= this.#count) return undefined;
    const sector = this.#sector(slot);
    if (sector < 0) return undefined;
    const within = slot % this.#perSector;
    this.place = sector * this.#perSector + within;
    const buffer = this.#blocks.locate(sector, true);
    this.at = this.#blocks.at + within * SLOT;
    return buffer;
  }

  /** -1: past the end. */
  #sector(slot: number): number {
    const { firstCluster, isContiguous } = this.#directory;
    const { clusters, fixedSector, firstSector, clusterSize, sectorSize } = this.#layout;
    if (firstCluster === 0) return fixedSector + Math.floor(slot / this.#perSector);
    const index = Math.floor(slot / this.#perCluster);
    let cluster = firstCluster + index;
    if (isContiguous) {
      if (cluster >= clusters + FIRST_CLUSTER) return -1;
    } else {
      if (!this.#chains.find(firstCluster, index)) return -1;
      cluster = this.#chains.cluster;
    }
    const start = firstSector + (cluster - FIRST_CLUSTER) * (clusterSize / sectorSize);
    return start + Math.floor((slot - index * this.#perCluster) / this.#perSector);
  }
}

/** Slots that an entry of either format can have at most. */
const MOST_SLOTS_EACH = 21;

/** The slots from one place on, in whatever directory that is: enough for one entry. */
export class SlotsFrom implements Slots {
  at = 0;
  place = 0;
  /** Whether slots of another cluster than the first one's have been asked for. */
  reachesOver = false;
  readonly #layout: Layout;
  readonly #blocks: Blocks;
  readonly #table: ClusterTable;
  #first = 0;
  #isContiguous = false;

  constructor(layout: Layout, blocks: Blocks, table: ClusterTable) {
    this.#layout = layout;
    this.#blocks = blocks;
    this.#table = table;
  }

  /** `first`: a slot of the volume's. `isContiguous`: in its directory, the next cluster is the one that is next to it. */
  move(first: number, isContiguous: boolean): void {
    this.#first = first;
    this.#isContiguous = isContiguous;
    this.reachesOver = false;
  }

  /** Whether the place is one that a directory's slot can have. */
  get isThere(): boolean {
    const { fixedSector, firstSector, sectorSize, clusters, clusterSize } = this.#layout;
    const sector = Math.floor((this.#first * SLOT) / sectorSize);
    const last = firstSector + clusters * (clusterSize / sectorSize);
    return sector >= (fixedSector === 0 ? firstSector : fixedSector) && sector < last;
  }

  locate(slot: number): Buffer | undefined {
    if (slot >= MOST_SLOTS_EACH) return undefined;
    const { firstSector, sectorSize, clusterSize } = this.#layout;
    const perSector = sectorSize / SLOT;
    const perCluster = clusterSize / SLOT;
    let place = this.#first + slot;
    const inData = this.#first - firstSector * perSector;
    const beyond = inData < 0 ? -1 : (inData % perCluster) + slot - perCluster;
    if (beyond >= perCluster) return undefined;
    if (beyond >= 0) {
      this.reachesOver = true;
      const cluster = Math.floor(inData / perCluster) + FIRST_CLUSTER;
      const next = this.#isContiguous ? cluster + 1 : this.#table.next(cluster);
      if (!this.#table.isCluster(next)) return undefined;
      place = (firstSector + (next - FIRST_CLUSTER) * (clusterSize / sectorSize)) * perSector + beyond;
    }
    this.place = place;
    const sector = Math.floor(place / perSector);
    const buffer = this.#blocks.locate(sector);
    this.at = this.#blocks.at + (place % perSector) * SLOT;
    return buffer;
  }
}
