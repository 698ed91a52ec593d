/** Descriptor and revoke blocks: which file system blocks the log's next blocks are copies of, and which it revokes. */
import { crc32c } from "../../../layout/crc32c.js";
import { BLOCK_TAIL, HeaderLayout, RevokeLayout, TagFlag } from "./format.js";
import type { JournalSuperblock } from "./superblock.js";

const ZEROS = Buffer.alloc(BLOCK_TAIL);
const UUID_BYTES = 16;

/** One block's copy in the log. */
export interface LoggedBlock {
  /** The file system's block. */
  readonly block: number;
  /** The journal's block that holds the copy. */
  readonly index: number;
  /** The transaction that logged it. */
  readonly sequence: number;
  /** Whether the first four bytes were the journal's magic number, and are zeros in the copy. */
  readonly escaped: boolean;
  /** The tag's checksum, as a signed number of 32 bits (v3) or 16 bits (v2); 0 where there is none. */
  readonly checksum: number;
}

/** Whether the checksum at the end of a descriptor or revoke block holds (jbd2_descriptor_block_csum_verify). */
export function tailHolds(superblock: JournalSuperblock, block: Buffer): boolean {
  if (!superblock.blockChecksums) return true;
  const at = superblock.blockSize - BLOCK_TAIL;
  const sum = crc32c(crc32c(superblock.checksumSeed, block, 0, at), ZEROS, 0, BLOCK_TAIL);
  return sum === block.readUInt32BE(at);
}

/** Bytes of a descriptor or revoke block that tags or records can take. */
function room(superblock: JournalSuperblock): number {
  return superblock.blockSize - (superblock.blockChecksums ? BLOCK_TAIL : 0);
}

/**
 * Appends what a descriptor block describes to `blocks`; the first copy lies at `index`. Returns how many copies
 * follow the descriptor: with a hostile one as many as its room holds tags.
 */
export function readTags(
  superblock: JournalSuperblock,
  descriptor: Buffer,
  sequence: number,
  index: number,
  blocks: LoggedBlock[],
): number {
  const { tagBytes, checksums } = superblock;
  const high = superblock.revokeBytes === 8;
  const end = room(superblock) - tagBytes;
  let count = 0;
  for (let at = HeaderLayout.size; at <= end; ) {
    const flags = descriptor.readUInt16BE(at + 6);
    let checksum = 0;
    if (checksums === "v3") checksum = descriptor.readInt32BE(at + 12);
    else if (checksums === "v2") checksum = descriptor.readUInt16BE(at + 4);
    const low = descriptor.readUInt32BE(at);
    blocks.push({
      block: high ? low + descriptor.readUInt32BE(at + 8) * 2 ** 32 : low,
      index: superblock.advance(index, count),
      sequence,
      escaped: (flags & TagFlag.ESCAPE) !== 0,
      checksum,
    });
    count++;
    if ((flags & TagFlag.LAST_TAG) !== 0) break;
    at += tagBytes + ((flags & TagFlag.SAME_UUID) !== 0 ? 0 : UUID_BYTES);
  }
  return count;
}

/** Bytes of a revoke block that are used, this side of its checksum; undefined if it claims more than there are. */
export function revokedEnd(superblock: JournalSuperblock, block: Buffer): number | undefined {
  const used = RevokeLayout.at(block).r_count;
  return used <= room(superblock) ? used : undefined;
}

/** The file system blocks that a revoke block names, in its order; `end` is its `revokedEnd`. */
export function* revokedBlocks(superblock: JournalSuperblock, block: Buffer, end: number): Generator<number> {
  const bytes = superblock.revokeBytes;
  for (let at = RevokeLayout.size; at + bytes <= end; at += bytes) {
    const first = block.readUInt32BE(at);
    yield bytes === 8 ? first * 2 ** 32 + block.readUInt32BE(at + 4) : first;
  }
}

/** Whether a copy is the one that its tag was made for (jbd2_block_tag_csum_verify). */
export function copyHolds(
  superblock: JournalSuperblock,
  logged: LoggedBlock,
  copy: Buffer,
  at: number,
): boolean {
  if (!superblock.blockChecksums) return true;
  SEQUENCE.writeUInt32BE(logged.sequence, 0);
  const seed = crc32c(superblock.checksumSeed, SEQUENCE, 0, 4);
  const sum = crc32c(seed, copy, at, at + superblock.blockSize);
  return superblock.checksums === "v3" ? (sum | 0) === logged.checksum : (sum & 0xffff) === logged.checksum;
}

const SEQUENCE = Buffer.alloc(4);
