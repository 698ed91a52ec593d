/** An inode's fields as subscribers see them, and whether its extended attributes may differ from another version's. */
import { IoError } from "../../images/io-error.js";
import type { AttributeValues, InodeState } from "../changes.js";
import { Attributes } from "../filesystem.js";
import { type Inode, InodeFlags, type Inodes } from "./inode.js";
import { type ExtendedAttributes, hasAttributes } from "./xattr.js";

const scratch = new Attributes();

/** Flags that say how the inode is kept, and change with that: of no account to those who watch the file. */
export const KEPT_HOW =
  InodeFlags.INDEX | InodeFlags.HUGE_FILE | InodeFlags.EXTENTS | InodeFlags.EA_INODE | InodeFlags.INLINE_DATA;

/** The inode's fields; undefined if it has never been used, or makes no sense. */
export function inodeState(inodes: Inodes, inode: Inode): InodeState | undefined {
  if (inode.mode === 0) return undefined;
  try {
    inodes.attributes(inode, scratch);
  } catch (error) {
    if (error instanceof IoError) return undefined;
    throw error;
  }
  const { generation, mode, nlink, uid, gid, size, major, minor } = scratch;
  const { mtime, mtimeNsec, ctime, ctimeNsec, btime, btimeNsec } = scratch;
  return {
    generation,
    mode,
    nlink,
    uid,
    gid,
    size,
    flags: (inode.fields.i_flags & ~KEPT_HOW) >>> 0,
    mtime,
    mtimeNsec,
    ctime,
    ctimeNsec,
    btime,
    btimeNsec,
    major,
    minor,
    ...(hasAttributes(inodes, inode) === true ? { hasAttributes: true } : {}),
  };
}

/** All extended attributes of an inode; what cannot be read is left out, and `fail` is called. */
export function attributeValues(
  attributes: ExtendedAttributes,
  inode: Inode,
  fail: () => void = () => {},
): AttributeValues {
  const values = new Map<string, Buffer>();
  try {
    for (const name of attributes.names(inode)) {
      const value = attributes.value(inode, name);
      if (value !== undefined) values.set(name, value);
    }
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    fail();
  }
  return values;
}

/** What is in one and not, or otherwise, in the other; undefined if nothing is. */
export function differingAttributes(
  old: AttributeValues,
  now: AttributeValues,
): { readonly old: AttributeValues; readonly now: AttributeValues } | undefined {
  const before = new Map([...old].filter(([name, value]) => now.get(name)?.equals(value) !== true));
  const after = new Map([...now].filter(([name, value]) => old.get(name)?.equals(value) !== true));
  return before.size + after.size === 0 ? undefined : { old: before, now: after };
}
