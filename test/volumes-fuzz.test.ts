import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { expect, it, vi } from "vitest";
import type { Source } from "../src/images/image.js";
import { findVolumes } from "../src/volumes/volumes.js";

vi.setConfig({ testTimeout: 120_000 });

const MUTATIONS = 10_000;
/** Values that number fields are wrong with. */
const VALUES = [0, 1, 2, 5, 0x0f, 0x7f, 0x80, 0x85, 0xee, 0xff];
const SECTOR = 512;
const GPT_HEADER = SECTOR;
const GPT_ENTRIES = 2 * SECTOR;

/** A disk in memory that counts what is read from it. */
class Memory implements Source {
  reads = 0;
  bytesRead = 0;
  bytes: Buffer;
  size: number;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.size = bytes.length;
  }

  read(target: Buffer, targetOffset: number, length: number, position: number): number {
    this.reads++;
    if (!(position < this.size)) return 0;
    const count = this.bytes.copy(target, targetOffset, position, Math.min(position + length, this.size));
    this.bytesRead += count;
    return count;
  }
}

function makeDisk(script: string): Buffer {
  const dir = mkdtempSync(join(tmpdir(), "slashcloud-fuzz-"));
  const path = join(dir, "disk.img");
  try {
    writeFileSync(path, "");
    truncateSync(path, 4 * 1024 * 1024);
    execFileSync("sfdisk", ["--quiet", path], { input: `${script}\n`, stdio: ["pipe", "ignore", "ignore"] });
    return readFileSync(path);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** Numbers from 0 up to `limit`, the same in each run. */
function randomNumbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

/** Makes the checksums right again, so that what they guard is reached. */
function seal(disk: Buffer): void {
  const header = disk.subarray(GPT_HEADER, GPT_HEADER + SECTOR);
  const entries = header.readUInt32LE(80) * header.readUInt32LE(84);
  const start = header.readUInt32LE(72) * SECTOR;
  if (start + entries <= disk.length) header.writeUInt32LE(crc32(disk.subarray(start, start + entries)), 88);
  const size = header.readUInt32LE(12);
  header.writeUInt32LE(0, 16);
  header.writeUInt32LE(crc32(header.subarray(0, Math.min(size, SECTOR))), 16);
}

/** Changes some bytes at the given places, asks for the volumes, and puts the bytes back; `MUTATIONS` times. */
function mutate(original: Buffer, places: readonly [start: number, length: number][], sealing: boolean) {
  const random = randomNumbers(original.readUInt32LE(0x1b8) | 1);
  const target = Buffer.alloc(4096);
  const kinds = new Map<string, number>();
  const disk = Buffer.from(original);
  for (let mutation = 0; mutation < MUTATIONS; mutation++) {
    for (let change = random(6) + 1; change > 0; change--) {
      const [start, length] = places[random(places.length)]!;
      const at = start + random(length);
      const bytes = random(4) === 0 ? 4 : 1;
      for (let byte = 0; byte < bytes; byte++) {
        disk[at + byte] = random(2) === 0 ? random(256) : VALUES[random(VALUES.length)]!;
      }
    }
    if (sealing && mutation % 2 === 0) seal(disk);
    const source = new Memory(disk);
    if (random(10) === 0) source.size = random(disk.length);
    let lines = 0;
    const began = performance.now();
    const table = findVolumes(source, "sda", (line) => {
      lines++;
      expect(line).not.toContain("\n");
    });
    expect(performance.now() - began).toBeLessThan(1000);
    expect(source.reads).toBeLessThan(1000);
    expect(source.bytesRead).toBeLessThan(64 * 1024 * 1024);
    expect(lines).toBeLessThanOrEqual(600);
    expect(table.volumes.length).toBeLessThanOrEqual(255);
    expect(new Set(table.volumes.map((volume) => volume.name)).size).toBe(table.volumes.length);
    for (const { source: range, length } of table.volumes) {
      expect(range.size).toBeLessThanOrEqual(length);
      expect(range.read(target, 0, 4096, 0)).toBe(Math.min(range.size, 4096));
    }
    kinds.set(table.kind, (kinds.get(table.kind) ?? 0) + 1);
    for (const [start, length] of places) original.copy(disk, start, start, start + length + 4);
    original.copy(disk, GPT_HEADER, GPT_HEADER, GPT_HEADER + SECTOR);
  }
  return kinds;
}

it("an MBR disk with damaged tables is read in bounded time, without an exception", () => {
  const disk = makeDisk(
    "label: dos\nsize=100K\nsize=3M,type=5\nsize=50K\nsize=50K\n".concat("size=100K\n".repeat(8)),
  );
  const records = findVolumes(new Memory(disk), "sda", () => {}).volumes.filter(
    (volume) => volume.number > 4,
  );
  expect(records.length).toBeGreaterThan(2);
  const places: [number, number][] = [[0x1b8, 70]];
  for (let sector = 1; sector < disk.length / SECTOR; sector++) {
    if (disk.readUInt16LE(sector * SECTOR + 510) === 0xaa55) places.push([sector * SECTOR + 0x1be, 62]);
  }
  expect(places.length).toBe(records.length + 1);
  const kinds = mutate(disk, places, false);
  expect(kinds.get("mbr")).toBeGreaterThan(MUTATIONS / 4);
  expect(kinds.get("none")).toBeGreaterThan(MUTATIONS / 50);
});

it("a GPT disk with damaged tables is read in bounded time, without an exception", () => {
  const disk = makeDisk(`label: gpt\n${"size=100K\n".repeat(8)}`);
  const places: [number, number][] = [
    [0x1be, 62],
    [GPT_HEADER, 92],
    [GPT_HEADER + 72, 20],
    [GPT_ENTRIES, 8 * 128],
    [disk.length - SECTOR, 92],
  ];
  const kinds = mutate(disk, places, true);
  expect(kinds.get("gpt")).toBeGreaterThan(MUTATIONS / 4);
  expect(kinds.get("none")).toBeGreaterThan(MUTATIONS / 100);
});
