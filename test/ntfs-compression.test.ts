import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { decompressLznt1 } from "../src/filesystems/ntfs/compression/lznt1.js";
import { decompressLzx } from "../src/filesystems/ntfs/compression/lzx.js";
import {
  WOF_LARGEST_CHUNK,
  type WofAlgorithm,
  wofAlgorithm,
  wofChunkOf,
  wofChunkRoom,
  wofChunks,
  wofDecompress,
  wofEntriesAt,
  wofEntriesLength,
  wofRange,
  wofTableBytes,
} from "../src/filesystems/ntfs/compression/wof.js";
import { decompressXpress } from "../src/filesystems/ntfs/compression/xpress.js";
import { IoError } from "../src/images/io-error.js";
import { inputs, ntfsUnits, type Resource, type Unit, wimResources } from "./support/compressed.js";
import { cleanUp, workFolder } from "./support/images-mount.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const folder = workFolder("compression");
afterAll(cleanUp);

const MARGIN = 64;
const MARK = 0xa5;

type Decompress = typeof decompressLznt1;

/** One piece of compressed data, and what it should give. */
interface Piece {
  what: string;
  compressed: Buffer;
  contents: Buffer;
}

/** The algorithm by the reparse data that Windows would write. */
function algorithm(number: number): WofAlgorithm {
  const data = Buffer.alloc(16);
  [1, 2, 1, number].forEach((value, index) => {
    data.writeUInt32LE(value, 4 * index);
  });
  return wofAlgorithm(data, 0, 16)!;
}

const kinds = [
  { number: 0, name: "xpress4k", compress: "XPRESS", chunk: "4K" },
  { number: 1, name: "lzx", compress: "LZX", chunk: "32K" },
  { number: 2, name: "xpress8k", compress: "XPRESS", chunk: "8K" },
  { number: 3, name: "xpress16k", compress: "XPRESS", chunk: "16K" },
] as const;

const resources = new Map<number, Resource[]>();
let units: Unit[] = [];

beforeAll(async () => {
  for (const { number, compress, chunk } of kinds) {
    resources.set(number, await wimResources(folder, inputs(), compress, chunk));
  }
  units = await ntfsUnits(folder, inputs());
});

/** The range of a chunk, found as a reader does that reads no more of the table than it has to. */
function rangeOf(
  algorithm: WofAlgorithm,
  resource: Resource,
  chunk: number,
): { offset: number; length: number } {
  const bytes = resource.contents.length;
  const at = wofEntriesAt(bytes, chunk);
  const entries = resource.stream.subarray(at, at + wofEntriesLength(algorithm, bytes, chunk));
  const range = { offset: 0, length: 0 };
  wofRange(algorithm, bytes, resource.stream.length, chunk, entries, 0, range);
  return range;
}

/** All chunks that are compressed, not stored. */
function piecesOf(number: number): Piece[] {
  const kind = algorithm(number);
  return resources.get(number)!.flatMap((resource) => {
    const pieces: Piece[] = [];
    for (let chunk = 0; chunk < wofChunks(kind, resource.contents.length); chunk++) {
      const { offset, length } = rangeOf(kind, resource, chunk);
      const begin = chunk * kind.chunkBytes;
      const contents = resource.contents.subarray(begin, begin + kind.chunkBytes);
      if (length === contents.length) continue;
      const compressed = resource.stream.subarray(offset, offset + length);
      pieces.push({ what: `${resource.name}, chunk ${chunk}`, compressed, contents });
    }
    return pieces;
  });
}

function unitPieces(): Piece[] {
  return units.map(({ name, contents, compressed }) => ({ what: name, contents, compressed }));
}

const decompressors: Array<{ name: string; decompress: Decompress; pieces: () => Piece[]; exact: boolean }> =
  [
    { name: "LZNT1", decompress: decompressLznt1, pieces: unitPieces, exact: false },
    { name: "XPRESS 4K", decompress: decompressXpress, pieces: () => piecesOf(0), exact: true },
    { name: "XPRESS 16K", decompress: decompressXpress, pieces: () => piecesOf(3), exact: true },
    { name: "LZX", decompress: decompressLzx, pieces: () => piecesOf(1), exact: true },
  ];

describe.each(decompressors)("$name", ({ decompress, pieces, exact }) => {
  /** Decompresses into the middle of a marked buffer, and looks whether anything beside it was written. */
  function attempt(compressed: Buffer, room: number): Buffer | IoError {
    const target = Buffer.alloc(room + 2 * MARGIN, MARK);
    const source = Buffer.concat([Buffer.alloc(7, MARK), compressed, Buffer.alloc(5, MARK)]);
    let result: Buffer | IoError;
    try {
      const written = decompress(source, 7, compressed.length, target, MARGIN, room);
      expect(Number.isInteger(written) && written >= 0 && written <= room).toBe(true);
      result = target.subarray(MARGIN, MARGIN + written);
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      result = error;
    }
    const beside = Buffer.concat([target.subarray(0, MARGIN), target.subarray(MARGIN + room)]);
    expect(beside.equals(Buffer.alloc(2 * MARGIN, MARK))).toBe(true);
    return result;
  }

  test("gives what was compressed", () => {
    const all = pieces();
    expect(all.length).toBeGreaterThan(50);
    for (const { what, compressed, contents } of all) {
      const result = attempt(compressed, contents.length);
      if (result instanceof IoError) throw new Error(`${what}: ${result.message}`);
      // What LZNT1 does not write is zeros.
      const whole = Buffer.concat([result, Buffer.alloc(contents.length - result.length)]);
      expect(whole.equals(contents), what).toBe(true);
    }
  });

  test("refuses what is cut off", () => {
    let refused = 0;
    for (const { compressed, contents } of pieces().slice(0, 60)) {
      for (const part of [
        0,
        1,
        2,
        3,
        100,
        255,
        256,
        257,
        258,
        300,
        compressed.length - 3,
        compressed.length - 1,
      ]) {
        const cut = compressed.subarray(0, Math.max(0, Math.min(part, compressed.length - 1)));
        const result = attempt(cut, contents.length);
        if (result instanceof IoError) refused++;
        else if (exact) expect(result.length).toBe(contents.length);
      }
    }
    expect(refused).toBeGreaterThan(100);
  });

  test("refuses room and ranges that are not there", () => {
    const { compressed, contents } = pieces()[0]!;
    const target = Buffer.alloc(contents.length);
    expect(() => decompress(compressed, 0, compressed.length, target, 1, contents.length)).toThrow(IoError);
    expect(() => decompress(compressed, 0, compressed.length + 1, target, 0, contents.length)).toThrow(
      IoError,
    );
    expect(() => decompress(compressed, -1, compressed.length, target, 0, contents.length)).toThrow(IoError);
    expect(() => decompress(compressed, 0, compressed.length, target, 0, Number.NaN)).toThrow(IoError);
  });

  test("survives damage, and writes nothing outside its room", () => {
    const all = pieces().filter(({ contents }) => contents.length <= 65_536);
    const random = randomNumbers(7);
    let refused = 0;
    let given = 0;
    for (let round = 0; round < 6000; round++) {
      const { compressed, contents } = all[random(all.length)]!;
      const bytes = Buffer.from(compressed);
      // Codes are at the beginning, and what matters most.
      const span = round % 2 === 0 ? bytes.length : Math.min(300, bytes.length);
      for (let count = 1 + random(6); count > 0; count--) {
        const at = random(span);
        bytes[at] = round % 3 === 0 ? bytes[at]! ^ (1 << random(8)) : random(256);
      }
      const room = round % 5 === 0 ? random(contents.length + 1) : contents.length;
      if (attempt(bytes, room) instanceof IoError) refused++;
      else given++;
    }
    for (let round = 0; round < 2000; round++) {
      const bytes = Buffer.alloc(random(2000));
      for (let at = 0; at < bytes.length; at++) bytes[at] = random(256);
      if (attempt(bytes, random(32_769)) instanceof IoError) refused++;
      else given++;
    }
    expect(refused).toBeGreaterThan(1000);
    expect(given).toBeGreaterThan(10);
  });
});

describe("LZNT1", () => {
  test("stops where the room ends within a chunk", () => {
    for (const { compressed, contents } of unitPieces()) {
      for (const room of [0, 1, 4095, 4096, 4097, 10_000].filter((size) => size <= contents.length)) {
        const target = Buffer.alloc(room);
        const written = decompressLznt1(compressed, 0, compressed.length, target, 0, room);
        expect(target.equals(contents.subarray(0, room))).toBe(true);
        expect(written).toBeLessThanOrEqual(room);
      }
    }
  });

  test("fills a short chunk that is not the last with zeros", () => {
    // Two stored chunks: "ab", which is short, and "cd".
    const source = Buffer.from([0x01, 0x30, 0x61, 0x62, 0x01, 0x30, 0x63, 0x64, 0, 0]);
    const target = Buffer.alloc(8192, MARK);
    expect(decompressLznt1(source, 0, source.length, target, 0, 8192)).toBe(4098);
    expect(target.toString("latin1", 0, 4)).toBe("ab\0\0");
    expect(target.toString("latin1", 4095, 4099)).toBe("\0cd\xa5");
  });
});

describe.each(kinds)("a file that the Windows overlay filter shows: $name", ({ number, name }) => {
  test("has the contents that were compressed, chunk by chunk", () => {
    const kind = algorithm(number);
    expect(kind.name).toBe(name);
    let stored = 0;
    for (const resource of resources.get(number)!) {
      const { contents, stream } = resource;
      const target = Buffer.alloc(contents.length + kind.chunkBytes, MARK);
      for (let chunk = 0; chunk < wofChunks(kind, contents.length); chunk++) {
        const { offset, length } = rangeOf(kind, resource, chunk);
        const room = wofChunkRoom(kind, contents.length, chunk);
        if (length === room) stored++;
        expect(wofChunkOf(kind, chunk * kind.chunkBytes + room - 1)).toBe(chunk);
        expect(wofDecompress(kind, stream, offset, length, target, chunk * kind.chunkBytes, room)).toBe(room);
      }
      expect(target.subarray(0, contents.length).equals(contents), resource.name).toBe(true);
    }
    expect(stored).toBeGreaterThan(0);
    expect(kind.chunkBytes).toBeLessThanOrEqual(WOF_LARGEST_CHUNK);
  });

  test("is refused where its table of chunks is damaged", () => {
    const kind = algorithm(number);
    const resource = resources.get(number)!.find((one) => one.name === "program")!;
    const table = wofTableBytes(kind, resource.contents.length);
    for (const value of [0, 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
      const stream = Buffer.from(resource.stream);
      for (let at = 0; at < table; at += 4) stream.writeUInt32LE(value, at);
      for (let chunk = 1; chunk < wofChunks(kind, resource.contents.length) - 1; chunk++) {
        expect(() => rangeOf(kind, { ...resource, stream }, chunk)).toThrow(IoError);
      }
    }
  });
});

test("Entries of the table of chunks have 64 bits in a file of 4 GiB", () => {
  const kind = algorithm(0);
  const bytes = 2 ** 32;
  expect(wofEntriesAt(bytes, 5)).toBe(32);
  expect(wofTableBytes(kind, bytes)).toBe((2 ** 20 - 1) * 8);
  expect(wofTableBytes(kind, bytes - 1)).toBe((2 ** 20 - 1) * 4);
  const entries = Buffer.alloc(16);
  entries.writeBigUInt64LE(2n ** 32n + 100n, 0);
  entries.writeBigUInt64LE(2n ** 32n + 400n, 8);
  const range = { offset: 0, length: 0 };
  wofRange(kind, bytes, 2 ** 33, 7, entries, 0, range);
  expect(range).toEqual({ offset: (2 ** 20 - 1) * 8 + 2 ** 32 + 100, length: 300 });
});

test("Reparse data of another provider, version or algorithm has no algorithm", () => {
  const good = [1, 2, 1, 1];
  for (const [index, value] of [
    [0, 2],
    [1, 1],
    [2, 2],
    [3, 4],
  ] as const) {
    const data = Buffer.alloc(16);
    good.forEach((field, at) => {
      data.writeUInt32LE(at === index ? value : field, 4 * at);
    });
    expect(wofAlgorithm(data, 0, 16)).toBeNull();
  }
  expect(wofAlgorithm(Buffer.alloc(16), 0, 12)).toBeNull();
  expect(wofAlgorithm(Buffer.alloc(16), 4, 16)).toBeNull();
});

/** Numbers from 0 up to `limit`, the same in each run. */
function randomNumbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}
