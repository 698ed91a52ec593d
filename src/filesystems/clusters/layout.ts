/** What FAT and exFAT have in common, and what each of them has in its own way. */
import type { Blocks } from "./blocks.js";
import type { ClusterTable } from "./cluster-table.js";
import type { DirectoryEntry } from "./entry.js";

/** Bytes of a slot of a directory. */
export const SLOT = 32;

/** Where a directory's slots lie. */
export interface DirectoryPlace {
  /** 0: in `fixedSector` and after it. */
  readonly firstCluster: number;
  readonly isContiguous: boolean;
  /** Bytes; undefined: as many as its chain has. */
  readonly size: number | undefined;
}

/** A directory's slots in their order. */
export interface Slots {
  /** Where the slot that was located last lies in the buffer that `locate` returned; and its place on the volume, in slots. */
  readonly at: number;
  readonly place: number;
  /** Finds a slot; undefined past the end. Throws IoError. */
  locate(slot: number): Buffer | undefined;
}

/** Where things lie, and how entries are read: all of it pure, over whatever sectors are at hand. */
export interface Layout {
  readonly type: "vfat" | "exfat";
  /** Bytes. */
  readonly sectorSize: number;
  readonly clusterSize: number;
  /** How many there are; the first is number 2. */
  readonly clusters: number;
  /** The sector that cluster 2 begins with. */
  readonly firstSector: number;
  /** How many sectors there are before the table that counts, and how many that has. */
  readonly tableStart: number;
  readonly tableSectors: number;
  readonly root: DirectoryPlace;
  readonly rootInode: number;
  /** FAT12, FAT16: the root's first sector. */
  readonly fixedSector: number;
  /** Slots that a directory has at most. */
  readonly mostSlots: number;
  table(blocks: Blocks): ClusterTable;
  /** The first entry from slot `from` on, "." and ".." left out. False: there is none. Throws IoError. */
  next(slots: Slots, from: number, out: DirectoryEntry): boolean;
  /** The number of a directory, by its first cluster; 0 if there can be none. */
  directoryInode(firstCluster: number): number;
  /** The first cluster of the directory that has a number; 0 if it is none of a directory's (or the root's). Throws IoError. */
  directoryCluster(ino: number, blocks: Blocks): number;
  /** The first of the slots on the volume that can be a file's with that number, and how many. */
  firstPlace(ino: number): number;
  readonly places: number;
  /** Bytes of the longest name, as statfs(2) tells. */
  readonly nameLength: number;
  /** How many clusters are free. Throws IoError. */
  freeClusters(blocks: Blocks, table: ClusterTable): number;
  /** What names that mean the same have in common; undefined: none is meant. */
  key(name: Buffer): string | undefined;
}
