import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import type { Source } from "../src/images/image.js";
import { IoError } from "../src/images/io-error.js";
import { crc32c } from "../src/layout/crc32c.js";
import { ThinPool, ThinSource } from "../src/volumes/lvm/thin-pool.js";
import { Unreadable } from "../src/volumes/lvm/unreadable.js";
import { cleanUp, workFolder } from "./support/images-mount.js";
import { CHUNK, makeMetadata, type Places, thinXml } from "./support/thin-pool.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const MUTATIONS = 500;
const BLOCK = 4096;
const DATA_BLOCKS = 4000;
const SIZE = 1500 * CHUNK;
const SUPERBLOCK_SALT = 160774;
const NODE_SALT = 121107;
const NUMBERS = [0, 1, 2, 3, 0xff, 0xffff, 0x7fffffff, 0xffffffff];

afterAll(cleanUp);

/** Bytes in memory; counts reads. */
class Memory implements Source {
  reads = 0;
  readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  get size(): number {
    return this.bytes.length;
  }

  read(target: Buffer, targetOffset: number, length: number, position: number): number {
    this.reads++;
    if (!(position >= 0 && position < this.size)) return 0;
    return this.bytes.copy(target, targetOffset, position, Math.min(position + length, this.size));
  }
}

/** Of the size of the pool, each byte the lower one of its place's number. */
const data: Source = {
  size: DATA_BLOCKS * CHUNK,
  read(target, targetOffset, length, position) {
    const there = Math.max(0, Math.min(length, this.size - position));
    for (let at = 0; at < there; at += CHUNK)
      target.fill(
        ((position + at) / CHUNK) & 255,
        targetOffset + at,
        targetOffset + Math.min(there, at + CHUNK),
      );
    return there;
  },
};

let whole: Buffer;
/** Blocks that hold anything. */
let used: number[];
const places: Places = new Map();

beforeAll(async () => {
  const folder = workFolder("lvm-thin-fuzz");
  for (const [device, count] of [
    [1, 1200],
    [2, 3],
    [9, 0],
  ] as const) {
    const mapped = new Map<number, number>();
    for (let n = 0; n < count; n++) mapped.set(n + (n > 600 ? 100 : 0), (n * 1009 + device) % DATA_BLOCKS);
    places.set(device, mapped);
  }
  const file = join(folder, "metadata");
  await makeMetadata(file, 2 << 20, thinXml(places, DATA_BLOCKS, 1));
  whole = readFileSync(file);
  used = Array.from({ length: whole.length / BLOCK }, (_, n) => n).filter((n) =>
    whole.subarray(n * BLOCK, (n + 1) * BLOCK).some((byte) => byte !== 0),
  );
});

function seal(bytes: Buffer, block: number): void {
  const salt = block === 0 ? SUPERBLOCK_SALT : NODE_SALT;
  const one = bytes.subarray(block * BLOCK, (block + 1) * BLOCK);
  one.writeUInt32LE((crc32c(0xffffffff, one, 4, BLOCK) ^ salt) >>> 0, 0);
}

/** Reads volumes from end to end, in bounded time and with bounded reads. Returns what came of each. */
function readAll(bytes: Buffer): string[] {
  const metadata = new Memory(bytes);
  const log: string[] = [];
  const began = performance.now();
  const outcomes = [1, 2, 9].map((device) => {
    try {
      const pool = new ThinPool(metadata, data, CHUNK / 512, (line) => log.push(line));
      if (!pool.has(device)) return "none";
      const source = new ThinSource(pool, device, SIZE);
      const target = Buffer.alloc(16 * CHUNK);
      let outcome = "read";
      for (let at = 0; at < SIZE; at += target.length) {
        try {
          const length = Math.min(target.length, SIZE - at);
          expect(source.read(target, 0, target.length, at)).toBe(length);
          for (let block = 0; block * CHUNK < length; block++) {
            const place = places.get(device)?.get(at / CHUNK + block);
            if (target[block * CHUNK] !== (place === undefined ? 0 : place & 255)) outcome = "other";
          }
        } catch (error) {
          if (!(error instanceof IoError)) throw error;
          return "error";
        }
      }
      return outcome;
    } catch (error) {
      if (error instanceof IoError) return "error";
      if (error instanceof Unreadable) return "unreadable";
      throw error;
    }
  });
  for (const line of log) expect(line).toMatch(/^the metadata of a thin pool [^\n]*$/);
  expect(performance.now() - began).toBeLessThan(5000);
  expect(metadata.reads).toBeLessThan(60_000);
  return outcomes;
}

it("what thin_restore wrote is read", () => {
  expect(readAll(whole)).toEqual(["read", "read", "read"]);
});

it("damaged metadata is read in bounded time, and answered with I/O errors", () => {
  let state = 1;
  const random = (limit: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const seen = new Map<string, number>();
  for (let mutation = 0; mutation < MUTATIONS; mutation++) {
    const bytes = Buffer.from(whole);
    for (let change = random(3); change >= 0; change--) {
      const block = used[random(used.length)]!;
      // Headers, the first keys and values, and the trees' roots are where most is told.
      const limit = [48, 400, BLOCK][random(3)]!;
      const at = block * BLOCK + random(limit / 4) * 4;
      const kind = random(3);
      if (kind === 0) bytes[at + random(4)] = random(256);
      else if (kind === 1) bytes.writeUInt32LE(used[random(used.length)]!, at);
      else bytes.writeUInt32LE(NUMBERS[random(NUMBERS.length)]!, at);
      if (random(8) > 0) seal(bytes, block);
    }
    for (const outcome of readAll(bytes)) seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
  }
  // Some are as good as before, and each way to fail is gone.
  for (const outcome of ["read", "other", "none", "error", "unreadable"])
    expect([outcome, (seen.get(outcome) ?? 0) > 5], JSON.stringify([...seen])).toEqual([outcome, true]);
});

it("a tree that leads back to itself, and one into another tree, are errors", () => {
  const mapping = Number(whole.readBigUInt64LE(320));
  const details = Number(whole.readBigUInt64LE(328));
  const into = (block: number, target: number): Buffer => {
    const bytes = Buffer.from(whole);
    // An internal node with one entry.
    const node = bytes.subarray(block * BLOCK, (block + 1) * BLOCK);
    node.writeUInt32LE(1, 4);
    node.writeUInt32LE(1, 16);
    node.writeUInt32LE(252, 20);
    node.writeUInt32LE(8, 24);
    node.writeBigUInt64LE(0n, 32);
    node.writeBigUInt64LE(BigInt(target), 32 + 252 * 8);
    seal(bytes, block);
    return bytes;
  };
  expect(readAll(into(mapping, mapping))).toEqual(["error", "error", "error"]);
  expect(readAll(into(mapping, details))).toEqual(["error", "error", "error"]);
  expect(readAll(into(details, details))).toEqual(["error", "error", "error"]);
});

it("metadata that changes all the time is given up on, and read again when it rests", () => {
  const bytes = Buffer.from(whole);
  const metadata = new Memory(bytes);
  const pool = new ThinPool(metadata, data, CHUNK / 512, () => {});
  const source = new ThinSource(pool, 1, SIZE);
  const target = Buffer.alloc(CHUNK);
  let isRestless = true;
  const read = metadata.read.bind(metadata);
  metadata.read = (...args) => {
    if (isRestless) {
      bytes.writeUInt32LE((bytes.readUInt32LE(48) + 1) >>> 0, 48);
      seal(bytes, 0);
    }
    return read(...args);
  };
  expect(() => source.read(target, 0, CHUNK, 0)).toThrow(IoError);
  expect(metadata.reads).toBeLessThan(2000);
  isRestless = false;
  expect(source.read(target, 0, CHUNK, 0)).toBe(CHUNK);
  // A superblock that is gone, and comes back.
  const kept = Buffer.from(bytes.subarray(0, BLOCK));
  bytes.fill(0, 0, BLOCK);
  for (let n = 0; n < 2; n++) expect(() => source.read(target, 0, CHUNK, 0)).toThrow(IoError);
  kept.copy(bytes);
  expect(source.read(target, 0, CHUNK, 0)).toBe(CHUNK);
});
