/** A file's entry as subscribers see it. */
import type { InodeState } from "../changes.js";
import { Attributes } from "../filesystem.js";
import { type DirectoryEntry, EntryAttribute } from "./entry.js";
import { fillAttributes, fillRoot } from "./stat.js";

const scratch = new Attributes();

/** `clusterSize` in bytes. How many directories are in one is not counted: links are 2. */
export function inodeState(entry: DirectoryEntry, clusterSize: number): InodeState {
  fillAttributes(entry, clusterSize, scratch);
  return stateOf((entry.attributes & ~EntryAttribute.DIRECTORY) >>> 0);
}

/** The root's, which has no entry. */
export function rootState(ino: number, clusterSize: number): InodeState {
  fillRoot(ino, clusterSize, scratch);
  return stateOf(0);
}

function stateOf(flags: number): InodeState {
  const { generation, mode, nlink, uid, gid, size, mtime, mtimeNsec, ctime, ctimeNsec, btime, btimeNsec } =
    scratch;
  const times = { mtime, mtimeNsec, ctime, ctimeNsec, btime, btimeNsec };
  return { generation, mode, nlink, uid, gid, size, flags, ...times, major: 0, minor: 0 };
}
