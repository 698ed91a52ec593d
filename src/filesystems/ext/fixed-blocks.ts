/** The metadata that lies where the geometry and the group descriptors say: all but what inodes have. */
import { IoError } from "../../images/io-error.js";
import { BlockKind } from "../block-kind.js";
import type { BlockSink } from "../crawler.js";
import type { Parts } from "./parts.js";
import { SUPERBLOCK_OFFSET } from "./superblock.js";

/** Tells it; returns how many groups' descriptors were bad, whose bitmaps and tables are left out. */
export function tellFixedBlocks({ geometry, groups }: Parts, sink: BlockSink): number {
  const { blockSize, blocksCount, blocksPerGroup, firstDataBlock, descriptorsPerBlock } = geometry;
  const superblock = Math.floor(SUPERBLOCK_OFFSET / blockSize);
  if (superblock > 0) sink.extent(0, superblock, 0, 0, BlockKind.BOOT);
  const { mountGuardBlock } = geometry;
  if (mountGuardBlock > 0 && mountGuardBlock < blocksCount)
    sink.extent(mountGuardBlock, 1, 0, 0, BlockKind.MOUNT_GUARD);
  const there = groups.there;
  for (let n = 0; n < Math.ceil(there / descriptorsPerBlock); n++)
    sink.extent(groups.descriptorBlock(n), 1, 0, 0, BlockKind.DESCRIPTORS);
  const tableBlocks = Math.ceil((geometry.inodesPerGroup * geometry.inodeSize) / blockSize);
  let bad = 0;
  for (let group = 0; group < there; group++) {
    // With clusters of 1 KiB blocks the first superblock is not at the beginning of its group.
    const first = group === 0 ? superblock : firstDataBlock + group * blocksPerGroup;
    const hasSuperblock = groups.hasSuperblock(group);
    if (hasSuperblock) sink.extent(first, 1, 0, 0, BlockKind.SUPERBLOCK);
    const descriptors = groups.descriptorBlocks(group);
    if (descriptors > 0)
      sink.extent(first + (hasSuperblock ? 1 : 0), descriptors, 0, 0, BlockKind.DESCRIPTORS);
    try {
      const [blockBitmap, inodeBitmap] = [groups.blockBitmap(group), groups.inodeBitmap(group)];
      const table = groups.inodeTable(group);
      for (const bitmap of [blockBitmap, inodeBitmap])
        if (bitmap < blocksCount) sink.extent(bitmap, 1, 0, 0, BlockKind.BITMAP);
      if (table + tableBlocks <= blocksCount) sink.extent(table, tableBlocks, 0, 0, BlockKind.INODE_TABLE);
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      bad++;
    }
  }
  return bad;
}
