/**
 * The metadata of a thin pool, as the kernel's dm-thin writes it (drivers/md/dm-thin-metadata.c, and for its trees
 * drivers/md/persistent-data/dm-btree-internal.h).
 */
import type { Source } from "../../images/image.js";
import { crc32c } from "../../layout/crc32c.js";
import { structure, u32, u64 } from "../../layout/struct.js";

/** Bytes of a block of metadata (THIN_METADATA_BLOCK_SIZE). */
export const BLOCK = 4096;

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

/** struct disk_node: a header, its keys, and then its values. */
const HEADER = 32;
/** BTREE_CSUM_XOR. */
const NODE_SALT = 121107;
const INTERNAL = 1;
const LEAF = 2;
/** Nodes on a way down: even trees of nodes that are a third full have fewer. */
const DEEPEST = 16;

/** Bytes of values: of a node's number or a block's place, and of struct disk_device_details. */
export const PLACE = 8;
export const DETAILS = 24;

/** A tree that cannot be walked; a part of a line: "its metadata ...". */
export class ThinMetadataError extends Error {}

/** Blocks of metadata that are kept: checked, and the same until the superblock changes. */
export class ThinBlocks {
  readonly #source: Source;
  readonly #most: number;
  readonly #blocks = new Map<number, Buffer>();

  /** `most`: blocks that are kept at most. */
  constructor(source: Source, most: number) {
    this.#source = source;
    this.#most = most;
  }

  /** Forgets all. */
  clear(): void {
    this.#blocks.clear();
  }

  /** A node of a tree. Throws ThinMetadataError, and what reading throws. */
  node(number: number): Buffer {
    const known = this.#blocks.get(number);
    if (known !== undefined) return known;
    const block = Buffer.allocUnsafeSlow(BLOCK);
    if (!(number > 0) || this.#source.read(block, 0, BLOCK, number * BLOCK) < BLOCK)
      throw new ThinMetadataError("names a block that is not there");
    checkNode(block, number);
    if (this.#blocks.size >= this.#most) this.#blocks.clear();
    this.#blocks.set(number, block);
    return block;
  }
}

function checkNode(block: Buffer, number: number): void {
  if (!hasChecksum(block, block.readUInt32LE(0), NODE_SALT) || u64At(block, 8) !== number)
    throw new ThinMetadataError(`has a bad block (${number})`);
  const flags = block.readUInt32LE(4);
  const [entries, most, valueSize] = [block.readUInt32LE(16), block.readUInt32LE(20), block.readUInt32LE(24)];
  const isKind = flags === INTERNAL || flags === LEAF;
  if (!isKind || entries > most || HEADER + most * (8 + valueSize) > BLOCK)
    throw new ThinMetadataError(`has a block that makes no sense (${number})`);
}

/**
 * Where the value of a key is in a tree: as an offset in the node that `found` is set to; -1 if the key is not there.
 * `valueSize`: bytes. Throws as ThinBlocks.node.
 */
export function findInTree(
  blocks: ThinBlocks,
  root: number,
  key: number,
  valueSize: number,
  found: { node: Buffer },
): number {
  let number = root;
  for (let depth = 0; depth < DEEPEST; depth++) {
    const node = blocks.node(number);
    const at = lastNotAbove(node, key);
    const isLeaf = node.readUInt32LE(4) === LEAF;
    if (node.readUInt32LE(24) !== (isLeaf ? valueSize : PLACE))
      throw new ThinMetadataError(`has a block of another tree (${number})`);
    if (at < 0) return -1;
    const value = HEADER + node.readUInt32LE(20) * 8 + at * (isLeaf ? valueSize : PLACE);
    if (isLeaf) {
      found.node = node;
      return u64At(node, HEADER + at * 8) === key ? value : -1;
    }
    number = u64At(node, value);
  }
  throw new ThinMetadataError("has a tree without an end");
}

/** The last of a node's keys that is no larger; -1 if there is none. */
function lastNotAbove(node: Buffer, key: number): number {
  let low = -1;
  let high = node.readUInt32LE(16) - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (u64At(node, HEADER + middle * 8) <= key) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Beyond 2^53 it is not exact, and larger than any that counts. */
export function u64At(block: Buffer, at: number): number {
  return block.readUInt32LE(at + 4) * 2 ** 32 + block.readUInt32LE(at);
}

/** dm_bm_checksum: of all behind the checksum itself. */
function hasChecksum(block: Buffer, checksum: number, salt: number): boolean {
  return (crc32c(0xffffffff, block, 4, BLOCK) ^ salt) >>> 0 === checksum;
}
