/** Extended attributes of OS/2 ($EA), in which WSL keeps what Windows has no place for. */
import { AttributeType } from "./attribute.js";
import type { Inode } from "./inode.js";
import type { MasterFileTable } from "./mft.js";
import { Stream } from "./stream.js";

/** FILE_FULL_EA_INFORMATION: the offset of the next one, flags, bytes of the name, bytes of the value, the name. */
const NAME_LENGTH = 5;
const VALUE_LENGTH = 6;
const NAME = 8;
/** Windows has at most 64 KiB. */
const LONGEST = 65536;

/** What WSL says of a file; undefined: nothing. */
export interface LinuxAttributes {
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  /** With the type. */
  readonly mode: number | undefined;
  readonly major: number;
  readonly minor: number;
}

/** The bytes of all of them; undefined: there are none. Throws IoError. */
export function readExtendedAttributes(mft: MasterFileTable, inode: Inode): Buffer | undefined {
  const index = inode.find(AttributeType.EA);
  if (index < 0) return undefined;
  const stream = new Stream(mft, inode, index);
  const value = Buffer.alloc(Math.min(stream.size, LONGEST));
  stream.read(0, value.length, value, 0);
  return value;
}

/** Names and values, as far as they make sense. */
export function* eachExtendedAttribute(value: Buffer): Generator<{ name: string; value: Buffer }> {
  for (let at = 0; at + NAME < value.length; ) {
    const nameEnd = at + NAME + (value[at + NAME_LENGTH] as number);
    const end = nameEnd + 1 + value.readUInt16LE(at + VALUE_LENGTH);
    if (end > value.length) return;
    yield { name: value.toString("latin1", at + NAME, nameEnd), value: value.subarray(nameEnd + 1, end) };
    const next = value.readUInt32LE(at);
    if (next < NAME || at + next <= at) return;
    at += next;
  }
}

/** $LXUID, $LXGID, $LXMOD and $LXDEV. Undefined: it has none of them. */
export function linuxAttributes(mft: MasterFileTable, inode: Inode): LinuxAttributes | undefined {
  const all = readExtendedAttributes(mft, inode);
  if (all === undefined) return undefined;
  const numbers = new Map<string, Buffer>();
  for (const { name, value } of eachExtendedAttribute(all)) if (value.length >= 4) numbers.set(name, value);
  const number = (name: string, at = 0) => {
    const value = numbers.get(name);
    return value === undefined || value.length < at + 4 ? undefined : value.readUInt32LE(at);
  };
  const uid = number("$LXUID");
  const gid = number("$LXGID");
  const mode = number("$LXMOD");
  const major = number("$LXDEV");
  if (uid === undefined && gid === undefined && mode === undefined && major === undefined) return undefined;
  return { uid, gid, mode, major: major ?? 0, minor: number("$LXDEV", 4) ?? 0 };
}
