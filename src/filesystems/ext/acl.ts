/** POSIX ACLs: from the form on disk (struct ext4_acl_header, ext4_acl_entry) to that of the attribute (posix_acl_xattr). */
import { EIO, IoError } from "../../images/io-error.js";

const DISK_VERSION = 1;
const ATTRIBUTE_VERSION = 2;
/** e_tag of the entries that carry an id. */
const ACL_USER = 2;
const ACL_GROUP = 8;
const UNDEFINED_ID = 0xffff_ffff;

/** The attribute's value as getxattr(2) gives it. Throws IoError (EIO) when the value on disk is bad. */
export function posixAcl(disk: Buffer, ino: number): Buffer {
  if (disk.length < 4 || disk.readUInt32LE(0) !== DISK_VERSION) throw bad(ino);
  const value = Buffer.alloc(4 + Math.floor((disk.length - 4) / 4) * 8);
  value.writeUInt32LE(ATTRIBUTE_VERSION, 0);
  let end = 4;
  for (let at = 4; at < disk.length; end += 8) {
    if (at + 4 > disk.length) throw bad(ino);
    const tag = disk.readUInt16LE(at);
    const hasId = tag === ACL_USER || tag === ACL_GROUP;
    if (hasId && at + 8 > disk.length) throw bad(ino);
    value.writeUInt16LE(tag, end);
    value.writeUInt16LE(disk.readUInt16LE(at + 2), end + 2);
    value.writeUInt32LE(hasId ? disk.readUInt32LE(at + 4) : UNDEFINED_ID, end + 4);
    at += hasId ? 8 : 4;
  }
  return value.subarray(0, end);
}

function bad(ino: number): IoError {
  return new IoError(EIO, `inode ${ino}: its access control list is bad`);
}
