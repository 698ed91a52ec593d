/** Security descriptors (Windows protocols, [MS-DTYP] 2.4): an owner, a group and who may do what, as a mode has it. */

/** Who a file belongs to and who may do what with it, as stat(2) has that. */
export interface Access {
  readonly uid: number;
  readonly gid: number;
  /** Nine bits. */
  readonly permissions: number;
}

/** A file without a list of who may do what: so everybody may, as in Windows. */
export const NO_DESCRIPTOR: Access = { uid: 0, gid: 0, permissions: 0o777 };
/** A file whose descriptor cannot be read. */
export const BAD_DESCRIPTOR: Access = { uid: 0, gid: 0, permissions: 0o700 };

/** Offsets in a self-relative descriptor. */
const CONTROL = 2;
const OWNER = 4;
const GROUP = 8;
const DACL = 16;
const DESCRIPTOR_SIZE = 20;
const DACL_PRESENT = 0x4;

/** An access control list: the revision, its bytes, how many entries. An entry: type, flags, bytes, mask, who. */
const ACL_HEADER = 8;
const ACE_MASK = 4;
const ACE_SID = 8;
const AceType = { ALLOWED: 0, DENIED: 1 } as const;
const INHERIT_ONLY = 0x8;
const GENERIC_ALL = 0x1000_0000;
const READ = 0x8000_0001 | GENERIC_ALL;
const WRITE = 0x4000_0002 | GENERIC_ALL;
const EXECUTE = 0x2000_0020 | GENERIC_ALL;

/** A SID: revision, how many numbers, the authority, those numbers. */
const SID_HEADER = 8;
const MOST_NUMBERS = 15;

/** Accounts of a machine or a domain, and well-known ones, have the ids that Cygwin gives those of the machine's own. */
const ACCOUNTS = 0x3_0000;
/** What has no number that could be an id. */
const NOBODY = 65534;
const TRUSTED_INSTALLER = "5-80-956008885-3418522649-1831038044-1853292631-2271478464";
/** SYSTEM, Administrators, TrustedInstaller: they may do all that they want. */
const ROOT: ReadonlySet<string> = new Set(["5-18", "5-32-544", TRUSTED_INSTALLER]);
/** Everyone, Authenticated Users, Users, INTERACTIVE, LOCAL, This Organization: whoever has an account at all. */
const OTHERS: ReadonlySet<string> = new Set(["1-0", "5-11", "5-32-545", "5-4", "2-0", "5-15"]);
/** OWNER RIGHTS */
const OWNER_RIGHTS = "3-4";

/** What a descriptor says; BAD_DESCRIPTOR where that makes no sense. */
export function accessOf(descriptor: Buffer): Access {
  if (descriptor.length < DESCRIPTOR_SIZE) return BAD_DESCRIPTOR;
  const owner = sidAt(descriptor, descriptor.readUInt32LE(OWNER));
  const group = sidAt(descriptor, descriptor.readUInt32LE(GROUP));
  if (owner === undefined) return BAD_DESCRIPTOR;
  const uid = idOf(owner);
  const gid = group === undefined ? NOBODY : idOf(group);
  const dacl = descriptor.readUInt32LE(DACL);
  if ((descriptor.readUInt16LE(CONTROL) & DACL_PRESENT) === 0 || dacl === 0)
    return { uid, gid, permissions: NO_DESCRIPTOR.permissions };
  const entries = entriesOf(descriptor, dacl);
  if (entries === undefined) return { uid, gid, permissions: BAD_DESCRIPTOR.permissions };
  const ofOwner = (sid: string) =>
    sid === OWNER_RIGHTS || sid === owner || idOf(sid) === uid || OTHERS.has(sid);
  const ofGroup = (sid: string) => sid === group || idOf(sid) === gid || OTHERS.has(sid);
  const ofOthers = (sid: string) => OTHERS.has(sid);
  const permissions =
    (granted(entries, ofOwner) << 6) | (granted(entries, ofGroup) << 3) | granted(entries, ofOthers);
  return { uid, gid, permissions };
}

/** The uid or gid that an account or a group is shown with. `sid`: as `sidAt` gives it. */
function idOf(sid: string): number {
  if (ROOT.has(sid)) return 0;
  const last = Number(sid.slice(sid.lastIndexOf("-") + 1));
  return sid.startsWith("5-") && last < 2 ** 31 - ACCOUNTS ? ACCOUNTS + last : NOBODY;
}

interface Entry {
  readonly isDenied: boolean;
  readonly mask: number;
  readonly sid: string;
}

function entriesOf(descriptor: Buffer, at: number): Entry[] | undefined {
  if (at + ACL_HEADER > descriptor.length) return undefined;
  const end = at + descriptor.readUInt16LE(at + 2);
  if (end > descriptor.length) return undefined;
  const entries: Entry[] = [];
  let left = descriptor.readUInt16LE(at + 4);
  for (let ace = at + ACL_HEADER; left > 0; left--) {
    if (ace + ACE_SID > end) return undefined;
    const type = descriptor[ace] as number;
    const size = descriptor.readUInt16LE(ace + 2);
    if (size < ACE_SID || ace + size > end) return undefined;
    const isForInheritance = ((descriptor[ace + 1] as number) & INHERIT_ONLY) !== 0;
    if (type <= AceType.DENIED && !isForInheritance) {
      const sid = sidAt(descriptor, ace + ACE_SID);
      if (sid === undefined) return undefined;
      entries.push({ isDenied: type === AceType.DENIED, mask: descriptor.readUInt32LE(ace + ACE_MASK), sid });
    }
    ace += size;
  }
  return entries;
}

/** Three bits, as one of whom the entries for some hold: of what one grants and another denies, the first has its say. */
function granted(entries: readonly Entry[], isMeant: (sid: string) => boolean): number {
  let decided = 0;
  let allowed = 0;
  for (const { isDenied, mask, sid } of entries) {
    if (!isMeant(sid)) continue;
    const bits =
      ((mask & READ) !== 0 ? 4 : 0) | ((mask & WRITE) !== 0 ? 2 : 0) | ((mask & EXECUTE) !== 0 ? 1 : 0);
    if (!isDenied) allowed |= bits & ~decided;
    decided |= bits;
  }
  return allowed;
}

/** A SID without its "S-1-"; undefined: there is none. */
function sidAt(buffer: Buffer, at: number): string | undefined {
  if (at === 0 || at + SID_HEADER > buffer.length || buffer[at] !== 1) return undefined;
  const count = buffer[at + 1] as number;
  if (count === 0 || count > MOST_NUMBERS || at + SID_HEADER + count * 4 > buffer.length) return undefined;
  const numbers = [buffer.readUIntBE(at + 2, 6)];
  for (let n = 0; n < count; n++) numbers.push(buffer.readUInt32LE(at + SID_HEADER + n * 4));
  return numbers.join("-");
}
