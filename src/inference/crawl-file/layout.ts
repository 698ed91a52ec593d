/**
 * The documents of a crawl's file that there are millions of: each has its fields at fixed places, so that they are
 * written and read there, without a library's work for each. They are BSON as any other (bsonspec.org, version 1.1).
 */
import { Binary, Double, Int32, Long, serialize } from "bson";

/** Changes with what the documents mean. */
export const FORMAT_VERSION = 1;
/** The header's `format`. */
export const FORMAT_NAME = "slashcloud-crawl";

/** Bytes that no document is longer than. */
export const LONGEST_DOCUMENT = 1 << 20;
/** Extents of one document. */
export const MOST_EXTENTS = 256;
/** Extended attributes of an inode that are told, and bytes of a value that is. */
export const MOST_ATTRIBUTES = 256;
export const LONGEST_VALUE = 1024;

/** Types of BSON's elements. */
export const Element = {
  DOUBLE: 0x01,
  STRING: 0x02,
  DOCUMENT: 0x03,
  ARRAY: 0x04,
  BINARY: 0x05,
  BOOLEAN: 0x08,
  INT32: 0x10,
  INT64: 0x12,
} as const;

/** An extent's `flags`: allocated, but never written, so that it reads as zeros. */
export const UNWRITTEN = 1;

/** A document that begins with fields of fixed length. */
export interface Layout<Name extends string> {
  /** The document with zeros for values, and its end. */
  readonly bytes: Buffer;
  /** Where each value begins. */
  readonly at: Readonly<Record<Name, number>>;
  /** Where the last of these fields ends: others may follow. */
  readonly end: number;
  /** The bytes up to there that are the same in all such documents, by their places. */
  readonly fixed: Uint16Array;
}

type Values = Readonly<Record<string, "int32" | "int64" | "boolean">>;

const BYTES = { int32: 4, int64: 8, boolean: 1 } as const;
const NOTHINGS = { int32: new Int32(0), int64: Long.ZERO, boolean: false } as const;

/** `type` comes first; the values' names and types follow. */
function layout<V extends Values>(type: string | undefined, values: V): Layout<keyof V & string> {
  const fields = new Map<string, unknown>(type === undefined ? [] : [["type", type]]);
  let end = 4 + (type === undefined ? 0 : 1 + 5 + 4 + type.length + 1);
  const at: Record<string, number> = {};
  const variable = new Set([0, 1, 2, 3]);
  for (const [name, kind] of Object.entries(values)) {
    fields.set(name, NOTHINGS[kind]);
    end += 1 + name.length + 1;
    at[name] = end;
    for (let byte = 0; byte < BYTES[kind]; byte++) variable.add(end + byte);
    end += BYTES[kind];
  }
  const bytes = Buffer.from(serialize(fields));
  if (bytes.length !== end + 1) throw new Error(`${type}: ${bytes.length} bytes, not ${end + 1}`);
  const fixed = Uint16Array.from(Array(end).keys()).filter((position) => !variable.has(position));
  return { bytes, at: at as Record<keyof V & string, number>, end, fixed };
}

export const INODE = layout("inode", {
  volume: "int32",
  ino: "int64",
  generation: "int64",
  mode: "int32",
  nlink: "int32",
  uid: "int64",
  gid: "int64",
  size: "int64",
  blocks: "int64",
  flags: "int64",
  layoutFlags: "int64",
  major: "int32",
  minor: "int32",
  hasAttributes: "boolean",
  atime: "int64",
  atimeNsec: "int32",
  mtime: "int64",
  mtimeNsec: "int32",
  ctime: "int64",
  ctimeNsec: "int32",
  btime: "int64",
  btimeNsec: "int32",
});

/** `name`, binary, follows. */
export const NAME = layout("name", { volume: "int32", directory: "int64", ino: "int64" });

/** `extents`, an array, follows. */
export const EXTENTS = layout("extents", { volume: "int32", ino: "int64" });

/** An element of `extents`. */
export const EXTENT = layout(undefined, {
  logical: "int64",
  physical: "int64",
  count: "int64",
  flags: "int32",
});

/** The other documents' values, as BSON has them. */
export type Field = string | number | boolean | Date | Uint8Array | null | undefined | readonly Fields[];
export type Fields = { readonly [name: string]: Field };

/** A document of which there are few. Whole numbers are 64-bit integers, others doubles; undefined is left out. */
export function document(type: string, fields: Fields): Uint8Array {
  return serialize(new Map<string, unknown>([["type", type], ...entriesOf(fields)]));
}

function entriesOf(fields: Fields): [string, unknown][] {
  return Object.entries(fields).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, native(value)] as [string, unknown]],
  );
}

function native(value: Exclude<Field, undefined>): unknown {
  if (typeof value === "number") return Number.isInteger(value) ? Long.fromNumber(value) : new Double(value);
  if (value instanceof Uint8Array) return new Binary(value);
  if (Array.isArray(value)) return value.map((each: Fields) => new Map(entriesOf(each)));
  return value;
}
