/** The superblock of a thin pool's metadata, as the kernel's dm-thin writes it (drivers/md/dm-thin-metadata.c). */
import { structure, u32, u64 } from "../../layout/struct.js";
import { BLOCK, hasChecksum } from "./dm-btree.js";

/** struct thin_disk_superblock. */
const Superblock = structure("thin_disk_superblock", 372, {
  /** Of all that follows it, to the end of the block. */
  checksum: u32(0),
  flags: u32(4),
  block: u64(8),
  magic: u64(32),
  version: u32(40),
  transaction: u64(48),
  mappingRoot: u64(320),
  detailsRoot: u64(328),
  /** Of data: sectors of 512 bytes. */
  dataBlockSize: u32(336),
  /** The same of metadata. */
  metadataBlockSize: u32(340),
  metadataBlocks: u64(344),
  incompatible: u32(360),
});

/** THIN_SUPERBLOCK_MAGIC, the newest version that is known, and SUPERBLOCK_CSUM_XOR. */
const MAGIC = 27022010;
const NEWEST_VERSION = 2;
const SUPERBLOCK_SALT = 160774;
/** Sectors. */
const METADATA_BLOCK_SIZE = BLOCK / 512;

/** Where the trees are. */
export interface ThinRoots {
  /** By a volume's number: the root of its tree, which has the places of its blocks. */
  readonly mapping: number;
  /** By a volume's number: what is known of it. */
  readonly details: number;
  /** Of data: sectors of 512 bytes. */
  readonly dataBlockSize: number;
  /** Counts up with what LVM has the pool do. */
  readonly transaction: number;
}

/** What the superblock in a block says; or what is wrong with it, "it ...". */
export function readThinRoots(block: Buffer): ThinRoots | { readonly problem: string } {
  const superblock = Superblock.at(block);
  if (superblock.magic !== MAGIC || superblock.block !== 0) return { problem: "it has no superblock" };
  if (!hasChecksum(block, superblock.checksum, SUPERBLOCK_SALT))
    return { problem: "its superblock has a wrong checksum" };
  const { version, incompatible, metadataBlockSize, mappingRoot, detailsRoot, dataBlockSize, transaction } =
    superblock;
  if (version < 1 || version > NEWEST_VERSION || incompatible !== 0)
    return { problem: `it is of a later version (${version})` };
  if (metadataBlockSize !== METADATA_BLOCK_SIZE) return { problem: "its blocks have an unknown size" };
  return { mapping: mappingRoot, details: detailsRoot, dataBlockSize, transaction };
}

/** Bytes of what a pool knows of a volume: struct disk_device_details. */
export const DETAILS = 24;
