/** Recognising and opening an ext file system. */
import type { Log, Source } from "../../images/image.js";
import { type BlockCache, readFully } from "../../versions/block-cache.js";
import type { Follower, TakenPart } from "../follower.js";
import { AgreementFollower } from "./agreement/follow.js";
import { Compat, Incompat, typeOf } from "./features.js";
import { ExtFileSystem } from "./file-system.js";
import { ExtFollower } from "./follow.js";
import { SUPERBLOCK_MAGIC, SUPERBLOCK_OFFSET, Superblock } from "./superblock.js";
import { openVersion } from "./version.js";

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
  return new ExtFileSystem(openVersion(source, cache, log), log);
}

/**
 * Follows an ext file system by its journal, or, where it has none, by what its structures agree on; undefined if its
 * journal is on another device, or there is too much to keep. Throws IoError.
 */
export function followExt(
  source: Source,
  cache: BlockCache,
  log: Log,
  after?: number,
  parts: readonly TakenPart[] = [],
): Follower | undefined {
  const buffer = Buffer.alloc(Superblock.size);
  readFully(source, buffer, buffer.length, SUPERBLOCK_OFFSET);
  const { s_feature_compat, s_journal_inum } = Superblock.at(buffer);
  if ((s_feature_compat & Compat.HAS_JOURNAL) === 0) return AgreementFollower.open(source, cache, log, after);
  // What it has to say of the journal has been said when the file system was opened.
  return s_journal_inum === 0 ? undefined : new ExtFollower(source, cache, () => {}, after, parts);
}
