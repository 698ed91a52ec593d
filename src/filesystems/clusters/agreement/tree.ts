/** The tree of the version that has been agreed on: its files, the sectors of its directories, whose each cluster is. */
import { IoError } from "../../../images/io-error.js";
import type { Blocks } from "../blocks.js";
import { type ClusterTable, FIRST_CLUSTER, Link } from "../cluster-table.js";
import { DirectoryEntry } from "../entry.js";
import type { DirectoryPlace, Layout } from "../layout.js";
import { Parts } from "../parts.js";
import { DirectorySlots } from "../slots.js";
import { type KnownFile, knownFile } from "./file.js";

/** Files that are kept at most, and clusters of a volume. */
export const MOST_FILES = 500_000;
export const MOST_CLUSTERS = 1 << 24;

/** The clusters of a file, and what is wrong with its chain. */
export interface ClusterList {
  readonly clusters: readonly number[];
  /** It ends with a cluster that is free, or none, or where it has been before. */
  readonly isBroken: boolean;
}

/** One directory: its files by the place of their own slots, its sectors. */
export interface KnownDirectory {
  readonly files: Map<number, KnownFile>;
  readonly sectors: readonly number[];
  /** Not all of it could be read. */
  readonly isBad: boolean;
}

export class KnownTree {
  readonly layout: Layout;
  readonly directories = new Map<number, KnownDirectory>();
  /** Directories by their sectors. */
  readonly directoryOf = new Map<number, number>();
  /** By number; the root is not among them. */
  readonly files = new Map<number, KnownFile>();
  /** By cluster, the number of the file or directory that has it; 0: none. */
  readonly owners: Uint32Array;
  /** For whoever counts clusters, and leaves zeros. */
  readonly claims: Uint32Array;

  constructor(layout: Layout) {
    this.layout = layout;
    this.owners = new Uint32Array(layout.clusters + FIRST_CLUSTER);
    this.claims = new Uint32Array(layout.clusters + FIRST_CLUSTER);
  }

  /** Where a directory lies in this version; undefined if it is none of it. */
  placeOf(ino: number): DirectoryPlace | undefined {
    if (ino === this.layout.rootInode) return this.layout.root;
    const file = this.files.get(ino);
    if (file === undefined || !file.isDirectory) return undefined;
    const { firstCluster, isContiguous, size } = file;
    return { firstCluster, isContiguous, size: size === 0 ? undefined : size };
  }

  /** Puts a directory in, or in the place of what it was; undefined: it is gone. */
  setDirectory(ino: number, directory: KnownDirectory | undefined): void {
    const old = this.directories.get(ino);
    for (const sector of old?.sectors ?? [])
      if (this.directoryOf.get(sector) === ino) this.directoryOf.delete(sector);
    if (directory === undefined) {
      this.directories.delete(ino);
      return;
    }
    this.directories.set(ino, directory);
    for (const sector of directory.sectors) this.directoryOf.set(sector, ino);
  }

  own(ino: number, clusters: readonly number[]): void {
    for (const cluster of clusters) if (this.owners[cluster] === 0) this.owners[cluster] = ino;
  }

  disown(ino: number, clusters: readonly number[]): void {
    for (const cluster of clusters) if (this.owners[cluster] === ino) this.owners[cluster] = 0;
  }
}

/** Reads one version, a directory and a chain at a time. */
export class TreeReader {
  readonly blocks: Blocks;
  readonly table: ClusterTable;
  readonly #layout: Layout;
  readonly #parts: Parts;
  readonly #entry = new DirectoryEntry();

  constructor(layout: Layout, blocks: Blocks) {
    this.#layout = layout;
    this.blocks = blocks;
    this.#parts = new Parts(layout, blocks);
    this.table = this.#parts.table;
  }

  /** Reads a directory as far as it can be read. */
  directory(ino: number, place: DirectoryPlace): KnownDirectory {
    const { clusterSize, fixedSector, sectorSize } = this.#layout;
    const files = new Map<number, KnownFile>();
    const slots = new DirectorySlots(this.#layout, this.blocks, this.#parts.chains, place);
    const entry = this.#entry;
    let isBad = false;
    try {
      for (let slot = 0; this.#layout.next(slots, slot, entry); slot = entry.nextSlot)
        if (entry.ino !== 0) files.set(entry.place, knownFile(ino, entry, slots, clusterSize));
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      isBad = true;
    }
    const sectors: number[] = [];
    if (place.firstCluster === 0) {
      const count = Math.ceil((place.size ?? 0) / sectorSize);
      for (let n = 0; n < count; n++) sectors.push(fixedSector + n);
    } else {
      const most = Math.ceil((this.#layout.mostSlots * 32) / clusterSize);
      const size = place.size ?? Number.POSITIVE_INFINITY;
      const { clusters, isBroken } = this.clusters(place, Math.ceil(size / clusterSize), most);
      isBad ||= isBroken;
      for (const cluster of clusters) sectors.push(...this.#sectorsOf(cluster));
    }
    return { files, sectors, isBad };
  }

  /**
   * The clusters of a file or directory: all of its chain, or `count` that follow each other where it has none; `most` at
   * most.
   */
  clusters(
    { firstCluster, isContiguous }: Pick<DirectoryPlace, "firstCluster" | "isContiguous">,
    count: number,
    most = this.#layout.clusters,
  ): ClusterList {
    const { table } = this;
    const clusters: number[] = [];
    if (firstCluster === 0) return { clusters, isBroken: false };
    if (isContiguous) {
      const there = Math.min(count, most);
      for (let n = 0; n < there; n++) {
        if (!table.isCluster(firstCluster + n)) return { clusters, isBroken: true };
        clusters.push(firstCluster + n);
      }
      return { clusters, isBroken: false };
    }
    let cluster = firstCluster;
    try {
      while (cluster !== Link.END) {
        if (!table.isCluster(cluster) || clusters.length >= most) return { clusters, isBroken: true };
        const next = table.next(cluster);
        if (next === Link.FREE || next === Link.INVALID) return { clusters, isBroken: true };
        clusters.push(cluster);
        cluster = next;
      }
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      return { clusters, isBroken: true };
    }
    return { clusters, isBroken: false };
  }

  /** Whether a cluster is in use, as far as the table tells. */
  isAllocated(cluster: number): boolean {
    return this.table.next(cluster) !== Link.FREE;
  }

  /** What follows a cluster, or a Link. */
  next(cluster: number): number {
    return this.table.next(cluster);
  }

  #sectorsOf(cluster: number): number[] {
    const { clusterSize, firstSector, sectorSize } = this.#layout;
    const each = clusterSize / sectorSize;
    const start = firstSector + (cluster - FIRST_CLUSTER) * each;
    return Array.from({ length: each }, (_, n) => start + n);
  }
}
