/** Bytes that other programs have compressed: wimlib with XPRESS and LZX, ntfs-3g with LZNT1. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { endWithTests, onEnd, run, unmountNow } from "./images-mount.js";

/** How long after it was unmounted a volume's driver may run, ms: it writes what it has kept. */
const STAYS_MOUNTED = 20_000;
const WIM_HEADER = 208;
const BLOB_TABLE = 48;
const BLOB_ENTRY = 50;
const COMPRESSED = 0x04;

/** Files' contents by name: text, machine code, zeros, noise, and sizes about those of chunks. */
export function inputs(): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  const text = readFileSync("/usr/share/common-licenses/GPL-3");
  const program = readFileSync(process.execPath).subarray(30 << 20, (30 << 20) + (2 << 20));
  const noise = Buffer.alloc(150_000);
  let state = 1;
  for (let index = 0; index < noise.length; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    noise[index] = state >>> 24;
  }
  files.set("text", Buffer.concat([text, text, text]));
  files.set("program", program);
  files.set("shell", readFileSync("/bin/bash"));
  files.set("zeros", Buffer.alloc(300_000));
  files.set("noise", noise);
  files.set("calls", calls());
  files.set("mixed", Buffer.concat([noise.subarray(0, 20_000), Buffer.alloc(70_000), text, noise]));
  files.set("runs", Buffer.concat(Array.from({ length: 300 }, (_, n) => Buffer.alloc((n * n) % 997, n))));
  for (const size of [2, 11, 4095, 4096, 4097, 8192, 8193, 16_385, 32_767, 32_768, 32_769, 65_536, 65_537]) {
    files.set(`size-${size}`, program.subarray(size, 2 * size));
    files.set(`text-${size}`, Buffer.concat([text, text]).subarray(size % 1000, (size % 1000) + size));
  }
  return files;
}

/** Bytes that look like many x86 calls with near and far targets, also at the very end of chunks. */
function calls(): Buffer {
  const bytes = Buffer.alloc(100_000, 0x90);
  const targets = [
    0, 1, -1, 1000, -1000, 40_000, 11_999_999, 12_000_000, -12_000_000, 0x7fffffff, -0x80000000,
  ];
  for (let at = 0, index = 0; at + 5 <= bytes.length; index++) {
    bytes[at] = 0xe8;
    bytes.writeInt32LE(targets[index % targets.length]!, at + 1);
    at += index % 7 === 0 ? 3 : 5 + (index % 5);
  }
  return bytes;
}

/** A compressed resource of a WIM, which has the form of a WofCompressedData stream. */
export interface Resource {
  name: string;
  contents: Buffer;
  stream: Buffer;
}

/** Has wimlib-imagex compress files; those that it did not compress are left out. */
export async function wimResources(
  folder: string,
  files: Map<string, Buffer>,
  compress: "XPRESS" | "LZX",
  chunk: string,
): Promise<Resource[]> {
  const from = join(folder, `in-${compress}-${chunk}`);
  mkdirSync(from);
  const names = new Map<string, string>();
  for (const [name, contents] of files) {
    writeFileSync(join(from, name), contents);
    names.set(createHash("sha1").update(contents).digest("hex"), name);
  }
  const wim = join(folder, `${compress}-${chunk}.wim`);
  await run("wimlib-imagex", ["capture", from, wim, `--compress=${compress}`, `--chunk-size=${chunk}`]);
  const bytes = readFileSync(wim);
  const table = resourceAt(bytes, BLOB_TABLE);
  if (bytes.length < WIM_HEADER || table.flags & COMPRESSED) throw new Error(`${wim}: not as expected`);
  const found: Resource[] = [];
  for (let at = table.offset; at < table.offset + table.size; at += BLOB_ENTRY) {
    const resource = resourceAt(bytes, at);
    const name = names.get(bytes.toString("hex", at + 30, at + 50));
    if (name === undefined || !(resource.flags & COMPRESSED)) continue;
    const stream = bytes.subarray(resource.offset, resource.offset + resource.size);
    found.push({ name, contents: files.get(name)!, stream });
  }
  return found;
}

function resourceAt(bytes: Buffer, at: number): { size: number; flags: number; offset: number } {
  return {
    size: bytes.readUIntLE(at, 6),
    flags: bytes[at + 7]!,
    offset: Number(bytes.readBigUInt64LE(at + 8)),
  };
}

/** An NTFS volume in a file. */
export async function makeNtfs(image: string, mebibytes = 128): Promise<void> {
  writeFileSync(image, "");
  truncateSync(image, mebibytes << 20);
  await run("mkntfs", ["-q", "-F", "-c", "4096", image]);
}

/**
 * Mounts an NTFS volume by ntfs-3g; the function returned unmounts it and waits until ntfs-3g has ended, and so written
 * everything.
 */
export async function mountNtfs(
  image: string,
  folder: string,
  options: string,
  program: "ntfs-3g" | "lowntfs-3g" = "ntfs-3g",
): Promise<() => Promise<void>> {
  mkdirSync(folder, { recursive: true });
  const device = statSync(folder).dev;
  const driver = spawn(program, ["-o", `no_detach,${options}`, image, folder], { stdio: "pipe" });
  const ended = once(driver, "exit");
  endWithTests(driver);
  while (statSync(folder).dev === device) {
    if (driver.exitCode !== null) throw new Error(`ntfs-3g: ${driver.stderr.read()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const unmount = onEnd(() => unmountNow(folder));
  return async () => {
    unmount();
    // In a mount namespace that somebody else has begun meanwhile it is still mounted: then nobody tells the driver to end.
    const reminder = setTimeout(() => driver.kill("SIGTERM"), STAYS_MOUNTED);
    await ended;
    clearTimeout(reminder);
  };
}

/** A compressed unit of a file: 16 clusters, of which fewer are in use. */
export interface Unit {
  name: string;
  contents: Buffer;
  compressed: Buffer;
}

/** Has ntfs-3g compress files in a directory whose files are compressed. */
export async function ntfsUnits(folder: string, files: Map<string, Buffer>): Promise<Unit[]> {
  const image = join(folder, "compressed.img");
  const mounted = join(folder, "mounted");
  await makeNtfs(image);
  const unmount = await mountNtfs(image, mounted, "compression");
  const records = new Map<string, number>();
  try {
    const directory = join(mounted, "compressed");
    mkdirSync(directory);
    await run("setfattr", ["-h", "-v", "0x00000800", "-n", "system.ntfs_attrib_be", directory]);
    for (const [name, contents] of files) writeFileSync(join(directory, name), contents);
    for (const line of (await run("ls", ["-i", directory])).trim().split("\n")) {
      const [record, name] = line.trim().split(" ");
      records.set(name!, Number(record));
    }
  } finally {
    await unmount();
  }
  const file = openSync(image, "r");
  try {
    const units: Unit[] = [];
    for (const [name, contents] of files) {
      for (const { unit, runs } of await unitsOf(image, records.get(name)!)) {
        const compressed = Buffer.concat(
          runs.map(([lcn, clusters]) => {
            const bytes = Buffer.alloc(clusters * CLUSTER);
            readSync(file, bytes, 0, bytes.length, lcn * CLUSTER);
            return bytes;
          }),
        );
        units.push({ name, contents: contents.subarray(unit * UNIT, (unit + 1) * UNIT), compressed });
      }
    }
    return units;
  } finally {
    closeSync(file);
  }
}

const CLUSTER = 4096;
const UNIT_CLUSTERS = 16;
const UNIT = UNIT_CLUSTERS * CLUSTER;

/** The units of a file that are compressed, by what ntfsinfo says of its runs. */
async function unitsOf(
  image: string,
  record: number,
): Promise<{ unit: number; runs: Array<[lcn: number, clusters: number]> }[]> {
  const text = await run("ntfsinfo", ["-f", "-v", "-i", String(record), image]);
  const data = text.slice(text.indexOf("Dumping attribute $DATA"));
  const clusters: number[] = [];
  for (const [, vcn, lcn, length] of data.matchAll(/^\s+0x([0-9a-f]+)\s+(\S+)\s+0x([0-9a-f]+)$/gm)) {
    for (let index = 0; index < Number.parseInt(length!, 16); index++) {
      clusters[Number.parseInt(vcn!, 16) + index] = lcn === "<HOLE>" ? -1 : Number(lcn) + index;
    }
  }
  const units = [];
  for (let unit = 0; unit * UNIT_CLUSTERS < clusters.length; unit++) {
    const own = clusters.slice(unit * UNIT_CLUSTERS, (unit + 1) * UNIT_CLUSTERS);
    const used = own.filter((lcn) => lcn >= 0);
    if (used.length > 0 && used.length < own.length) {
      units.push({ unit, runs: used.map((lcn): [number, number] => [lcn, 1]) });
    }
  }
  return units;
}
