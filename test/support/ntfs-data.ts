/** Attributes of NTFS as Windows writes them, and changes to records that no driver makes. */
import { execFileSync } from "node:child_process";
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";

const script = join(import.meta.dirname, "set_attributes.py");

/** Sets extended attributes: path, name, value. */
export function setAttributes(
  values: ReadonlyArray<readonly [path: string, name: string, value: Buffer]>,
): void {
  const input = values.map(([path, name, value]) => `${path}\t${name}\t${value.toString("hex")}\n`).join("");
  execFileSync("python3", [script], { input });
}

/** REPARSE_DATA_BUFFER */
export function reparsePoint(tag: number, data: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(tag);
  header.writeUInt16LE(data.length, 4);
  return Buffer.concat([header, data]);
}

export function junction(target: string): Buffer {
  return reparsePoint(0xa0000003, twoNames(target));
}

export function symbolicLink(target: string, isRelative: boolean): Buffer {
  const names = twoNames(target);
  const flags = Buffer.alloc(4);
  flags.writeUInt32LE(isRelative ? 1 : 0);
  return reparsePoint(0xa000000c, Buffer.concat([names.subarray(0, 8), flags, names.subarray(8)]));
}

/** SubstituteName, and another text as PrintName, each with a NUL that is not counted. */
function twoNames(target: string): Buffer {
  const substitute = Buffer.from(target, "utf16le");
  const print = Buffer.from("for people", "utf16le");
  const header = Buffer.alloc(8);
  [0, substitute.length, substitute.length + 2, print.length].forEach((value, n) => {
    header.writeUInt16LE(value, n * 2);
  });
  return Buffer.concat([header, substitute, Buffer.alloc(2), print, Buffer.alloc(2)]);
}

/** A link of WSL's. */
export function linuxLink(target: string): Buffer {
  return reparsePoint(0xa000001d, Buffer.concat([Buffer.from([2, 0, 0, 0]), Buffer.from(target)]));
}

/** A file that Windows keeps compressed: `algorithm` is FILE_PROVIDER_COMPRESSION_... */
export function wofPoint(algorithm: number): Buffer {
  const data = Buffer.alloc(16);
  [1, 2, 1, algorithm].forEach((value, n) => {
    data.writeUInt32LE(value, n * 4);
  });
  return reparsePoint(0x80000017, data);
}

/** FILE_FULL_EA_INFORMATION, as on the disk: the last one, too, says where it ends. */
export function extendedAttributes(values: Readonly<Record<string, Buffer>>): Buffer {
  const parts = Object.entries(values).map(([name, value]) => {
    const length = 8 + name.length + 1 + value.length;
    const part = Buffer.alloc((length + 3) & ~3);
    part.writeUInt32LE(part.length);
    part[5] = name.length;
    part.writeUInt16LE(value.length, 6);
    part.write(name, 8, "latin1");
    value.copy(part, 8 + name.length + 1);
    return part;
  });
  return Buffer.concat(parts);
}

/** Little-endian numbers of 32 bits. */
export function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, n) => {
    bytes.writeUInt32LE(value, n * 4);
  });
  return bytes;
}

/** A SID by its text. */
export function sid(text: string): Buffer {
  const [authority, ...numbers] = text.split("-").slice(2).map(Number);
  const head = Buffer.alloc(8);
  head[0] = 1;
  head[1] = numbers.length;
  head.writeUIntBE(authority!, 2, 6);
  return Buffer.concat([head, words(...numbers)]);
}

export interface Ace {
  readonly type: number;
  readonly flags?: number;
  readonly mask: number;
  readonly who: string;
}

/** A self-relative security descriptor; without entries one that has no list. */
export function descriptor(owner: string, group: string, entries: readonly Ace[] | undefined): Buffer {
  const aces = (entries ?? []).map(({ type, flags = 0, mask, who }) => {
    const whose = sid(who);
    const head = Buffer.alloc(8);
    head[0] = type;
    head[1] = flags;
    head.writeUInt16LE(8 + whose.length, 2);
    head.writeUInt32LE(mask, 4);
    return Buffer.concat([head, whose]);
  });
  const length = aces.reduce((sum, ace) => sum + ace.length, 8);
  const acl = Buffer.alloc(8);
  acl[0] = 2;
  acl.writeUInt16LE(length, 2);
  acl.writeUInt16LE(aces.length, 4);
  const head = Buffer.alloc(20);
  head[0] = 1;
  head.writeUInt16LE(entries === undefined ? 0x8000 : 0x8004, 2);
  const [ownerSid, groupSid] = [sid(owner), sid(group)];
  const list = entries === undefined ? Buffer.alloc(0) : Buffer.concat([acl, ...aces]);
  head.writeUInt32LE(20 + list.length, 4);
  head.writeUInt32LE(20 + list.length + ownerSid.length, 8);
  head.writeUInt32LE(entries === undefined ? 0 : 20, 16);
  return Buffer.concat([head, list, ownerSid, groupSid]);
}

/** Changes a record of a volume whose MFT begins with one long run; its fix-ups are made right again. */
export function changeRecord(image: string, number: number, change: (record: Buffer) => void): void {
  changeBytes(image, (read, write) => {
    const boot = read(0, 512);
    const cluster = boot.readUInt16LE(11) * boot[13]!;
    const size = boot[0x40]! < 128 ? boot[0x40]! * cluster : 2 ** (256 - boot[0x40]!);
    const at = Number(boot.readBigUInt64LE(0x30)) * cluster + number * size;
    const record = read(at, size);
    const [array, count] = [record.readUInt16LE(4), record.readUInt16LE(6)];
    for (let n = 1; n < count; n++) record.copy(record, n * 512 - 2, array + n * 2, array + n * 2 + 2);
    change(record);
    for (let n = 1; n < count; n++) {
      record.copy(record, array + n * 2, n * 512 - 2, n * 512);
      record.copy(record, n * 512 - 2, array, array + 2);
    }
    write(at, record);
  });
}

type Change = (
  read: (at: number, length: number) => Buffer,
  write: (at: number, bytes: Buffer) => void,
) => void;

/** Changes bytes of an image in place. */
export function changeBytes(image: string, change: Change): void {
  const file = openSync(image, "r+");
  try {
    change(
      (at, length) => {
        const bytes = Buffer.alloc(length);
        readSync(file, bytes, 0, length, at);
        return bytes;
      },
      (at, bytes) => writeSync(file, bytes, 0, bytes.length, at),
    );
  } finally {
    closeSync(file);
  }
}

/** Where the first attribute of a type, without a name, begins in a record. */
export function attributeAt(record: Buffer, type: number): number {
  for (
    let at = record.readUInt16LE(20);
    record.readUInt32LE(at) !== 0xffffffff;
    at += record.readUInt32LE(at + 4)
  )
    if (record.readUInt32LE(at) === type && record[at + 9] === 0) return at;
  throw new Error(`no attribute 0x${type.toString(16)}`);
}
