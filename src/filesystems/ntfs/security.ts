/**
 * Security descriptors ([MS-DTYP] 2.4.6, SECURITY_DESCRIPTOR, self-relative) as mode and owners: what ntfs-3g makes of them
 * with `-o permissions` and without a file that maps users.
 */
import { ACE_HEADER_BYTES, ALLOWED, DENIED, modeOf, trueOwner } from "./access-mode.js";
import { badDescriptor, checkSid, idOf } from "./sid.js";

/** What the owner fields and the list of rights come to. */
export interface PosixSecurity {
  /** The lower twelve bits of a mode. */
  mode: number;
  uid: number;
  gid: number;
}

const HEADER_BYTES = 20;
const REVISION = 1;
const SE_DACL_PRESENT = 0x0004;
const ACL_HEADER_BYTES = 8;
const ACL_REVISION = 2;
const ACL_REVISION_DS = 4;

/**
 * What a self-relative SECURITY_DESCRIPTOR means as mode bits and owners. Directories and files do not differ.
 * Administrators, SYSTEM and all users of Windows domains are root; Everyone, Users and Authenticated Users are others.
 * @param length bytes of the descriptor from `from` on; 0 for a file that has none, which is root's and has no rights
 * @param out takes the result
 * @throws IoError(EIO) for a descriptor that makes no sense
 */
export function securityToPosix(descriptor: Buffer, from: number, length: number, out: PosixSecurity): void {
  out.mode = 0;
  out.uid = 0;
  out.gid = 0;
  if (length === 0) {
    return;
  }
  const end = from + length;
  if (length < HEADER_BYTES || end > descriptor.length || descriptor[from] !== REVISION) {
    throw badDescriptor();
  }
  const ownerField = sidAt(descriptor, from, end, descriptor.readUInt32LE(from + 4));
  const group = sidAt(descriptor, from, end, descriptor.readUInt32LE(from + 8));
  const control = descriptor.readUInt16LE(from + 2);
  const aclOffset = descriptor.readUInt32LE(from + 16);
  let entries = 0;
  let first = end;
  if (aclOffset !== 0) {
    const acl = from + aclOffset;
    if ((control & SE_DACL_PRESENT) === 0 || aclOffset < HEADER_BYTES || acl + ACL_HEADER_BYTES > end) {
      throw badDescriptor();
    }
    if (descriptor[acl] !== ACL_REVISION && descriptor[acl] !== ACL_REVISION_DS) {
      throw badDescriptor();
    }
    entries = descriptor.readUInt16LE(acl + 4);
    first = acl + ACL_HEADER_BYTES;
    checkEntries(descriptor, first, end, entries);
  }
  const owner = trueOwner(descriptor, first, entries, ownerField);
  out.mode = modeOf(descriptor, first, entries, owner, group);
  out.uid = idOf(descriptor, owner, 0);
  out.gid = idOf(descriptor, group, 1);
}

/** Where a SID lies that the header tells the offset of. */
function sidAt(bytes: Buffer, from: number, end: number, offset: number): number {
  if (offset < HEADER_BYTES) {
    throw badDescriptor();
  }
  checkSid(bytes, from + offset, end);
  return from + offset;
}

/** Looks at all entries of a list, so that nobody who goes through it later has to. */
function checkEntries(bytes: Buffer, first: number, end: number, entries: number): void {
  let at = first;
  for (let index = 0; index < entries; index++) {
    if (at + ACE_HEADER_BYTES > end) {
      throw badDescriptor();
    }
    const size = bytes.readUInt16LE(at + 2);
    if (size < ACE_HEADER_BYTES || at + size > end) {
      throw badDescriptor();
    }
    if (bytes[at] === ALLOWED || bytes[at] === DENIED) {
      checkSid(bytes, at + ACE_HEADER_BYTES, at + size);
    }
    at += size;
  }
}
