/** Telling a file system at rest from what it is after anything has been written to it. */
import { createHash } from "node:crypto";
import type { Source } from "../../images/image.js";
import { readFully } from "../../versions/block-cache.js";
import { Incompat } from "./features.js";
import { SUPERBLOCK_OFFSET, Superblock } from "./superblock.js";

/** s_state: it was unmounted (EXT4_VALID_FS); while one without a journal is mounted for writing, it is not set. */
const VALID = 0x1;

/**
 * A digest of the superblock: a mount for writing changes s_mtime and s_mnt_count, a check s_lastcheck, and whatever else
 * writes to it s_wtime. Undefined while it is mounted for writing, or was not unmounted. Throws IoError.
 */
export function restMark(source: Source): Buffer | undefined {
  const buffer = Buffer.alloc(Superblock.size);
  readFully(source, buffer, buffer.length, SUPERBLOCK_OFFSET);
  const { s_feature_incompat, s_state } = Superblock.at(buffer);
  if ((s_feature_incompat & Incompat.RECOVER) !== 0 || (s_state & VALID) === 0) return undefined;
  return createHash("sha256").update(buffer).digest();
}
