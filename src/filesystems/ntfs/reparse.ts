/** Reparse points (Windows protocols, [MS-FSCC] 2.1.2): links, and files whose bytes somebody else has to make. */
import { EIO, IoError } from "../../images/io-error.js";
import { AttributeType } from "./attribute.js";
import type { Inode } from "./inode.js";
import type { MasterFileTable } from "./mft.js";
import { encoded } from "./names.js";
import { Stream } from "./stream.js";

/** IO_REPARSE_TAG_... */
export const ReparseTag = {
  MOUNT_POINT: 0xa000_0003,
  SYMLINK: 0xa000_000c,
  WOF: 0x8000_0017,
  DEDUP: 0x8000_0013,
  LX_SYMLINK: 0xa000_001d,
  AF_UNIX: 0x8000_0023,
  LX_FIFO: 0x8000_0024,
  LX_CHR: 0x8000_0025,
  LX_BLK: 0x8000_0026,
} as const;

/** In a tag: the file stands for another name. */
export const STANDS_FOR_NAME = 0x2000_0000;
/** Bytes before the data: the tag, how many data there are. */
const HEADER = 8;
/** MAXIMUM_REPARSE_DATA_BUFFER_SIZE */
const LONGEST = 16384;
/** Bytes before the names of a junction and a symbolic link. */
const JUNCTION_HEADER = 8;
const SYMLINK_HEADER = 12;
const SYMLINK_IS_RELATIVE = 1;
/** Bytes before the target of a link of WSL's, and the version that says that it is UTF-8. */
const LX_HEADER = 4;

/** A link's target as Windows keeps it. */
export interface WindowsTarget {
  readonly kind: "windows";
  /** With backslashes; bytes as names have them. */
  readonly path: Buffer;
  readonly isRelative: boolean;
}

/** One as Linux keeps it. */
export interface LinuxTarget {
  readonly kind: "linux";
  readonly path: Buffer;
}

/** A file's reparse point. */
export interface ReparsePoint {
  readonly tag: number;
  /** What follows the header. */
  readonly data: Buffer;
}

/** Undefined: the file has none, whatever its attributes say. Throws IoError (EIO) for one that is bad. */
export function readReparsePoint(mft: MasterFileTable, inode: Inode): ReparsePoint | undefined {
  const value = reparseValue(mft, inode);
  if (value === undefined) return undefined;
  if (value.length < HEADER) throw bad(inode.ino);
  return { tag: value.readUInt32LE(0), data: value.subarray(HEADER, HEADER + value.readUInt16LE(4)) };
}

/** The same with its header, as the attribute has it. */
export function reparseValue(mft: MasterFileTable, inode: Inode): Buffer | undefined {
  const index = inode.find(AttributeType.REPARSE_POINT);
  if (index < 0) return undefined;
  const stream = new Stream(mft, inode, index);
  if (stream.size > LONGEST) throw bad(inode.ino);
  const value = Buffer.alloc(stream.size);
  stream.read(0, value.length, value, 0);
  return value;
}

/** Where a link leads; undefined for a reparse point that is none. Throws IoError (EIO) for one that is bad. */
export function targetOf({ tag, data }: ReparsePoint, ino: number): WindowsTarget | LinuxTarget | undefined {
  switch (tag) {
    case ReparseTag.MOUNT_POINT:
      return { kind: "windows", path: substituteName(data, JUNCTION_HEADER, ino), isRelative: false };
    case ReparseTag.SYMLINK: {
      const path = substituteName(data, SYMLINK_HEADER, ino);
      return { kind: "windows", path, isRelative: (data.readUInt32LE(8) & SYMLINK_IS_RELATIVE) !== 0 };
    }
    case ReparseTag.LX_SYMLINK:
      if (data.length <= LX_HEADER) throw bad(ino);
      return { kind: "linux", path: data.subarray(LX_HEADER) };
    default:
      return undefined;
  }
}

/** SubstituteName, where the system goes; the other one, PrintName, is for people. */
function substituteName(data: Buffer, header: number, ino: number): Buffer {
  if (data.length < header) throw bad(ino);
  const offset = data.readUInt16LE(0);
  const length = data.readUInt16LE(2);
  if ((length & 1) !== 0 || header + offset + length > data.length) throw bad(ino);
  return encoded(data, header + offset, length / 2);
}

function bad(ino: number): IoError {
  return new IoError(EIO, `MFT record ${ino}: its reparse point makes no sense`);
}
