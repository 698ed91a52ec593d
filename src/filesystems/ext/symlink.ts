/** Where symbolic links lead, and the bytes of files that lie in their inodes. */
import { EIO, IoError } from "../../images/io-error.js";
import { Incompat } from "./features.js";
import { I_BLOCK, I_BLOCK_SIZE, type Inode, InodeFlags } from "./inode.js";
import { noKeyName } from "./names.js";
import type { Parts } from "./parts.js";

/** The longest target that Linux follows (PATH_MAX less its NUL). */
const LONGEST_TARGET = 4095;

/** A link's target. Throws IoError (EIO) when it is bad. */
export function symlinkTarget(parts: Parts, inode: Inode): Buffer {
  const size = parts.inodes.size(inode);
  if (size > Math.max(LONGEST_TARGET, parts.geometry.blockSize)) {
    throw new IoError(EIO, `inode ${inode.ino}: a target of ${size} bytes`);
  }
  const stored = Buffer.alloc(size);
  if (inode.hasFlag(InodeFlags.INLINE_DATA)) readInline(parts, inode, 0, size, stored, 0);
  else if (isFastLink(parts, inode, size)) inode.raw.copy(stored, 0, I_BLOCK, I_BLOCK + size);
  else parts.content.read(inode, 0, size, stored, 0);
  if (inode.hasFlag(InodeFlags.ENCRYPT)) return encryptedTarget(stored, inode.ino);
  const end = stored.indexOf(0);
  return end < 0 ? stored : stored.subarray(0, end);
}

/** Inline data: the first bytes in i_block, the rest in the attribute system.data; what is not there is zero. */
export function readInline(
  parts: Parts,
  inode: Inode,
  position: number,
  length: number,
  target: Buffer,
  targetOffset: number,
): void {
  target.fill(0, targetOffset, targetOffset + length);
  const end = position + length;
  if (position < I_BLOCK_SIZE) {
    inode.raw.copy(target, targetOffset, I_BLOCK + position, I_BLOCK + Math.min(end, I_BLOCK_SIZE));
  }
  if (end <= I_BLOCK_SIZE) return;
  const { attributes } = parts;
  const at = attributes.inlineData(inode);
  if (at < 0) return;
  const from = Math.max(position, I_BLOCK_SIZE);
  const to = Math.min(end, I_BLOCK_SIZE + attributes.inlineLength);
  if (to <= from) return;
  const start = at - I_BLOCK_SIZE;
  inode.raw.copy(target, targetOffset + from - position, start + from, start + to);
}

/** Whether the target lies in i_block (ext4_inode_is_fast_symlink). */
export function isFastLink(
  { geometry, inodes }: Pick<Parts, "geometry" | "inodes">,
  inode: Inode,
  size: number,
): boolean {
  if (size >= I_BLOCK_SIZE) return false;
  if (geometry.hasIncompat(Incompat.EA_INODE)) return true;
  const clusterSectors = (geometry.blockSize * geometry.clusterBlocks) / 512;
  const attributeSectors = inodes.attributeBlock(inode) === 0 ? 0 : clusterSectors;
  return inode.fields.i_blocks_lo === attributeSectors;
}

/** struct fscrypt_symlink_data: a length, then the ciphertext. */
function encryptedTarget(stored: Buffer, ino: number): Buffer {
  const length = stored.length < 2 ? 0 : stored.readUInt16LE(0);
  if (length === 0 || length + 2 > stored.length)
    throw new IoError(EIO, `inode ${ino}: a bad encrypted target`);
  return noKeyName(stored.subarray(2, 2 + length), 0, 0);
}
