/** Security identifiers ([MS-DTYP] 2.4.2): who somebody is, and what uid or gid ntfs-3g gives that. */
import { EIO, IoError } from "../../images/io-error.js";

const REVISION = 1;
const MOST_SUB_AUTHORITIES = 15;

export const NOBODY = sid(0, 0);
export const EVERYONE = sid(1, 0);
export const AUTHENTICATED_USERS = sid(5, 11);
export const SYSTEM = sid(5, 18);
export const ADMINISTRATORS = sid(5, 32, 544);
export const USERS = sid(5, 32, 545);
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

/** The error for a descriptor that makes no sense. */
export function badDescriptor(): IoError {
  return new IoError(EIO, "A security descriptor is damaged.");
}

/** @throws IoError(EIO) if no whole SID lies there, before `end` */
export function checkSid(bytes: Buffer, at: number, end: number): void {
  if (at + 8 > end || bytes[at] !== REVISION || bytes[at + 1]! > MOST_SUB_AUTHORITIES) {
    throw badDescriptor();
  }
  if (at + sidBytes(bytes, at) > end) {
    throw badDescriptor();
  }
}

function sidBytes(bytes: Buffer, at: number): number {
  return 8 + 4 * bytes[at + 1]!;
}

/** Whether two SIDs are the same. */
export function sameSid(bytes: Buffer, at: number, other: Buffer, otherAt: number): boolean {
  const size = sidBytes(bytes, at);
  for (let index = 0; index < size; index++) {
    if (bytes[at + index] !== other[otherAt + index]) {
      return false;
    }
  }
  return true;
}

/** Whether a SID is one of those above. */
export function isSid(bytes: Buffer, at: number, known: Buffer): boolean {
  return sidBytes(bytes, at) === known.length && sameSid(bytes, at, known, 0);
}

/** Whether a SID is that of a user or group of a domain or a machine: S-1-5-21-x-y-z-n. */
export function ofDomain(bytes: Buffer, at: number): boolean {
  return bytes[at + 1] === 5 && ntAuthority(bytes, at + 2) && bytes.readUInt32LE(at + SUB_AUTHORITIES) === 21;
}

/** Whether the authority is NT's, 5. */
function ntAuthority(bytes: Buffer, at: number): boolean {
  return bytes.readUInt32BE(at) === 0 && bytes.readUInt16BE(at + 4) === 5;
}

/** A uid (parity 0) or gid (parity 1) of ntfs-3g's own domain; all others are root. */
export function idOf(bytes: Buffer, at: number, parity: 0 | 1): number {
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
