/**
 * A package in rpm's database: its header without the magic. Two numbers (entries, bytes of data), the entries (tag, type,
 * offset, count), and the data, all big-endian.
 */
import type { Package } from "./package.js";

const INTRODUCTION = 8;
const ENTRY = 16;
const Tag = { NAME: 1000, VERSION: 1001, RELEASE: 1002, EPOCH: 1003, ARCH: 1022 } as const;
const Type = { INT32: 4, STRING: 6 } as const;

/** Undefined if it is no header, or one without a name and a version. */
export function rpmPackage(header: Buffer): Package | undefined {
  if (header.length < INTRODUCTION) return undefined;
  const [entries, length] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const data = INTRODUCTION + entries * ENTRY;
  if (data + length > header.length) return undefined;
  const texts = new Map<number, string>();
  let epoch = "";
  for (let entry = INTRODUCTION; entry < data; entry += ENTRY) {
    const [tag, type, offset] = [
      header.readUInt32BE(entry),
      header.readUInt32BE(entry + 4),
      header.readUInt32BE(entry + 8),
    ];
    if (offset >= length) continue;
    const at = data + offset;
    if (type === Type.STRING && tag >= Tag.NAME && tag <= Tag.ARCH) {
      const end = header.indexOf(0, at);
      if (end >= 0) texts.set(tag, header.toString("utf8", at, end));
    } else if (type === Type.INT32 && tag === Tag.EPOCH && offset + 4 <= length) {
      epoch = `${header.readUInt32BE(at)}:`;
    }
  }
  const [name, version] = [texts.get(Tag.NAME), texts.get(Tag.VERSION)];
  if (!name || !version) return undefined;
  const release = texts.get(Tag.RELEASE);
  return {
    name,
    version: `${epoch === "0:" ? "" : epoch}${version}${release ? `-${release}` : ""}`,
    architecture: texts.get(Tag.ARCH) ?? "",
  };
}
