/** Feature bits of the superblock (ext4 documentation, "The Super Block": s_feature_*). */

/** s_feature_compat */
export const Compat = {
  HAS_JOURNAL: 0x4,
  EXT_ATTR: 0x8,
  RESIZE_INODE: 0x10,
  DIR_INDEX: 0x20,
  SPARSE_SUPER2: 0x200,
  FAST_COMMIT: 0x400,
  STABLE_INODES: 0x800,
  ORPHAN_FILE: 0x1000,
} as const;

/** s_feature_incompat */
export const Incompat = {
  COMPRESSION: 0x1,
  FILETYPE: 0x2,
  RECOVER: 0x4,
  JOURNAL_DEV: 0x8,
  META_BG: 0x10,
  EXTENTS: 0x40,
  BIT64: 0x80,
  MMP: 0x100,
  FLEX_BG: 0x200,
  EA_INODE: 0x400,
  DIRDATA: 0x1000,
  CSUM_SEED: 0x2000,
  LARGEDIR: 0x4000,
  INLINE_DATA: 0x8000,
  ENCRYPT: 0x10000,
  CASEFOLD: 0x20000,
} as const;

/** s_feature_ro_compat */
export const RoCompat = {
  SPARSE_SUPER: 0x1,
  LARGE_FILE: 0x2,
  HUGE_FILE: 0x8,
  GDT_CSUM: 0x10,
  DIR_NLINK: 0x20,
  EXTRA_ISIZE: 0x40,
  QUOTA: 0x100,
  BIGALLOC: 0x200,
  METADATA_CSUM: 0x400,
  PROJECT: 0x2000,
  VERITY: 0x8000,
  ORPHAN_PRESENT: 0x10000,
} as const;

/** The incompatible features that can be read here. */
const READABLE =
  Incompat.FILETYPE |
  Incompat.RECOVER |
  Incompat.META_BG |
  Incompat.EXTENTS |
  Incompat.BIT64 |
  Incompat.MMP |
  Incompat.FLEX_BG |
  Incompat.EA_INODE |
  Incompat.CSUM_SEED |
  Incompat.LARGEDIR |
  Incompat.INLINE_DATA |
  Incompat.ENCRYPT |
  Incompat.CASEFOLD;

const NAMES: ReadonlyMap<number, string> = new Map([
  [Incompat.COMPRESSION, "compression"],
  [Incompat.JOURNAL_DEV, "journal_dev"],
  [Incompat.DIRDATA, "dirdata"],
]);

/** Names of the incompatible features that cannot be read; empty when all can. */
export function unreadableFeatures(incompat: number): string[] {
  const names: string[] = [];
  for (let bit = 0; bit < 32; bit++) {
    const feature = (1 << bit) >>> 0;
    if ((incompat & feature) >>> 0 !== 0 && (READABLE & feature) === 0) {
      names.push(NAMES.get(feature) ?? `0x${feature.toString(16)}`);
    }
  }
  return names;
}

/** What ext3 may need of a reader and of a writer; whatever needs more is ext4. */
const EXT3_INCOMPAT = Incompat.FILETYPE | Incompat.RECOVER | Incompat.META_BG;
const EXT3_RO_COMPAT = RoCompat.SPARSE_SUPER | RoCompat.LARGE_FILE | 0x4;

/** Which of the three a file system is, told by its features as blkid tells it. */
export function typeOf(compat: number, incompat: number, roCompat: number): "ext2" | "ext3" | "ext4" {
  if ((incompat & ~EXT3_INCOMPAT) !== 0 || (roCompat & ~EXT3_RO_COMPAT) !== 0) return "ext4";
  return (compat & Compat.HAS_JOURNAL) !== 0 ? "ext3" : "ext2";
}
