/**
 * What every file system answers, whatever its format. Inode numbers are the format's own; names are bytes.
 * No method allocates per call but those that return a Buffer.
 */

import { IoError } from "../images/io-error.js";
import type { Commit } from "../versions/commit.js";
import type { ReopenReason } from "./follower.js";

/** A failure that is an answer: the file system says `errno` (a positive Linux errno) and why. */
export class FileSystemError extends IoError {
  constructor(errno: number, message: string) {
    super(errno, message);
    this.name = "FileSystemError";
  }
}

/** Linux errno values that file systems answer with. */
export const Errno = {
  ENOENT: 2,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EACCES: 13,
  EEXIST: 17,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENAMETOOLONG: 36,
  ELOOP: 40,
  ENODATA: 61,
  EOPNOTSUPP: 95,
  ESTALE: 116,
  ENOKEY: 126,
} as const;

/** File type bits of `mode` (stat(2)). */
export const FileType = {
  MASK: 0o170000,
  FIFO: 0o010000,
  CHARACTER: 0o020000,
  DIRECTORY: 0o040000,
  BLOCK: 0o060000,
  REGULAR: 0o100000,
  LINK: 0o120000,
  SOCKET: 0o140000,
} as const;

/** Directory entry types (dirent's d_type). */
export const EntryType = {
  UNKNOWN: 0,
  FIFO: 1,
  CHARACTER: 2,
  DIRECTORY: 4,
  BLOCK: 6,
  REGULAR: 8,
  LINK: 10,
  SOCKET: 12,
} as const;

/** What stat(2) tells, filled in place and used again. */
export class Attributes {
  /** The file system's own inode number. */
  ino = 0;
  /** The inode's generation (0 where the format has none): another one means another file. */
  generation = 0;
  /** Type and permission bits. */
  mode = 0;
  nlink = 0;
  uid = 0;
  gid = 0;
  /** Device number of a device node. */
  major = 0;
  minor = 0;
  /** Bytes. */
  size = 0;
  /** Units of 512 bytes. */
  blocks = 0;
  /** Preferred I/O size, bytes. */
  blksize = 4096;
  /** Seconds since 1970 (may be negative) and nanoseconds of that second. */
  atime = 0;
  atimeNsec = 0;
  mtime = 0;
  mtimeNsec = 0;
  ctime = 0;
  ctimeNsec = 0;
  /** Birth time, where the format has one; else 0. */
  btime = 0;
  btimeNsec = 0;
}

/** What statfs(2) tells, filled in place. Blocks are of `blockSize` bytes. */
export class Statistics {
  blockSize = 4096;
  blocks = 0;
  blocksFree = 0;
  blocksAvailable = 0;
  files = 0;
  filesFree = 0;
  nameLength = 255;
}

/** Takes the entries of a directory one by one. */
export interface EntryVisitor {
  /**
   * One entry. The name lies at `nameOffset` of `name`, and is valid only during the call. `type` is an EntryType
   * (UNKNOWN where the directory does not tell). `next` is the position at which listing goes on after this entry.
   * Returns false to stop: then this entry counts as not taken.
   */
  entry(
    name: Buffer,
    nameOffset: number,
    nameLength: number,
    ino: number,
    type: number,
    next: number,
  ): boolean;
}

/**
 * How what was answered stands. `current`: it was of one version, and holds. `moved`: the guest has moved on meanwhile,
 * and so has the file system: it does not count, and is to be asked for again. Else why the file system must be opened
 * afresh, and asked again then.
 */
export type Standing = "current" | "moved" | ReopenReason;

/** How names are compared, where a format leaves that open. */
export interface NameMatching {
  /** A name that is not there is found if only upper and lower case tell it from one that is. */
  readonly ignoresCase: boolean;
}

/** Names as they are. */
export const EXACT: NameMatching = { ignoresCase: false };

/** A guest's volume as links name it. */
export interface NamedVolume {
  /** It is the very volume that the link is on. */
  readonly isOwn: boolean;
  /** The names that lead to where it is shown, from the guest's root on. */
  readonly path: readonly string[];
  /** A path on it by the names that its directories list, one character a byte; undefined: it is not there. */
  listed(names: readonly string[]): readonly string[] | undefined;
}

/** What a guest calls its volumes where its links lead to them. */
export interface VolumeNames {
  /** The volume with a name in capital letters, such as `D:`; "elsewhere": it is none that is shown; undefined: who knows. */
  find(name: string): NamedVolume | "elsewhere" | undefined;
}

/** One file system in one version. Throws FileSystemError; EIO is for a structure that is bad on disk. */
export interface FileSystem {
  /** `ext4`, ... */
  readonly type: string;
  readonly label: string;
  readonly uuid: string;
  readonly rootInode: number;

  /** Fills `out`. ESTALE if there is no such inode in use. */
  stat(ino: number, out: Attributes): void;
  /**
   * The inode of `name` in the directory, 0 if there is none. ENOTDIR if it is none. `asListed`: by the very bytes that
   * the directory lists, and no other spelling of them.
   */
  lookup(directory: number, name: Buffer, asListed?: boolean): number;
  /** Whether a directory finds names by other spellings than those that it lists. */
  foldsNames(directory: number): boolean;
  /** The parent of a directory (the root's is the root). */
  parent(directory: number): number;
  /** Visits the entries from `position` (0, or a `next` given earlier), "." and ".." among them. */
  list(directory: number, position: number, visitor: EntryVisitor): void;
  /** Reads a file's bytes; holes are zeros. Returns how many there were up to the end of the file. */
  read(ino: number, position: number, length: number, target: Buffer, targetOffset: number): number;
  /** The first byte at or after `position` that is data (or, with `hole`, a hole or the end). -1: none (ENXIO). */
  seek(ino: number, position: number, hole: boolean): number;
  readlink(ino: number): Buffer;
  /** Of formats whose links name volumes: by what names. */
  nameVolumes?(names: VolumeNames): void;
  /**
   * Of formats where case may count in looking names up, and not for the guest: the names of a path from the root on, one
   * character a byte, as its directories list them; undefined if it is not there. Throws IoError.
   */
  listedNames?(names: readonly string[]): readonly string[] | undefined;
  /** Names of the extended attributes with their prefixes (`user.x`, `security.selinux`, ...), one character a byte. */
  attributeNames(ino: number): string[];
  /** An attribute's value; undefined if there is none of that name. */
  attribute(ino: number, name: string): Buffer | undefined;
  statistics(out: Statistics): void;

  /** Moves on to the next committed version; see Follower. Throws IoError. */
  apply(commit: Commit): void;
  /** Copies of transactions before this one are in their places. */
  settle(sequence: number): void;
  /**
   * Looks whether what has been answered since the last call, errors among it, stands. To be called after each request;
   * costs next to nothing where nothing was read of the image for it. Throws IoError when the image cannot be read.
   */
  standing(): Standing;
  /** Forgets what was read of structures in their places: somebody may have written over them at rest. */
  reread(): void;
  /** Forgets all that was read: where nobody tells of changes, or the volume is to be opened afresh. */
  forget(): void;
}
