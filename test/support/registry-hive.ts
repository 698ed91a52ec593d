/** Registry hives for tests: with each kind of list and data that Windows writes, and what hivex says of a hive. */
import { execFileSync } from "node:child_process";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { Hive, type Key } from "../../src/inspect/registry/hive.js";

/** A key with all that is below it. */
export interface KeyTree {
  name: string;
  values: { name: string; type: number; data: Buffer }[];
  keys: KeyTree[];
}

/** How subkeys are listed: "ri" is a list of lists of two subkeys each. */
export type ListKind = "li" | "lf" | "lh" | "ri";

const BASE_BLOCK = 4096;
const HBIN_HEADER = 32;
const SEGMENT = 16_344;
const NOWHERE = 0xffffffff;

/** A hive of its own making, in one bin. Keys of one parent have to be in the order of their names. */
export function buildHive(tree: KeyTree, lists: ListKind = "lh"): Buffer {
  const cells: Buffer[] = [];
  let end = HBIN_HEADER;
  const add = (content: Buffer): number => {
    const cell = Buffer.alloc(Math.ceil((4 + content.length) / 8) * 8);
    cell.writeInt32LE(-cell.length, 0);
    content.copy(cell, 4);
    cells.push(cell);
    end += cell.length;
    return end - cell.length;
  };
  const numbers = (values: readonly number[]): Buffer => {
    const bytes = Buffer.alloc(4 * values.length);
    values.forEach((value, index) => {
      bytes.writeUInt32LE(value, 4 * index);
    });
    return bytes;
  };
  const head = (kind: string, count: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.write(kind, "latin1");
    bytes.writeUInt16LE(count, 2);
    return bytes;
  };
  const addData = (data: Buffer): number => {
    if (data.length <= SEGMENT) return add(data);
    const segments: number[] = [];
    // Windows leaves four bytes after each, which hivex counts on.
    for (let at = 0; at < data.length; at += SEGMENT)
      segments.push(add(Buffer.concat([data.subarray(at, at + SEGMENT), Buffer.alloc(4)])));
    return add(
      Buffer.concat([head("db", segments.length), numbers([add(numbers(segments))]), Buffer.alloc(4)]),
    );
  };
  const addValue = ({ name, type, data }: KeyTree["values"][number]): number => {
    const [bytes, flags] = encoded(name);
    const cell = Buffer.alloc(20 + bytes.length);
    cell.write("vk", "latin1");
    cell.writeUInt16LE(bytes.length, 2);
    if (data.length <= 4) {
      cell.writeUInt32LE((0x80000000 | data.length) >>> 0, 4);
      data.copy(cell, 8);
    } else {
      cell.writeUInt32LE(data.length, 4);
      cell.writeUInt32LE(addData(data), 8);
    }
    cell.writeUInt32LE(type, 12);
    cell.writeUInt16LE(flags, 16);
    bytes.copy(cell, 20);
    return add(cell);
  };
  const addList = (keys: readonly { name: string; offset: number }[], kind: ListKind): number => {
    if (kind === "ri") {
      const parts: number[] = [];
      for (let at = 0; at < keys.length; at += 2) parts.push(addList(keys.slice(at, at + 2), "lh"));
      return add(Buffer.concat([head("ri", parts.length), numbers(parts)]));
    }
    const entries = keys.flatMap(({ name, offset }) => {
      if (kind === "li") return [offset];
      return [
        offset,
        kind === "lh"
          ? hashOf(name)
          : Buffer.from(name.slice(0, 4).padEnd(4, "\0"), "latin1").readUInt32LE(0),
      ];
    });
    return add(Buffer.concat([head(kind, keys.length), numbers(entries)]));
  };
  const descriptor = Buffer.from(
    "010004801400000020000000000000000000000001010000000000051200000001010000000000051200000000",
    "hex",
  );
  const security = Buffer.alloc(20 + descriptor.length);
  security.write("sk", "latin1");
  security.writeUInt32LE(HBIN_HEADER, 4);
  security.writeUInt32LE(HBIN_HEADER, 8);
  security.writeUInt32LE(1, 12);
  security.writeUInt32LE(descriptor.length, 16);
  descriptor.copy(security, 20);
  const sk = add(security);
  let keyCount = 0;
  const addKey = (key: KeyTree, parent: number): number => {
    keyCount++;
    const [name, isLatin] = encoded(key.name);
    const cell = Buffer.alloc(76 + name.length);
    cell.write("nk", "latin1");
    cell.writeUInt16LE((isLatin ? 0x20 : 0) | (parent === NOWHERE ? 0x0c : 0), 2);
    cell.writeUInt32LE(parent, 16);
    cell.writeUInt32LE(key.keys.length, 20);
    for (const at of [28, 32, 40, 48]) cell.writeUInt32LE(NOWHERE, at);
    cell.writeUInt32LE(key.values.length, 36);
    cell.writeUInt32LE(sk, 44);
    cell.writeUInt16LE(name.length, 72);
    name.copy(cell, 76);
    const offset = add(cell);
    const own = cells[cells.length - 1]!;
    if (key.values.length > 0) own.writeUInt32LE(add(numbers(key.values.map(addValue))), 4 + 40);
    if (key.keys.length > 0) {
      const below = key.keys.map((each) => ({ name: each.name, offset: addKey(each, offset) }));
      own.writeUInt32LE(addList(below, lists), 4 + 28);
    }
    return offset;
  };
  const root = addKey(tree, NOWHERE);
  security.writeUInt32LE(keyCount, 12);
  security.copy(cells[0]!, 4);

  const bin = Buffer.alloc(Math.ceil((end + 8) / 4096) * 4096);
  bin.write("hbin", "latin1");
  bin.writeUInt32LE(bin.length, 8);
  Buffer.concat(cells).copy(bin, HBIN_HEADER);
  bin.writeInt32LE(bin.length - end, end);
  const base = Buffer.alloc(BASE_BLOCK);
  base.write("regf", "latin1");
  [1, 1].forEach((value, index) => {
    base.writeUInt32LE(value, 4 + 4 * index);
  });
  [1, 5, 0, 1, root, bin.length, 1].forEach((value, index) => {
    base.writeUInt32LE(value, 20 + 4 * index);
  });
  let sum = 0;
  for (let at = 0; at < 508; at += 4) sum ^= base.readUInt32LE(at);
  base.writeUInt32LE(sum >>> 0, 508);
  return Buffer.concat([base, bin]);
}

/** A name's bytes, and 1 if they are one a character. */
function encoded(name: string): [Buffer, number] {
  const latin = Buffer.from(name, "latin1");
  return latin.toString("latin1") === name ? [latin, 1] : [Buffer.from(name, "utf16le"), 0];
}

function hashOf(name: string): number {
  let hash = 0;
  for (const letter of name.toUpperCase()) hash = (Math.imul(hash, 37) + letter.charCodeAt(0)) >>> 0;
  return hash;
}

/** A text as a value's data: in UTF-16, with a zero at its end. */
export function registryText(text: string): Buffer {
  return Buffer.from(`${text}\0`, "utf16le");
}

/** A key of texts (REG_SZ), numbers (REG_DWORD) and bytes (REG_BINARY). */
export function key(
  name: string,
  values: Readonly<Record<string, string | number | Buffer>>,
  ...keys: KeyTree[]
): KeyTree {
  const upper = ({ name }: { name: string }): string => name.toUpperCase();
  return {
    name,
    values: Object.entries(values).map(([valueName, value]) => {
      if (typeof value === "string") return { name: valueName, type: 1, data: registryText(value) };
      if (typeof value !== "number") return { name: valueName, type: 3, data: value };
      const data = Buffer.alloc(4);
      data.writeUInt32LE(value);
      return { name: valueName, type: 4, data };
    }),
    keys: keys.sort((a, b) => (upper(a) < upper(b) ? -1 : 1)),
  };
}

/** A chain of keys of which the last one has the keys given. */
export function below(path: string, last: (name: string) => KeyTree): KeyTree {
  const [name, ...rest] = path.split("\\");
  return rest.length === 0 ? last(name!) : key(name!, {}, below(rest.join("\\"), last));
}

/** A key's whole content as lines: keys by their paths, values with type and data. */
export function linesOf(hive: Hive): string[] {
  const lines: string[] = [];
  const take = (from: Key, path: string): void => {
    lines.push(path);
    for (const { name, type, data } of hive.values(from)) {
      lines.push(`${path}\t${name}\t${type}\t${data.toString("hex")}`);
    }
    for (const each of hive.subkeys(from)) take(each, `${path}\\${each.name}`);
  };
  take(hive.root, "");
  return lines.sort();
}

/** The same by hivex. */
export function linesByHivex(path: string): string[] {
  const text = execFileSync("/usr/bin/python3", [join(import.meta.dirname, "registry.py"), "tell", path], {
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  return (JSON.parse(text) as string[]).sort();
}

/** Has hivex put keys into a hive of a file: see registry.py. */
export function addByHivex(path: string, keys: object): void {
  execFileSync("/usr/bin/python3", [join(import.meta.dirname, "registry.py"), "add", path], {
    input: JSON.stringify(keys),
  });
}

/** Opens the hive of a file, and reads of it what `use` asks for. */
export function withHiveFile<T>(path: string, use: (hive: Hive) => T): T {
  const file = openSync(path, "r");
  try {
    return use(
      new Hive({
        size: fstatSync(file).size,
        read: (position, length) => {
          const bytes = Buffer.alloc(length);
          return bytes.subarray(0, readSync(file, bytes, 0, length, position));
        },
      }),
    );
  } finally {
    closeSync(file);
  }
}

/** A hive in memory. */
export function hiveOf(bytes: Buffer): Hive {
  return new Hive({
    size: bytes.length,
    read: (position, length) => bytes.subarray(position, position + length),
  });
}
