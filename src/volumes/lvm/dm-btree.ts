/**
 * The trees in which the kernel's device mapper keeps its metadata (drivers/md/persistent-data: dm-btree-internal.h,
 * dm-block-manager.c).
 */
import type { Source } from "../../images/image.js";
import { crc32c } from "../../layout/crc32c.js";

/** Bytes of a block of metadata (THIN_METADATA_BLOCK_SIZE, DM_CACHE_METADATA_BLOCK_SIZE). */
export const BLOCK = 4096;

/** struct disk_node: a header, its keys, and then its values. */
const HEADER = 32;
/** BTREE_CSUM_XOR. */
const NODE_SALT = 121107;
const INTERNAL = 1;
const LEAF = 2;
/** Nodes on a way down: even trees of nodes that are a third full have fewer. */
const DEEPEST = 16;

/** Bytes of a value that is a block's number or place. */
export const PLACE = 8;

/** A tree that cannot be walked; a part of a line: "its metadata ...". */
export class DmMetadataError extends Error {}

/** Blocks of metadata that are kept: checked, and the same until the superblock changes. */
export class DmBlocks {
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

  /** A node of a tree. Throws DmMetadataError, and what reading throws. */
  node(number: number): Buffer {
    const known = this.#blocks.get(number);
    if (known !== undefined) return known;
    const block = Buffer.allocUnsafeSlow(BLOCK);
    if (!(number > 0) || this.#source.read(block, 0, BLOCK, number * BLOCK) < BLOCK)
      throw new DmMetadataError("names a block that is not there");
    checkNode(block, number);
    if (this.#blocks.size >= this.#most) this.#blocks.clear();
    this.#blocks.set(number, block);
    return block;
  }
}

function checkNode(block: Buffer, number: number): void {
  if (!hasChecksum(block, block.readUInt32LE(0), NODE_SALT) || u64At(block, 8) !== number)
    throw new DmMetadataError(`has a bad block (${number})`);
  const flags = block.readUInt32LE(4);
  const [entries, most, valueSize] = [block.readUInt32LE(16), block.readUInt32LE(20), block.readUInt32LE(24)];
  const isKind = flags === INTERNAL || flags === LEAF;
  if (!isKind || entries > most || HEADER + most * (8 + valueSize) > BLOCK)
    throw new DmMetadataError(`has a block that makes no sense (${number})`);
}

/**
 * Where the value of a key is in a tree: as an offset in the node that `found` is set to; -1 if the key is not there.
 * `valueSize`: bytes. Throws as DmBlocks.node.
 */
export function findInTree(
  blocks: DmBlocks,
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
      throw new DmMetadataError(`has a block of another tree (${number})`);
    if (at < 0) return -1;
    const value = HEADER + node.readUInt32LE(20) * 8 + at * (isLeaf ? valueSize : PLACE);
    if (isLeaf) {
      found.node = node;
      return u64At(node, HEADER + at * 8) === key ? value : -1;
    }
    number = u64At(node, value);
  }
  throw new DmMetadataError("has a tree without an end");
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
export function hasChecksum(block: Buffer, checksum: number, salt: number): boolean {
  return (crc32c(0xffffffff, block, 4, BLOCK) ^ salt) >>> 0 === checksum;
}
