/** Counting space as the kernel's statfs does. */
import { Incompat, RoCompat } from "./features.js";
import type { Groups } from "./groups.js";
import type { Geometry } from "./superblock.js";

/** Sums the free clusters and inodes of all groups; a group without a good descriptor counts as full. */
export function freeSpace(groups: Groups): { clusters: number; inodes: number } {
  const sum = { clusters: 0, inodes: 0 };
  const one = { clusters: 0, inodes: 0 };
  const there = groups.there;
  for (let group = 0; group < there; group++) {
    try {
      groups.free(group, one);
    } catch {
      continue;
    }
    sum.clusters += one.clusters;
    sum.inodes += one.inodes;
  }
  return sum;
}

/**
 * Blocks that are the file system's own: before the first group, superblocks, descriptors, bitmaps, inode tables and
 * the journal (ext4_calculate_overhead). With bigalloc the superblock's own count is taken, as the kernel does.
 */
export function overheadBlocks(geometry: Geometry, groups: Groups, journalBlocks: number): number {
  const bigalloc = geometry.hasRoCompat(RoCompat.BIGALLOC);
  const stored = geometry.overheadClusters * geometry.clusterBlocks;
  if (bigalloc && geometry.overheadClusters !== 0 && geometry.overheadClusters <= geometry.blocksCount)
    return stored;
  const tableBlocks = Math.ceil((geometry.inodesPerGroup * geometry.inodeSize) / geometry.blockSize);
  let overhead = geometry.firstDataBlock;
  for (let group = 0; group < geometry.groups; group++) {
    const hasSuperblock = groups.hasSuperblock(group);
    overhead += groups.descriptorBlocks(group) + tableBlocks + 2;
    if (hasSuperblock) overhead += 1 + geometry.reservedDescriptorBlocks;
  }
  return overhead + Math.ceil(journalBlocks / geometry.clusterBlocks) * geometry.clusterBlocks;
}

/** Blocks that the kernel keeps back so that writing into unwritten extents cannot fail (ext4_calculate_resv_clusters). */
export function reservedForExtents(geometry: Geometry): number {
  if (!geometry.hasIncompat(Incompat.EXTENTS)) return 0;
  const clusters = Math.floor(geometry.blocksCount / geometry.clusterBlocks);
  return Math.min(Math.floor(clusters / 50), 4096) * geometry.clusterBlocks;
}
