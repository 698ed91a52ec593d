/** What a patched QEMU told of a guest's writes, and what is left of it when it is damaged on its way. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { gammaRayRecords } from "../src/capture/pipe/gamma-ray-records.js";
import { ownRecords } from "../src/capture/pipe/own-records.js";
import type { PipeRecordsOptions } from "../src/capture/pipe/records.js";
import { ByteStream } from "../src/capture/recording/byte-stream.js";
import { encodeHeader, encodeRecord } from "../src/capture/recording/format.js";
import type { WriteRecord } from "../src/queue/write-record.js";
import { Random } from "./fuzz/random.mjs";

const fixture = (name: string) =>
  gunzipSync(readFileSync(join(import.meta.dirname, "../fixtures/qemu-writes", name)));
const stream = fixture("stream.gz");
const start = fixture("start.img.gz");
const end = fixture("end.img.gz");

type Reader = (stream: ByteStream, options: PipeRecordsOptions) => AsyncGenerator<WriteRecord>;

async function* cut(bytes: Buffer, piece: () => number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; ) {
    const length = Math.max(1, piece());
    yield Buffer.from(bytes.subarray(at, at + length));
    at += length;
  }
}

async function read(bytes: Buffer, { reader = ownRecords as Reader, tellsData = true, piece = 65_536 } = {}) {
  const log: string[] = [];
  const all: WriteRecord[] = [];
  const source = new ByteStream(cut(bytes, () => piece));
  const options = { diskSize: start.length, tellsData, log: (line: string) => log.push(line) };
  let refused: string | undefined;
  try {
    for await (const record of reader(source, options)) all.push(record);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    refused = error.message;
  }
  return { all, refused, log };
}

/** The disk as records make it; what a gap tells of is read from the disk itself. */
function applied(records: readonly WriteRecord[]): Buffer {
  const disk = Buffer.from(start);
  for (const { kind, offset, length, data } of records) {
    if (kind === "write" && data !== undefined) data.copy(disk, offset);
    else if (kind === "zeroes") disk.fill(0, offset, offset + length);
    else if (kind === "write" || kind === "gap") end.copy(disk, offset, offset, offset + length);
  }
  return disk;
}

/** A record in a word, its data included. */
const digest = ({ kind, offset, length, fua, sequence, time, data }: WriteRecord) =>
  `${kind} ${sequence} ${offset}+${length} ${fua} ${time} ${data && createHash("sha1").update(data).digest("hex")}`;

const gaps = (records: readonly WriteRecord[]) => records.filter(({ kind }) => kind === "gap");

const { all: whole } = await read(stream);
/** Where the second stream begins. */
const [, secondStart] = whole.flatMap(({ sequence }, at) => (sequence === 0 ? [at] : []));

test.each([1 << 20, 65_536, 61])(
  "a real guest's writes give its disk, in pieces of %d bytes",
  async (piece) => {
    const { all, refused } = await read(stream, { piece });
    expect(refused).toBeUndefined();
    expect(all.length).toBe(whole.length);
    // A reader that begins knows nothing of what was before; of what nobody read meanwhile, QEMU tells.
    expect(gaps(all).map(({ offset, length }) => [offset, length])).toEqual([
      [0, start.length],
      [0, start.length],
      [expect.any(Number), expect.any(Number)],
    ]);
    const first = all.slice(1, secondStart);
    expect(first.map(({ sequence }) => sequence)).toEqual(first.map((_, i) => i + 1));
    for (const kind of ["write", "flush", "discard"])
      expect(all.some((record) => record.kind === kind)).toBe(true);
    const [, , missed] = gaps(all);
    const told = all.filter((record) => record.kind !== "gap" || record === missed);
    expect(applied(told).equals(end)).toBe(true);
  },
);

test("without data: the same ranges, and no byte of what was written", async () => {
  const { all } = await read(stream, { tellsData: false });
  const bare = (records: readonly WriteRecord[]) => records.map(({ data: _, time: __, ...record }) => record);
  expect(all.every(({ data }) => data === undefined)).toBe(true);
  expect(bare(all)).toEqual(bare(whole));
});

test("writes that QEMU tells without their data come as writes", async () => {
  const record = {
    kind: "write",
    offset: 4096,
    length: 2 ** 30,
    data: undefined,
    fua: true,
    sequence: 1,
    time: 5,
  } as const;
  const { all } = await read(Buffer.concat([encodeHeader(start.length, 1), encodeRecord(record)]));
  // The disk ends where it ends.
  expect(all.slice(1)).toEqual([{ ...record, length: start.length - 4096 }]);
});

/** A header, and records of these numbers. */
const numbers = (...all: ReadonlyArray<["flush" | "gap", number]>) => {
  const common = { offset: 0, length: 0, data: undefined, fua: false, time: 0 };
  const records = all.map(([kind, sequence]) => encodeRecord({ ...common, kind, sequence }));
  return Buffer.concat([encodeHeader(start.length, 1), ...records]);
};

test("a stream that is joined in its middle, or loses a record, is refused in one line", async () => {
  expect(await read(stream.subarray(100_001))).toEqual({
    all: [],
    refused: "a stream came that has no beginning",
    log: [],
  });
  const { all, refused } = await read(numbers(["flush", 1], ["gap", 7], ["flush", 8], ["flush", 10]));
  expect(all.map(({ sequence }) => sequence)).toEqual([0, 1, 7, 8]);
  expect(refused).toBe("record 10 came after 8");
});

test("damaged streams: what came before the damage is told, and nothing else", async () => {
  const originals = new Set(whole.map(digest));
  const seed = Number(process.env.SLASHCLOUD_FUZZ_SEED ?? 7);
  for (let round = 0; round < 150; round++) {
    const random = new Random(seed * 1000 + round);
    let bytes = Buffer.from(stream);
    for (let change = 1 + random.below(4); change > 0; change--) {
      const at = random.below(bytes.length);
      const length = 1 + random.below(random.oneIn(3) ? 100_000 : 60);
      switch (random.below(5)) {
        case 0:
          bytes[at]! ^= 1 << random.below(8);
          break;
        case 1:
          bytes.subarray(at, at + length).fill(random.below(256));
          break;
        case 2:
          bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
          break;
        case 3:
          bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at - length), bytes.subarray(at)]);
          break;
        case 4: {
          // A header of a record that makes no sense, or claims more than ever comes.
          const wrong = encodeRecord({ ...whole[1]!, length: 2 ** random.below(45), sequence: 1 });
          wrong.copy(bytes, at);
          break;
        }
      }
    }
    const before = process.memoryUsage().rss;
    const { all } = await read(bytes, { piece: 1 + random.below(200_000) });
    const why = `seed ${seed}, round ${round}`;
    expect(process.memoryUsage().rss - before, why).toBeLessThan(256 << 20);
    // Nothing is told that was not so; nothing is lost without a gap.
    let last: number | undefined;
    const wrong = all.filter((record) => {
      const isNext = last === undefined || record.sequence === last + 1;
      last = record.kind === "gap" ? undefined : record.sequence;
      return record.kind !== "gap" && !(isNext && originals.has(digest(record)));
    });
    expect(wrong, why).toEqual([]);
  }
}, 120_000);

test("what is no stream is refused in one line", async () => {
  const other = encodeHeader(start.length, 1);
  other.writeUInt32LE(9, 8);
  expect((await read(other)).refused).toBe("its version is 9; 1 is known here");
  expect((await read(Buffer.alloc(1000))).refused).toBe("a stream came that has no beginning");
  expect((await read(Buffer.concat([numbers(["flush", 1]), Buffer.alloc(44)]))).refused).toBe(
    "what came after record 1 is no record",
  );
  const huge = encodeRecord({ ...whole[1]!, data: Buffer.alloc(1), length: 2 ** 25, sequence: 2 });
  expect((await read(Buffer.concat([numbers(["flush", 1]), huge]))).refused).toBe(
    "what came after record 1 is no record",
  );
});

const gammaRay = (sector: number, count: number, data = Buffer.alloc(Math.max(0, count) * 512, "g")) => {
  const head = Buffer.alloc(12);
  head.writeBigInt64LE(BigInt(sector), 0);
  head.writeInt32LE(count, 8);
  return Buffer.concat([head, data]);
};

test("Gamma-Ray's records are told after a gap, until one makes no sense; then only that there are some", async () => {
  const good = [gammaRay(8, 2), gammaRay(0, 1), gammaRay(16, 4096)];
  const reader = gammaRayRecords;
  const fine = await read(Buffer.concat(good), { reader, piece: 1000 });
  expect(fine.log).toEqual([]);
  expect(fine.all.map(({ kind, offset, length, sequence }) => [kind, offset, length, sequence])).toEqual([
    ["gap", 0, start.length, 0],
    ["write", 4096, 1024, 1],
    ["write", 0, 512, 2],
    ["write", 8192, 1 << 20, 3],
    ["write", 8192 + (1 << 20), 1 << 20, 4],
  ]);
  for (const wrong of [
    gammaRay(-1, 1),
    gammaRay(2 ** 40, 1),
    gammaRay(4, -7),
    gammaRay(start.length / 512, 1),
  ]) {
    const { all, log } = await read(Buffer.concat([...good, wrong, ...good]), { reader });
    expect(log.length).toBe(1);
    expect(log[0]).toMatch(/^after 4 records: .*; until the pipe is opened anew, only the disk itself tells/);
    expect(all.slice(0, 5)).toMatchObject(fine.all.map(({ kind, offset }) => ({ kind, offset })));
    expect(new Set(all.slice(5).map(({ kind }) => kind))).toEqual(new Set(["gap"]));
  }
});
