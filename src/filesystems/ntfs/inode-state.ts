/** A file's fields as subscribers see them. */
import type { InodeState } from "../changes.js";
import { Attributes } from "../filesystem.js";
import type { Inode } from "./inode.js";
import type { Parts } from "./parts.js";

const scratch = new Attributes();

/** Throws IoError (EIO) where they make no sense. */
export function inodeState(parts: Parts, inode: Inode): InodeState {
  parts.attributes.fill(inode, scratch);
  const { generation, mode, nlink, uid, gid, size, major, minor } = scratch;
  const { mtime, mtimeNsec, ctime, ctimeNsec, btime, btimeNsec } = scratch;
  return {
    generation,
    mode,
    nlink,
    uid,
    gid,
    size,
    flags: inode.fileAttributes,
    mtime,
    mtimeNsec,
    ctime,
    ctimeNsec,
    btime,
    btimeNsec,
    major,
    minor,
    ...(parts.extendedAttributes.any(inode) ? { hasAttributes: true } : {}),
  };
}
