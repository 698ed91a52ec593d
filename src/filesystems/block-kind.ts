/** What a block of a file system holds. Numbers are small, so that they fit into a byte. */
export const BlockKind = {
  /** Nothing, as far as anybody knows. */
  NONE: 0,
  /** What lies before the file system's first structure. */
  BOOT: 1,
  SUPERBLOCK: 2,
  /** Descriptors of groups, and the room that is kept for more of them. */
  DESCRIPTORS: 3,
  BITMAP: 4,
  INODE_TABLE: 5,
  JOURNAL: 6,
  /** What keeps two hosts from mounting it at once (ext4: MMP). */
  MOUNT_GUARD: 7,
  ORPHANS: 8,
  QUOTA: 9,
  DIRECTORY: 10,
  /** The map of a file: extent trees, indirect blocks. */
  MAP: 11,
  ATTRIBUTES: 12,
  /** A symbolic link's target. */
  TARGET: 13,
  /** Bytes of a regular file. */
  DATA: 14,
  /** A regular file's as well, but it reads as zeros until the file system says otherwise. */
  UNWRITTEN: 15,
} as const;
export type BlockKind = (typeof BlockKind)[keyof typeof BlockKind];

/** By kind: as users are told. */
export const BLOCK_KIND_NAMES: readonly string[] = [
  "unknown",
  "boot",
  "superblock",
  "descriptors",
  "bitmap",
  "inode table",
  "journal",
  "mount guard",
  "orphans",
  "quota",
  "directory",
  "map",
  "attributes",
  "target",
  "data",
  "unwritten",
];
