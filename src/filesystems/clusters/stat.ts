/** What stat(2) tells of a file, as the kernel's vfat and exfat do with umask=022 and tz=UTC. */
import { type Attributes, FileType } from "../filesystem.js";
import { type DirectoryEntry, EntryAttribute } from "./entry.js";

/** Permissions with a umask of 022; who may write is taken from a file that is read-only, but from no directory. */
const ALL = 0o755;
const READ_ONLY = 0o555;

/** Fills in all but a directory's size and blocks, and how many directories are in it. `clusterSize` in bytes. */
export function fillAttributes(entry: DirectoryEntry, clusterSize: number, out: Attributes): void {
  const { isDirectory } = entry;
  const isReadOnly = (entry.attributes & EntryAttribute.READ_ONLY) !== 0;
  out.ino = entry.ino;
  out.generation = entry.generation;
  out.mode = isDirectory ? FileType.DIRECTORY | ALL : FileType.REGULAR | (isReadOnly ? READ_ONLY : ALL);
  out.nlink = isDirectory ? 2 : 1;
  out.uid = 0;
  out.gid = 0;
  out.major = 0;
  out.minor = 0;
  out.blksize = clusterSize;
  setSize(out, entry.size, clusterSize);
  out.mtime = entry.mtime;
  out.mtimeNsec = entry.mtimeNsec;
  // There is no other time of a change.
  out.ctime = entry.mtime;
  out.ctimeNsec = entry.mtimeNsec;
  out.atime = entry.atime;
  out.atimeNsec = entry.atimeNsec;
  out.btime = entry.btime;
  out.btimeNsec = entry.btimeNsec;
}

/** Fills in what is known of the root, which has no entry: its size is not. */
export function fillRoot(ino: number, clusterSize: number, out: Attributes): void {
  out.ino = ino;
  out.generation = 0;
  out.mode = FileType.DIRECTORY | ALL;
  out.nlink = 2;
  out.uid = 0;
  out.gid = 0;
  out.major = 0;
  out.minor = 0;
  out.blksize = clusterSize;
  out.size = out.blocks = 0;
  out.mtime = out.mtimeNsec = out.ctime = out.ctimeNsec = 0;
  out.atime = out.atimeNsec = out.btime = out.btimeNsec = 0;
}

/** Bytes, and the clusters that they take in units of 512 bytes. */
export function setSize(out: Attributes, size: number, clusterSize: number): void {
  out.size = size;
  out.blocks = Math.ceil(size / clusterSize) * (clusterSize / 512);
}
