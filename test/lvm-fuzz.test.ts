import { readFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import type { Source } from "../src/images/image.js";
import { findLogicalVolumes, findVolumes, type Volume } from "../src/volumes/volumes.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { asPart, LvmDisks, withVolume } from "./support/lvm.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const MUTATIONS = 4_000;
const KIB = 1024;
const SECTOR = 512;
const LABEL = SECTOR;
const AREA = 4096;
const NUMBERS = [
  "0",
  "-1",
  "1",
  "4294967295",
  "9007199254740991",
  "18446744073709551615",
  "1e308",
  "3.5",
  '""',
];

afterAll(cleanUp);

/** A disk in memory that counts what is read from it. */
class Memory implements Source {
  reads = 0;
  bytesRead = 0;
  readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  get size(): number {
    return this.bytes.length;
  }

  read(target: Buffer, targetOffset: number, length: number, position: number): number {
    this.reads++;
    if (!(position < this.size)) return 0;
    const count = this.bytes.copy(target, targetOffset, position, Math.min(position + length, this.size));
    this.bytesRead += count;
    return count;
  }
}

let disks: Buffer[];
let text: string;

beforeAll(async () => {
  const folder = workFolder("lvm-fuzz");
  const images = [0, 1].map((n) => join(folder, `${n}.img`));
  for (const image of images) await run("truncate", ["-s", "4M", image]);
  const made = await LvmDisks.open(folder, images);
  const [first, second] = made.devices as [string, string];
  await made.lvm("pvcreate", "--dataalignment", "64k", "--metadatasize", "32k", first, second);
  await made.lvm("vgcreate", "-s", "64k", "vg", first, second);
  await made.create("vg", "linear", "256k", first);
  await made.create("vg", "striped", "256k", "-i", "2", "-I", "16k");
  for (const name of ["leg0", "meta0"]) await made.create("vg", name, "128k", first);
  for (const name of ["leg1", "meta1"]) await made.create("vg", name, "128k", second);
  await made.lvm("lvextend", "-L", "512k", "vg/linear", second);
  await made.edit("vg", (whole) => {
    let edited = whole;
    for (const leg of [0, 1]) {
      edited = asPart(edited, `leg${leg}`, `both_rimage_${leg}`);
      edited = asPart(edited, `meta${leg}`, `both_rmeta_${leg}`);
    }
    return withVolume(
      edited,
      "both",
      ', "VISIBLE"',
      2,
      `type = "raid1"\ndevice_count = 2\nregion_size = 64
       raids = ["both_rmeta_0", "both_rimage_0", "both_rmeta_1", "both_rimage_1"]`,
    );
  });
  made.close();
  disks = images.map((image) => readFileSync(image));
  const header = disks[0]!.subarray(AREA, AREA + SECTOR);
  const start = AREA + Number(header.readBigUInt64LE(40));
  text = disks[0]!.toString("utf8", start, start + Number(header.readBigUInt64LE(48)) - 1);
});

/** LVM's checksum, by zlib's. */
function checksum(bytes: Buffer): number {
  return ~crc32(bytes, ~0xf597a6cf >>> 0) >>> 0;
}

/** Makes the checksums right again, so that what they guard is reached. */
function seal(disk: Buffer): void {
  disk.writeUInt32LE(checksum(disk.subarray(LABEL + 20, LABEL + SECTOR)), LABEL + 16);
  const header = disk.subarray(AREA, AREA + SECTOR);
  const start = AREA + Number(header.readBigUInt64LE(40) & 0xffffffffn);
  const size = Number(header.readBigUInt64LE(48) & 0xffffffffn);
  if (start + size <= disk.length) header.writeUInt32LE(checksum(disk.subarray(start, start + size)), 56);
  header.writeUInt32LE(checksum(header.subarray(4)), 0);
}

/** A disk with another text. */
function withText(disk: Buffer, other: string): Buffer {
  const copy = Buffer.from(disk);
  const bytes = Buffer.from(`${other}\0`);
  bytes.copy(copy, AREA + SECTOR);
  copy.writeBigUInt64LE(BigInt(SECTOR), AREA + 40);
  copy.writeBigUInt64LE(BigInt(bytes.length), AREA + 48);
  seal(copy);
  return copy;
}

/** What is found, in bounded time and with bounded reads; each volume found is read. */
function volumesOn(images: readonly Buffer[]): { volumes: Volume[]; log: string[] } {
  const sources = images.map((bytes) => new Memory(bytes));
  const log: string[] = [];
  const tables = sources.map((source, n) => findVolumes(source, `sd${"ab"[n]}`, () => {}));
  const began = performance.now();
  const volumes = findLogicalVolumes(tables, (line) => {
    log.push(line);
    expect(line).not.toContain("\n");
  });
  const target = Buffer.alloc(64 * KIB);
  for (const { source, length, name } of volumes) {
    expect(name).toMatch(/^[\w.+-]{1,127}$/);
    expect(source.size).toBe(length);
    for (const position of [0, Math.floor(length / 2), length - 1, length, length + 1, 2 ** 52])
      expect(source.read(target, 0, target.length, position)).toBeLessThanOrEqual(target.length);
  }
  expect(performance.now() - began).toBeLessThan(2000);
  const reads = sources.reduce((sum, source) => sum + source.reads, 0);
  expect(reads).toBeLessThan(100 + 2000 * volumes.length);
  expect(sources.reduce((sum, { bytesRead }) => sum + bytesRead, 0)).toBeLessThan(64 * KIB * KIB);
  expect(new Set(volumes.map(({ name }) => name)).size).toBe(volumes.length);
  return { volumes, log };
}

/** The volumes that a text describes, on the real disks: the second disk has no text. */
function volumesIn(other: string): { volumes: Volume[]; log: string[] } {
  const [first, second] = disks.map((disk) => withText(disk, other)) as [Buffer, Buffer];
  return volumesOn([first, second]);
}

function problemOf(volumes: readonly Volume[], name: string): string | undefined {
  return volumes.find((volume) => volume.name === name)?.unreadable;
}

it("what LVM's tools wrote is read", () => {
  const { volumes, log } = volumesOn(disks);
  expect(log).toEqual([]);
  expect(volumes.map(({ name, length }) => [name, length])).toEqual([
    ["vg-linear", 512 * KIB],
    ["vg-striped", 256 * KIB],
    ["vg-both", 128 * KIB],
  ]);
});

it("damaged labels, headers and texts are read in bounded time, without an exception", () => {
  let state = 1;
  const random = (limit: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const start = AREA + SECTOR;
  const [whole, other] = disks.map((disk) => withText(disk, text)) as [Buffer, Buffer];
  const places: [number, number][] = [
    [LABEL, 160],
    [AREA, 72],
    [start, text.length],
    [start, text.length],
  ];
  const copies = new Map<number, number>();
  const numbers = [...text.matchAll(/= (\d+)|, (\d+)\n/g)];
  for (let mutation = 0; mutation < MUTATIONS; mutation++) {
    let disk: Buffer = Buffer.from(whole);
    if (mutation % 3 === 0) {
      let edited = text;
      for (let change = random(3); change >= 0; change--) {
        const { index, 0: found } = numbers[random(numbers.length)]!;
        const value = NUMBERS[random(NUMBERS.length)]!;
        edited = edited.slice(0, index) + found.replace(/\d+/, value) + edited.slice(index + found.length);
      }
      disk = withText(whole, edited);
    } else {
      for (let change = random(4); change >= 0; change--) {
        const [at, length] = places[random(places.length)]!;
        disk[at + random(length)] = random(2) === 0 ? random(256) : '{}[]",= #0\\'.charCodeAt(random(11));
      }
      if (random(8) > 0) seal(disk);
    }
    const { volumes } = volumesOn(mutation % 2 === 0 ? [disk] : [disk, other]);
    copies.set(volumes.length, (copies.get(volumes.length) ?? 0) + 1);
  }
  // Some mutants are as good as before, some are beyond reading.
  expect(copies.get(3)).toBeGreaterThan(MUTATIONS / 10);
  expect(copies.get(0)).toBeGreaterThan(MUTATIONS / 100);
});

it("volumes that lie on each other in a circle, outside of their disks, or on one another are told apart", () => {
  const circle = text
    .replace(/"both_rmeta_1",\s*"both_rimage_1"/, '"x", "both"')
    .replace(/"both_rimage_0"/, '"both"');
  expect(problemOf(volumesIn(circle).volumes, "vg-both")).toBe("its parts refer to each other");

  const outside = text.replace(/("pv0", )0/, "$161");
  expect(problemOf(volumesIn(outside).volumes, "vg-linear")).toBe(
    "a segment reaches past the end of its physical volume",
  );

  const huge = text.replace(/extent_size = \d+/, "extent_size = 9007199254740991");
  expect(problemOf(volumesIn(huge).volumes, "vg-linear")).toBe("its segments do not follow each other");

  // Two volumes on the same extents: both are what the text says.
  const overlapping = text.replace(/("pv0", )\d+(,\s*"pv1", )\d+/, "$10$20");
  const { volumes } = volumesIn(overlapping);
  expect(problemOf(volumes, "vg-striped")).toBeUndefined();
  const [linear, striped] = ["vg-linear", "vg-striped"].map((name) => {
    const first = Buffer.alloc(16 * KIB);
    volumes.find((volume) => volume.name === name)?.source.read(first, 0, first.length, 0);
    return first;
  });
  expect(striped?.equals(linear as Buffer)).toBe(true);
});

it("a text that goes too deep, never ends or has endless names is refused, with a line", () => {
  for (const other of [
    `vg {${"a {".repeat(10_000)}`,
    `vg { id = "${"x".repeat(50_000)}`,
    `vg { id = [${"1,".repeat(20_000)}`,
    "#".repeat(50_000),
    `vg { id = "a\\`,
    "}",
  ]) {
    const { volumes, log } = volumesIn(other);
    expect(volumes).toEqual([]);
    if (!other.startsWith("#")) expect(log[0]).toMatch(/^sda: the copy of LVM's metadata at byte 4096 /);
  }
});

it("names that are no names are not shown", () => {
  for (const name of ["..", "a/b", "-a", "x".repeat(200), "a b"]) {
    const { volumes } = volumesIn(text.replace("\nlinear {", `\n"${name}" {`));
    expect(volumes.map((volume) => volume.name)).toEqual(["vg-striped", "vg-both"]);
  }
});
