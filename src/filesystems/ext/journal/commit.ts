/** Commit blocks: what makes a transaction finished. */
import { crc32c } from "../../../layout/crc32c.js";
import { CommitLayout } from "./format.js";
import type { JournalSuperblock } from "./superblock.js";

/** Bytes of h_chksum[0] in a commit block. */
const CHECKSUM_AT = 0x10;
const CHECKSUM_TYPE_CRC32 = 1;
const CHECKSUM_SIZE = 4;
const ZEROS = Buffer.alloc(65536);

/**
 * Whether a commit block's checksum holds. `sum` is the CRC over the transaction's descriptors and copies, which v1
 * puts into the commit block; later versions sum the commit block itself (jbd2_commit_block_csum_verify), and of that
 * perhaps only the part before the padding had reached the disk (jbd2_commit_block_csum_verify_partial).
 */
export function commitHolds(superblock: JournalSuperblock, block: Buffer, sum: number): boolean {
  if (superblock.checksums === "none") return true;
  const commit = CommitLayout.at(block);
  const found = commit.h_chksum_0;
  if (superblock.checksums === "v1") {
    const { h_chksum_type: type, h_chksum_size: size } = commit;
    if (type === 0 && size === 0 && found === 0) return true;
    return type === CHECKSUM_TYPE_CRC32 && size === CHECKSUM_SIZE && found === sum;
  }
  const padding = CommitLayout.size;
  let whole = crc32c(superblock.checksumSeed, block, 0, CHECKSUM_AT);
  whole = crc32c(whole, ZEROS, 0, CHECKSUM_SIZE);
  whole = crc32c(whole, block, CHECKSUM_AT + CHECKSUM_SIZE, padding);
  return (
    crc32c(whole, block, padding, superblock.blockSize) === found ||
    crc32c(whole, ZEROS, padding, superblock.blockSize) === found
  );
}
