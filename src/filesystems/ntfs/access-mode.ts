/** What a list of rights ([MS-DTYP] 2.4.5, ACL) comes to as mode bits: what ntfs-3g makes of it. */
import {
  ADMINISTRATORS,
  AUTHENTICATED_USERS,
  EVERYONE,
  idOf,
  isSid,
  NOBODY,
  ofDomain,
  SYSTEM,
  sameSid,
  USERS,
} from "./sid.js";

/** Type, flags, size, mask; a SID follows where the type allows or denies. */
export const ACE_HEADER_BYTES = 8;
export const ALLOWED = 0;
export const DENIED = 1;
const INHERIT_ONLY = 0x08;

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
 * The first user who may change the owner, else the owner. So what Windows makes for a user in a directory of
 * Administrators is the user's.
 */
export function trueOwner(bytes: Buffer, first: number, entries: number, owner: number): number {
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

/** The mode bits of a list of rights, of which the entries have been checked. */
export function modeOf(bytes: Buffer, first: number, entries: number, owner: number, group: number): number {
  ownerClass.clear();
  groupClass.clear();
  otherClass.clear();
  const ownerIsGroup = sameSid(bytes, owner, bytes, group);
  const ownerIsAdmin = isSid(bytes, owner, ADMINISTRATORS);
  const groupIsAdmin = isSid(bytes, group, ADMINISTRATORS);
  const groupIsSystem = isSid(bytes, group, SYSTEM);
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
    const isAdmin = isSid(bytes, person, ADMINISTRATORS);
    if (isAdmin && type === ALLOWED && (mask & (SYNCHRONIZE | READ_EA)) !== (SYNCHRONIZE | READ_EA)) {
      // Rights of root as some user or group, which ntfs-3g marks by leaving out one of these.
      continue;
    }
    if (sameSid(bytes, person, bytes, owner)) {
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
          const ignored = (adminOwns && isAdmin) || isSid(bytes, person, SYSTEM);
          adminOwns ||= ownerIsAdmin;
          if (!ignored && (ownerSeen || !ownerMasked)) {
            ownerClass.add(rights, type);
          }
        }
      }
    } else if (sameSid(bytes, person, bytes, group)) {
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
      isSid(bytes, person, EVERYONE) ||
      isSid(bytes, person, USERS) ||
      isSid(bytes, person, AUTHENTICATED_USERS)
    ) {
      otherClass.add(rights, type);
      if (type === ALLOWED) {
        otherGrant = rights;
      } else {
        otherDenial = rights;
      }
    } else if (isSid(bytes, person, NOBODY)) {
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
