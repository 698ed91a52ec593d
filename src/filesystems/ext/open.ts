/** Recognising and opening an ext file system. */
import type { Log, Source } from "../../images/image.js";
import { IoError } from "../../images/io-error.js";
import { type BlockCache, readFully } from "../../versions/block-cache.js";
import { View } from "../../versions/view.js";
import { Content } from "./content.js";
import { Compat, Incompat, typeOf } from "./features.js";
import { ExtFileSystem } from "./file-system.js";
import { Groups } from "./groups.js";
import { Inode, Inodes } from "./inode.js";
import { fold } from "./journal/fold.js";
import { Journal } from "./journal/journal.js";
import { JournalInode } from "./journal-inode.js";
import { Geometry, SUPERBLOCK_MAGIC, SUPERBLOCK_OFFSET, Superblock } from "./superblock.js";

/** Whether an ext superblock lies where one would; it may still be one that cannot be opened. Throws IoError. */
export function isExt(source: Source): boolean {
  const buffer = Buffer.alloc(Superblock.size);
  if (readFully(source, buffer, buffer.length, SUPERBLOCK_OFFSET) < buffer.length) return false;
  return Superblock.at(buffer).s_magic === SUPERBLOCK_MAGIC;
}

/** Type, label and UUID, also of a file system that cannot be opened. Throws IoError. */
export function identifyExt(source: Source): { type: string; label: string; uuid: string } {
  const buffer = Buffer.alloc(Superblock.size);
  readFully(source, buffer, buffer.length, SUPERBLOCK_OFFSET);
  const superblock = Superblock.at(buffer);
  const { s_feature_compat, s_feature_incompat, s_feature_ro_compat } = superblock;
  const type =
    (s_feature_incompat & Incompat.JOURNAL_DEV) !== 0
      ? "jbd"
      : typeOf(s_feature_compat, s_feature_incompat, s_feature_ro_compat);
  return { type, label: superblock.s_volume_name, uuid: superblock.s_uuid };
}

/**
 * Opens an ext file system in its committed version: with what its journal holds, if it was not cleanly unmounted.
 * Throws IoError when it cannot be read or needs what is not known here.
 */
export function openExt(source: Source, cache: BlockCache, log: Log): ExtFileSystem {
  const buffer = Buffer.alloc(Superblock.size);
  readFully(source, buffer, buffer.length, SUPERBLOCK_OFFSET);
  const inPlace = new Geometry(Superblock.at(buffer));
  const view = new View(source, inPlace.blockSize, cache);
  if (view.blocksThere < inPlace.blocksCount) {
    log(
      `${inPlace.blocksCount} blocks of file system, but only ${view.blocksThere} there: the rest cannot be read`,
    );
  }
  // The kernel replays a journal only if this says so; else what the journal holds is of no account.
  if (!inPlace.hasIncompat(Incompat.RECOVER)) return new ExtFileSystem(inPlace, view, log);
  try {
    const journal = openJournal(source, inPlace, view, log);
    if (journal !== undefined) applyJournal(journal, view, log);
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    log(`its journal cannot be read (${error.message}): what was not yet written from there is not seen`);
  }
  // The superblock is a block as any other, and may have a newer copy in the journal.
  const superblockBlock = Math.floor(SUPERBLOCK_OFFSET / view.blockSize);
  const newest = view.locate(superblockBlock);
  const superblock = Superblock.at(newest, view.at + SUPERBLOCK_OFFSET - superblockBlock * view.blockSize);
  return new ExtFileSystem(committedGeometry(superblock, inPlace, log), view, log);
}

function committedGeometry(superblock: Superblock, inPlace: Geometry, log: Log): Geometry {
  try {
    const geometry = new Geometry(superblock);
    if (geometry.blockSize === inPlace.blockSize) return geometry;
    log("the superblock in its journal has another block size: it is passed over");
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    log(`the superblock in its journal is passed over: ${error.message}`);
  }
  return inPlace;
}

/** The file system's journal; undefined (and a line in the log) if it lies elsewhere. Throws IoError when it is bad. */
function openJournal(source: Source, geometry: Geometry, view: View, log: Log): Journal | undefined {
  if (!geometry.hasCompat(Compat.HAS_JOURNAL)) return undefined;
  if (geometry.journalInode === 0) {
    log(
      "its journal is on another device, which is not read: what was not yet written from there is not seen",
    );
    return undefined;
  }
  const inodes = new Inodes(geometry, view, new Groups(geometry, view));
  const inode = inodes.read(geometry.journalInode, new Inode(geometry));
  const device = new JournalInode(
    source,
    view.blockSize,
    new Content(geometry, view),
    inode,
    inodes.size(inode),
  );
  return new Journal(device, log);
}

function applyJournal(journal: Journal, view: View, log: Log): void {
  const { copies, badCopies } = fold(journal);
  for (const [block, logged] of copies) {
    view.setCopy(block, { read: (target, targetOffset) => journal.readCopy(logged, target, targetOffset) });
  }
  if (badCopies > 0) log(`${badCopies} blocks in its journal are damaged: older copies are taken`);
}
