/** What a jbd2 journal is made of (include/linux/jbd2.h; ext4 documentation, "Journal (jbd2)"). All big-endian. */
import { bytes, structure, u8, u32be, u64be, uuid } from "../../../layout/struct.js";

/** h_magic of every block that is not a copy. */
export const JOURNAL_MAGIC = 0xc03b3998;

/** h_blocktype */
export const BlockType = {
  DESCRIPTOR: 1,
  COMMIT: 2,
  SUPERBLOCK_V1: 3,
  SUPERBLOCK_V2: 4,
  REVOKE: 5,
} as const;

/** s_feature_compat */
export const JournalCompat = { CHECKSUM: 0x1 } as const;

/** s_feature_incompat */
export const JournalIncompat = {
  REVOKE: 0x1,
  BIT64: 0x2,
  ASYNC_COMMIT: 0x4,
  CSUM_V2: 0x8,
  CSUM_V3: 0x10,
  FAST_COMMIT: 0x20,
} as const;

/** t_flags. DELETED (4) has no meaning for recovery: such a tag has its copy like any other. */
export const TagFlag = { ESCAPE: 1, SAME_UUID: 2, LAST_TAG: 8 } as const;

/** journal_superblock_s, and within it journal_header_s. */
export const SuperblockLayout = structure("journal_superblock_s", 1024, {
  h_magic: u32be(0x0),
  h_blocktype: u32be(0x4),
  s_blocksize: u32be(0xc),
  s_maxlen: u32be(0x10),
  s_first: u32be(0x14),
  s_sequence: u32be(0x18),
  s_start: u32be(0x1c),
  s_errno: u32be(0x20),
  s_feature_compat: u32be(0x24),
  s_feature_incompat: u32be(0x28),
  s_feature_ro_compat: u32be(0x2c),
  s_uuid: uuid(0x30),
  s_uuid_bytes: bytes(0x30, 16),
  s_nr_users: u32be(0x40),
  s_checksum_type: u8(0x50),
  s_num_fc_blks: u32be(0x54),
  s_head: u32be(0x58),
  s_checksum: u32be(0xfc),
});

/** journal_header_s: the start of descriptor, revoke and commit blocks. */
export const HeaderLayout = structure("journal_header_s", 12, {
  h_magic: u32be(0x0),
  h_blocktype: u32be(0x4),
  h_sequence: u32be(0x8),
});

/** commit_header */
export const CommitLayout = structure("commit_header", 64, {
  h_chksum_type: u8(0xc),
  h_chksum_size: u8(0xd),
  h_chksum_0: u32be(0x10),
  h_commit_sec: u64be(0x30),
  h_commit_nsec: u32be(0x38),
});

/** jbd2_journal_revoke_header_t; the block numbers follow. `r_count` counts bytes, this header among them. */
export const RevokeLayout = structure("jbd2_journal_revoke_header_t", 16, { r_count: u32be(0xc) });

/** Bytes at the end of descriptor and revoke blocks of journals with checksums: jbd2_journal_block_tail. */
export const BLOCK_TAIL = 4;

/** A transaction number, counted up; past 2^32 they begin again at 0. */
export function followingSequence(sequence: number): number {
  return (sequence + 1) >>> 0;
}

/** Whether transaction number `a` is later than `b`, across the wrap at 2^32 (tid_gt). */
export function isLater(a: number, b: number): boolean {
  return ((a - b) | 0) > 0;
}
