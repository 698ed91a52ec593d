/** Where the contents of files and directories lie, in sectors. */
import { FIRST_CLUSTER } from "./cluster-table.js";
import type { Content } from "./content.js";
import type { DirectoryEntry } from "./entry.js";
import type { Layout } from "./layout.js";
import type { Parts } from "./parts.js";

/** Told of sectors that lie together: their places in the file and on the volume, and how many. */
export type SectorVisitor = (logical: number, physical: number, count: number) => void;

/** Runs of one file that are told at most. */
const MOST_RUNS = 1 << 20;

/** Visits what a file's size takes, or all of a directory's clusters. Throws IoError where its chain is broken. */
export function visitExtents(
  layout: Layout,
  parts: Parts,
  content: Content,
  entry: DirectoryEntry,
  visitor: SectorVisitor,
): void {
  if (entry.firstCluster === 0) return;
  const { clusterSize, sectorSize, firstSector } = layout;
  const perCluster = clusterSize / sectorSize;
  const bytes = entry.isDirectory
    ? parts.directories.size({
        firstCluster: entry.firstCluster,
        isContiguous: entry.isContiguous,
        size: entry.isContiguous ? entry.size : undefined,
      })
    : entry.size;
  const clusters = Math.ceil(bytes / clusterSize);
  for (let index = 0, runs = 0; index < clusters && runs < MOST_RUNS; runs++) {
    const count = Math.min(content.locate(entry, index), clusters - index);
    const physical = firstSector + (content.cluster - FIRST_CLUSTER) * perCluster;
    visitor(index * perCluster, physical, count * perCluster);
    index += count;
  }
}

/** Fills in an entry for the root, which has none on the disk. */
export function rootEntry(layout: Layout, out: DirectoryEntry): DirectoryEntry {
  out.ino = layout.rootInode;
  out.attributes = 0x10;
  out.firstCluster = layout.root.firstCluster;
  out.isContiguous = layout.root.isContiguous;
  out.size = 0;
  return out;
}
