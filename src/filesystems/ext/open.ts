/** Recognising and opening an ext file system. */
import type { Log, Source } from "../../images/image.js";
import { type BlockCache, readFully } from "../../versions/block-cache.js";
import { View } from "../../versions/view.js";
import { ExtFileSystem } from "./file-system.js";
import { Geometry, SUPERBLOCK_MAGIC, SUPERBLOCK_OFFSET, Superblock } from "./superblock.js";

/** Whether an ext superblock lies where one would; it may still be one that cannot be opened. Throws IoError. */
export function isExt(source: Source): boolean {
  const buffer = Buffer.alloc(Superblock.size);
  if (readFully(source, buffer, buffer.length, SUPERBLOCK_OFFSET) < buffer.length) return false;
  return Superblock.at(buffer).s_magic === SUPERBLOCK_MAGIC;
}

/**
 * Opens an ext file system in its committed version: with what its journal holds, if it was not cleanly unmounted.
 * Throws IoError when it cannot be read or needs what is not known here.
 */
export function openExt(source: Source, cache: BlockCache, log: Log): ExtFileSystem {
  const buffer = Buffer.alloc(Superblock.size);
  readFully(source, buffer, buffer.length, SUPERBLOCK_OFFSET);
  const geometry = new Geometry(Superblock.at(buffer));
  const view = new View(source, geometry.blockSize, cache);
  if (view.blocksThere < geometry.blocksCount) {
    log(
      `${geometry.blocksCount} blocks of file system, but only ${view.blocksThere} there: the rest cannot be read`,
    );
  }
  return new ExtFileSystem(geometry, view, log);
}
