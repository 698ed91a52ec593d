/**
 * The tree's answers as the protocol's structures. All write into words that may hold an older answer, and return the
 * structure's size in bytes.
 */
import type { Attributes, Entry, Statistics } from "../../cloud/tree.js";
import { deviceNumber } from "../device.js";
import { Attr, AttrOut, EntryOut, Size, Statfs, Statx, StatxMask, StatxOut } from "./protocol.js";
import type { Result } from "./reply.js";
import { put64 } from "./words.js";

function putTimeout(words: Uint32Array, seconds: number, nanoseconds: number, milliseconds: number): void {
  put64(words, seconds, Math.floor(milliseconds / 1000));
  words[nanoseconds] = (milliseconds % 1000) * 1_000_000;
}

function putAttr(words: Uint32Array, at: number, inoHigh: number, attributes: Attributes): void {
  words[at + Attr.INO] = attributes.ino;
  words[at + Attr.INO + 1] = inoHigh;
  put64(words, at + Attr.SIZE, attributes.size);
  put64(words, at + Attr.BLOCKS, attributes.blocks);
  put64(words, at + Attr.ATIME, attributes.atime);
  put64(words, at + Attr.MTIME, attributes.mtime);
  put64(words, at + Attr.CTIME, attributes.ctime);
  words[at + Attr.ATIME_NSEC] = attributes.atimeNsec;
  words[at + Attr.MTIME_NSEC] = attributes.mtimeNsec;
  words[at + Attr.CTIME_NSEC] = attributes.ctimeNsec;
  words[at + Attr.MODE] = attributes.mode;
  words[at + Attr.NLINK] = attributes.nlink;
  words[at + Attr.UID] = attributes.uid;
  words[at + Attr.GID] = attributes.gid;
  words[at + Attr.RDEV] = deviceNumber(attributes.major, attributes.minor);
  words[at + Attr.BLKSIZE] = attributes.blksize;
  words[at + Attr.FLAGS] = 0;
}

/** struct fuse_entry_out, the answer to LOOKUP and the first part of a READDIRPLUS entry. */
export function putEntry(words: Uint32Array, at: number, entry: Entry): Result {
  words[at + EntryOut.NODE] = entry.low;
  words[at + EntryOut.NODE + 1] = entry.high;
  // The kernel made the root itself, with generation 0; any other would make it a stale inode.
  words[at + EntryOut.GENERATION] = entry.high === 0 && entry.low === 1 ? 0 : entry.generation;
  words[at + EntryOut.GENERATION + 1] = 0;
  putTimeout(words, at + EntryOut.ENTRY_VALID, at + EntryOut.ENTRY_VALID_NSEC, entry.timeout);
  putTimeout(words, at + EntryOut.ATTR_VALID, at + EntryOut.ATTR_VALID_NSEC, entry.timeout);
  putAttr(words, at + EntryOut.ATTR, entry.inoHigh, entry.attributes);
  return Size.ENTRY;
}

/** struct fuse_entry_out of a READDIRPLUS entry that comes without node and attributes. */
export function putNoEntry(words: Uint32Array, at: number): void {
  words.fill(0, at, at + Size.ENTRY / 4);
}

/** struct fuse_attr_out, the answer to GETATTR. */
export function putAttributes(words: Uint32Array, at: number, entry: Entry): Result {
  putTimeout(words, at + AttrOut.VALID, at + AttrOut.VALID_NSEC, entry.timeout);
  words[at + AttrOut.VALID_NSEC + 1] = 0;
  putAttr(words, at + AttrOut.ATTR, entry.inoHigh, entry.attributes);
  return Size.ATTRIBUTES;
}

function putStatxTime(words: Uint32Array, at: number, seconds: number, nanoseconds: number): void {
  put64(words, at, seconds);
  words[at + 2] = nanoseconds;
}

/** struct fuse_statx_out, the answer to STATX. A birth time of 0 is taken as none. */
export function putStatx(words: Uint32Array, at: number, entry: Entry): Result {
  words.fill(0, at, at + Size.STATX / 4);
  putTimeout(words, at + StatxOut.VALID, at + StatxOut.VALID_NSEC, entry.timeout);
  const { attributes } = entry;
  const statx = at + StatxOut.STATX;
  const born = attributes.btime !== 0 || attributes.btimeNsec !== 0;
  words[statx + Statx.MASK] = StatxMask.BASIC_STATS | (born ? StatxMask.BTIME : 0);
  words[statx + Statx.BLKSIZE] = attributes.blksize;
  words[statx + Statx.NLINK] = attributes.nlink;
  words[statx + Statx.UID] = attributes.uid;
  words[statx + Statx.GID] = attributes.gid;
  words[statx + Statx.MODE] = attributes.mode & 0xffff;
  words[statx + Statx.INO] = attributes.ino;
  words[statx + Statx.INO + 1] = entry.inoHigh;
  put64(words, statx + Statx.SIZE, attributes.size);
  put64(words, statx + Statx.BLOCKS, attributes.blocks);
  putStatxTime(words, statx + Statx.ATIME, attributes.atime, attributes.atimeNsec);
  putStatxTime(words, statx + Statx.BTIME, attributes.btime, attributes.btimeNsec);
  putStatxTime(words, statx + Statx.CTIME, attributes.ctime, attributes.ctimeNsec);
  putStatxTime(words, statx + Statx.MTIME, attributes.mtime, attributes.mtimeNsec);
  words[statx + Statx.RDEV_MAJOR] = attributes.major;
  words[statx + Statx.RDEV_MINOR] = attributes.minor;
  return Size.STATX;
}

/** struct fuse_statfs_out, the answer to STATFS. */
export function putStatfs(words: Uint32Array, at: number, statistics: Statistics): Result {
  words.fill(0, at, at + Size.STATFS / 4);
  put64(words, at + Statfs.BLOCKS, statistics.blocks);
  put64(words, at + Statfs.BLOCKS_FREE, statistics.blocksFree);
  put64(words, at + Statfs.BLOCKS_AVAILABLE, statistics.blocksAvailable);
  put64(words, at + Statfs.FILES, statistics.files);
  put64(words, at + Statfs.FILES_FREE, statistics.filesFree);
  words[at + Statfs.BLOCK_SIZE] = statistics.blockSize;
  words[at + Statfs.NAME_LENGTH] = statistics.nameLength;
  words[at + Statfs.FRAGMENT_SIZE] = statistics.blockSize;
  return Size.STATFS;
}
