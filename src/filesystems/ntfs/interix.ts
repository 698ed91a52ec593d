/**
 * Special files as Interix ("Services for UNIX") and ntfs-3g make them: files of the system's that are empty, of one byte,
 * or begin with a magic number.
 */
import { FileType } from "../filesystem.js";
import { encoded } from "./names.js";

const LINK = Buffer.from("IntxLNK\x01", "latin1");
const BLOCK = Buffer.from("IntxBLK\0", "latin1");
const CHARACTER = Buffer.from("IntxCHR\0", "latin1");
const MAGIC_SIZE = 8;
/** A device's two numbers, of eight bytes each. */
const DEVICE_SIZE = MAGIC_SIZE + 16;
/** PATH_MAX units of a link's target. */
export const LONGEST_INTERIX = MAGIC_SIZE + 2 * 4096;

/** What such a file is. */
export interface SpecialFile {
  /** FileType */
  readonly type: number;
  readonly major: number;
  readonly minor: number;
  /** A symbolic link's. */
  readonly target: Buffer | undefined;
}

/** What the file with these bytes is, the first LONGEST_INTERIX of `size`; undefined: no such file. */
export function interixFile(bytes: Buffer, size: number, isHidden: boolean): SpecialFile | undefined {
  if (size === 0 || size === 1)
    return isHidden ? undefined : plain(size === 0 ? FileType.FIFO : FileType.SOCKET);
  if (size <= MAGIC_SIZE || size > LONGEST_INTERIX) return undefined;
  const magic = bytes.subarray(0, MAGIC_SIZE);
  if (magic.equals(LINK)) {
    const target = encoded(bytes, MAGIC_SIZE, (size - MAGIC_SIZE) >> 1);
    return { ...plain(FileType.LINK), target };
  }
  const isBlock = magic.equals(BLOCK);
  if (size !== DEVICE_SIZE || (!isBlock && !magic.equals(CHARACTER))) return undefined;
  const type = isBlock ? FileType.BLOCK : FileType.CHARACTER;
  const major = bytes.readUInt32LE(MAGIC_SIZE);
  const minor = bytes.readUInt32LE(MAGIC_SIZE + 8);
  return { type, major, minor, target: undefined };
}

function plain(type: number): SpecialFile {
  return { type, major: 0, minor: 0, target: undefined };
}
