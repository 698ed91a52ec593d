import { EIO, IoError } from "../../images/io-error.js";

// The structures are those of [MS-DTYP] 2.4: SECURITY_DESCRIPTOR (self-relative), SID, ACL, ACE. What they mean as mode
// and owners is what ntfs-3g makes of them with `-o permissions` and without a file that maps users.

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
/** Type, flags, size, mask; a SID follows where the type allows or denies. */
const ACE_HEADER_BYTES = 8;
const ALLOWED = 0;
const DENIED = 1;
const INHERIT_ONLY = 0x08;
const MOST_SUB_AUTHORITIES = 15;

const READ_DATA = 0x0001;
const WRITE_DATA = 0x0002;
const APPEND_DATA = 0x0004;
const READ_EA = 0x0008;
const EXECUTE = 0x0020;
const WRITE_OWNER = 0x0008_0000;
const SYNCHRONIZE = 0x0010_0000;
const GENERIC_ALL = 0x1000_0000;
const GENERIC_EXECUTE = 0x2000_0000;
const GENERIC_WRITE = 0x4000_0000;
const GENERIC_READ = 0x8000_0000;

const ALL = 7;

const NOBODY = sid(0, 0);
const EVERYONE = sid(1, 0);
const AUTHENTICATED_USERS = sid(5, 11);
const SYSTEM = sid(5, 18);
const ADMINISTRATORS = sid(5, 32, 544);
const USERS = sid(5, 32, 545);
/**
 * ntfs-3g's own domain (3141592653-589793238-462843383): uid n is its user 10000 + 2n, gid n its user 10001 + 2n; the
 * upper two bits of n are added to the domain's last number.
 */
const OWN_DOMAIN = sid(5, 21, 3141592653, 589793238, 462843383, 0);
const OWN_BASE = 10_000;
const SUB_AUTHORITIES = 8;

/** A SID as it is on the disk: revision, count, authority (big-endian), sub-authorities. */
function sid(authority: number, ...subAuthorities: number[]): Buffer {
  const bytes = Buffer.alloc(8 + 4 * subAuthorities.length);
  bytes[0] = REVISION;
  bytes[1] = subAuthorities.length;
  bytes[7] = authority;
  subAuthorities.forEach((value, index) => {
    bytes.writeUInt32LE(value, 8 + 4 * index);
  });
  return bytes;
}

/** Rights that were allowed and denied to one of the three classes of a mode. */
class Class {
  named = false;
  allowed = 0;
  denied = 0;

  clear(): void {
    this.named = false;
    this.allowed = 0;
    this.denied = 0;
  }

  add(rights: number, type: number): void {
    this.named = true;
    if (type === ALLOWED) {
      this.allowed |= rights;
    } else {
      this.denied |= rights;
    }
  }
}

const ownerClass = new Class();
const groupClass = new Class();
const otherClass = new Class();

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
    throw bad();
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
      throw bad();
    }
    if (descriptor[acl] !== ACL_REVISION && descriptor[acl] !== ACL_REVISION_DS) {
      throw bad();
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

function bad(): IoError {
  return new IoError(EIO, "A security descriptor is damaged.");
}

/** Where a SID lies that the header tells the offset of. */
function sidAt(bytes: Buffer, from: number, end: number, offset: number): number {
  if (offset < HEADER_BYTES) {
    throw bad();
  }
  checkSid(bytes, from + offset, end);
  return from + offset;
}

function checkSid(bytes: Buffer, at: number, end: number): void {
  if (at + 8 > end || bytes[at] !== REVISION || bytes[at + 1]! > MOST_SUB_AUTHORITIES) {
    throw bad();
  }
  if (at + sidBytes(bytes, at) > end) {
    throw bad();
  }
}

function sidBytes(bytes: Buffer, at: number): number {
  return 8 + 4 * bytes[at + 1]!;
}

/** Looks at all entries of a list, so that nobody who goes through it later has to. */
function checkEntries(bytes: Buffer, first: number, end: number, entries: number): void {
  let at = first;
  for (let index = 0; index < entries; index++) {
    if (at + ACE_HEADER_BYTES > end) {
      throw bad();
    }
    const size = bytes.readUInt16LE(at + 2);
    if (size < ACE_HEADER_BYTES || at + size > end) {
      throw bad();
    }
    if (bytes[at] === ALLOWED || bytes[at] === DENIED) {
      checkSid(bytes, at + ACE_HEADER_BYTES, at + size);
    }
    at += size;
  }
}

function same(bytes: Buffer, at: number, other: Buffer, otherAt: number): boolean {
  const size = sidBytes(bytes, at);
  for (let index = 0; index < size; index++) {
    if (bytes[at + index] !== other[otherAt + index]) {
      return false;
    }
  }
  return true;
}

function is(bytes: Buffer, at: number, known: Buffer): boolean {
  return sidBytes(bytes, at) === known.length && same(bytes, at, known, 0);
}

/** Whether a SID is that of a user or group of a domain or a machine: S-1-5-21-x-y-z-n. */
function ofDomain(bytes: Buffer, at: number): boolean {
  return bytes[at + 1] === 5 && ntAuthority(bytes, at + 2) && bytes.readUInt32LE(at + SUB_AUTHORITIES) === 21;
}

/** Whether the authority is NT's, 5. */
function ntAuthority(bytes: Buffer, at: number): boolean {
  return bytes.readUInt32BE(at) === 0 && bytes.readUInt16BE(at + 4) === 5;
}

/**
 * The first user who may change the owner, else the owner. So what Windows makes for a user in a directory of
 * Administrators is the user's.
 */
function trueOwner(bytes: Buffer, first: number, entries: number, owner: number): number {
  let at = first;
  for (let index = 0; index < entries; index++) {
    const person = at + ACE_HEADER_BYTES;
    if (
      bytes[at] === ALLOWED &&
      (bytes.readUInt32LE(at + 4) & WRITE_OWNER) !== 0 &&
      ofDomain(bytes, person)
    ) {
      return person;
    }
    at += bytes.readUInt16LE(at + 2);
  }
  return owner;
}

/** A uid (parity 0) or gid (parity 1) of ntfs-3g's own domain; all others are root. */
function idOf(bytes: Buffer, at: number, parity: 0 | 1): number {
  if (bytes[at + 1] !== 5) {
    return 0;
  }
  for (let index = 0; index < 20; index++) {
    if (index !== 1 && bytes[at + index] !== OWN_DOMAIN[index]) {
      return 0;
    }
  }
  const carry = bytes.readUInt32LE(at + SUB_AUTHORITIES + 12) - OWN_DOMAIN.readUInt32LE(SUB_AUTHORITIES + 12);
  const above = bytes.readUInt32LE(at + SUB_AUTHORITIES + 16) - OWN_BASE;
  if (carry < 0 || carry > 3 || above <= 0 || above % 2 !== parity) {
    return 0;
  }
  return (Math.floor(above / 2) % 2 ** 30) + carry * 2 ** 30;
}

/** The mode bits that rights come to for one class. */
function rightsOf(mask: number): number {
  let rights = 0;
  if ((mask & (READ_DATA | GENERIC_READ)) !== 0) {
    rights |= 4;
  }
  if ((mask & (WRITE_DATA | APPEND_DATA | GENERIC_WRITE)) !== 0) {
    rights |= 2;
  }
  if ((mask & (EXECUTE | GENERIC_EXECUTE)) !== 0) {
    rights |= 1;
  }
  return rights;
}

/** The mode bits of a list of rights. */
function modeOf(bytes: Buffer, first: number, entries: number, owner: number, group: number): number {
  ownerClass.clear();
  groupClass.clear();
  otherClass.clear();
  const ownerIsGroup = same(bytes, owner, bytes, group);
  const ownerIsAdmin = is(bytes, owner, ADMINISTRATORS);
  const groupIsAdmin = is(bytes, group, ADMINISTRATORS);
  const groupIsSystem = is(bytes, group, SYSTEM);
  let groupOwns = ownerIsGroup;
  let adminOwns = false;
  let ownerSeen = false;
  let ownerMasked = false;
  let groupSeen = false;
  let groupMasks = 0;
  let formerGroup = -1;
  let otherGrant = 0;
  let otherDenial = 0;
  let groupGrants = 0;
  let special = 0;
  let specialDenied = 0;

  let next = first;
  for (let index = 0; index < entries; index++) {
    const at = next;
    next += bytes.readUInt16LE(at + 2);
    const type = bytes[at]!;
    if (type !== ALLOWED && type !== DENIED) {
      continue;
    }
    // Entries that are only inherited give nothing here; but the owner's and the group's are looked at all the same.
    const effective = (bytes[at + 1]! & INHERIT_ONLY) === 0;
    const mask = bytes.readUInt32LE(at + 4);
    const rights = rightsOf(mask);
    const person = at + ACE_HEADER_BYTES;
    const all = (mask & (WRITE_OWNER | GENERIC_ALL)) !== 0;
    const isMask = type === DENIED && (mask & WRITE_OWNER) !== 0;
    const isAdmin = is(bytes, person, ADMINISTRATORS);
    if (isAdmin && type === ALLOWED && (mask & (SYNCHRONIZE | READ_EA)) !== (SYNCHRONIZE | READ_EA)) {
      // Rights of root as some user or group, which ntfs-3g marks by leaving out one of these.
      continue;
    }
    if (same(bytes, person, bytes, owner)) {
      if (!all && type === ALLOWED) {
        if (ownerIsGroup) {
          if (effective) {
            groupClass.add(rights, type);
          }
        } else {
          groupOwns = true;
          const id = idOf(bytes, person, 1);
          if (id !== 0 && effective) {
            groupGrants |= rights;
            formerGroup = id;
          }
        }
      } else if (effective) {
        if (isMask) {
          ownerMasked = true;
          if (ownerSeen) {
            groupMasks++;
          }
        } else {
          ownerSeen ||= type === ALLOWED;
          const ignored = (adminOwns && isAdmin) || is(bytes, person, SYSTEM);
          adminOwns ||= ownerIsAdmin;
          if (!ignored && (ownerSeen || !ownerMasked)) {
            ownerClass.add(rights, type);
          }
        }
      }
    } else if (same(bytes, person, bytes, group)) {
      if (isMask) {
        if (effective && ownerSeen) {
          groupMasks++;
        }
        continue;
      }
      const others = groupSeen || groupMasks > 1;
      if (effective && !others && type === ALLOWED) {
        groupSeen = true;
      }
      const ignored = (groupIsAdmin || groupIsSystem) && all;
      adminOwns ||= groupIsAdmin;
      if (!effective || ignored) {
        continue;
      }
      if (!others) {
        groupClass.add(rights, type);
        continue;
      }
      const id = idOf(bytes, person, 1);
      if (id !== 0) {
        formerGroup = id;
        if (type === ALLOWED) {
          groupGrants |= rights;
        }
      }
    } else if (!effective) {
      // Nothing of it matters here.
    } else if (
      is(bytes, person, EVERYONE) ||
      is(bytes, person, USERS) ||
      is(bytes, person, AUTHENTICATED_USERS)
    ) {
      otherClass.add(rights, type);
      if (type === ALLOWED) {
        otherGrant = rights;
      } else {
        otherDenial = rights;
      }
    } else if (is(bytes, person, NOBODY)) {
      if (type === ALLOWED) {
        special |= specialOf(mask);
      } else {
        specialDenied |= specialOf(mask);
      }
    } else if (idOf(bytes, person, 0) === 0) {
      const id = idOf(bytes, person, 1);
      if (id !== 0) {
        if (isMask && formerGroup !== id) {
          groupMasks++;
        } else if (type === ALLOWED) {
          groupGrants |= rights;
        }
        formerGroup = id;
      }
    }
  }

  if (!ownerClass.named) {
    ownerClass.allowed = ALL;
  }
  if (!groupClass.named) {
    groupClass.allowed = otherClass.allowed;
  }
  let ownerRights = ownerClass.allowed;
  let groupRights = groupClass.allowed;
  let otherRights = otherClass.allowed;
  if (!adminOwns) {
    if (!groupOwns) {
      ownerRights |= groupGrants | groupClass.allowed | otherGrant;
      groupRights |= otherGrant;
    }
    ownerRights &= ~ownerClass.denied;
    groupRights &= ~groupClass.denied;
    otherRights &= ~otherClass.denied;
    special &= ~specialDenied;
  }
  return special | (((ownerRights << 6) | (groupRights << 3) | otherRights) & ~(otherDenial * 0o111));
}

/** Set-uid, set-gid and sticky bit, which ntfs-3g keeps as rights of nobody. */
function specialOf(mask: number): number {
  let bits = 0;
  if ((mask & APPEND_DATA) !== 0) {
    bits |= 0o4000;
  }
  if ((mask & WRITE_DATA) !== 0) {
    bits |= 0o2000;
  }
  if ((mask & READ_DATA) !== 0) {
    bits |= 0o1000;
  }
  return bits;
}
