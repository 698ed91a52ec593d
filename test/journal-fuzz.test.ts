import { execFileSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { FastCommit, FastCommitOperation } from "../src/filesystems/ext/journal/fast-commit.js";
import { fold } from "../src/filesystems/ext/journal/fold.js";
import { Journal } from "../src/filesystems/ext/journal/journal.js";
import { FileSystemError } from "../src/filesystems/filesystem.js";
import { IoError } from "../src/images/io-error.js";
import { crc32c } from "../src/layout/crc32c.js";
import { applyFold, ImageJournal } from "./support/journal-device.js";
import {
  imageDirectory,
  journalBlocks,
  MountedImage,
  makeImage,
  makeRandom,
} from "./support/journal-images.js";
import { describeFileSystem, withFastCommits } from "./support/journal-tree.js";
import { type JournalFormat, JournalWriter } from "./support/journal-writer.js";

/** The longest that one journal may take, ms. */
const PATIENCE = 2000;
const BLOCK_SIZE = 1024;
/** Numbers at which parsers go wrong. */
const EDGES = [0, 1, 2, 3, 4, 5, 8, 12, 16, 255, 1023, 1024, 1025, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

let directory: string;
let plain: Buffer;
let blocks: Float64Array;

beforeAll(() => {
  directory = imageDirectory();
  const path = join(directory, "plain.img");
  makeImage(path, 12, "mkfs.ext4 -b 1024 -O ^metadata_csum -J size=1");
  plain = readFileSync(path);
  blocks = journalBlocks(path);
}, 120_000);

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Changes made to an image, to be taken back. */
class Mutation {
  readonly #image: Buffer;
  readonly #undo: [at: number, bytes: Buffer][] = [];

  constructor(image: Buffer) {
    this.#image = image;
  }

  write(at: number, bytes: Buffer): void {
    this.#undo.push([at, Buffer.from(this.#image.subarray(at, at + bytes.length))]);
    bytes.copy(this.#image, at);
  }

  undo(): void {
    for (const [at, bytes] of this.#undo.reverse()) bytes.copy(this.#image, at);
  }
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

/** Makes the checksums of v2 and v3 right again, so that what lies behind them is reached. */
function sign(device: ImageJournal, index: number, mutation: Mutation): void {
  const at = device.at(index);
  const block = Buffer.from(device.image.subarray(at, at + BLOCK_SIZE));
  if (index === 0) {
    block.writeUInt32BE(0, 0xfc);
    mutation.write(at + 0xfc, word(crc32c(0xffffffff, block, 0, 1024)));
    return;
  }
  const superblock = device.at(0);
  const seed = crc32c(0xffffffff, device.image, superblock + 0x30, superblock + 0x40);
  const sumAt = block.readUInt32BE(4) === 2 ? 0x10 : BLOCK_SIZE - 4;
  block.writeUInt32BE(0, sumAt);
  mutation.write(at + sumAt, word(crc32c(seed, block, 0, BLOCK_SIZE)));
}

const formats: JournalFormat[] = [
  { checksums: "none", bits64: false },
  { checksums: "none", bits64: true, tagsPerDescriptor: 3, uuidInEachTag: true },
  { checksums: "v1", bits64: false, start: 1010, sequence: 0xffff_fff0 },
  { checksums: "v2", bits64: true },
  { checksums: "v3", bits64: true, asyncCommit: true, start: 900 },
];

it.each(formats)(
  "no damage to a journal does more than end it (%o)",
  (format) => {
    const device = new ImageJournal(Buffer.from(plain), BLOCK_SIZE, blocks);
    const writer = new JournalWriter(device, format);
    const headers: number[] = [0];
    for (let n = 0; n < 12; n++) {
      const places = writer.add({
        blocks: Array.from({ length: 1 + n * 2 }, (_, block) => [8000 + block, Buffer.alloc(BLOCK_SIZE, n)]),
        ...(n % 3 === 0 ? { revoked: [8003, 8500 + n] } : {}),
      });
      headers.push(...places.descriptors, ...places.revokes, places.commit);
    }
    const random = makeRandom(format.checksums.length + (format.start ?? 0));
    const copy = Buffer.alloc(BLOCK_SIZE);
    let slowest = 0;
    let refused = 0;
    const seen = new Set<string>();
    for (let round = 0; round < 2500; round++) {
      const mutation = new Mutation(device.image);
      const touched = new Set<number>();
      for (let change = random(4); change >= 0; change--) {
        let index = headers[random(headers.length)] as number;
        if (random(20) === 0) index = random(device.length);
        else if (random(6) === 0) index = 0;
        // Mostly where the fields are.
        const offset = random(4) === 0 ? random(BLOCK_SIZE / 4) * 4 : random(index === 0 ? 64 : 24) * 4;
        const value = random(3) === 0 ? random(2 ** 32) : (EDGES[random(EDGES.length)] as number);
        mutation.write(device.at(index) + offset, word(value));
        touched.add(index);
      }
      if (random(4) !== 0) for (const index of touched) sign(device, index, mutation);
      const started = performance.now();
      device.reads = 0;
      try {
        const journal = new Journal(device, () => {});
        const folded = fold(journal);
        for (const logged of [...folded.copies.values()].slice(0, 20)) journal.readCopy(logged, copy, 0);
        journal.fastCommits(256);
        journal.next();
        seen.add(`${folded.transactions} ${folded.copies.size} ${journal.status} ${journal.reason}`);
        expect(folded.copies.size).toBeLessThanOrEqual(device.length);
      } catch (error) {
        expect(error).toBeInstanceOf(FileSystemError);
        refused++;
      }
      // Each block is read a few times: for its header, for its transaction's checksum, for its own.
      expect(device.reads).toBeLessThan(device.length * 5);
      slowest = Math.max(slowest, performance.now() - started);
      mutation.undo();
    }
    expect(slowest).toBeLessThan(PATIENCE);
    expect(refused).toBeGreaterThan(50);
    expect(seen.size).toBeGreaterThan(20);
  },
  30_000,
);

/** A disk with fast commits, its full transactions in place. */
function fastCommitDisk(): { image: Buffer; device: ImageJournal } {
  const path = join(directory, "fast.img");
  const crash = join(directory, "crash.img");
  makeImage(path, 16, "mkfs.ext4 -b 1024 -J size=2 -O fast_commit");
  const mounted = new MountedImage(path, "commit=300");
  const script = `mkdir o; cd o; mkdir sub; for i in $(seq 20); do echo $i > f$i; done; sync -f .; echo x >> f1; sync f1
    for i in $(seq 5 12); do echo y >> f$i; mv f$i g$i; ln g$i sub/h$i; sync g$i; done; rm f13; mkdir n
    echo z > n/z; sync n/z; truncate -s 1 g7; dd if=/dev/zero of=big bs=1k count=50 seek=9 status=none; sync g7 big`;
  try {
    execFileSync("bash", ["-c", script], { cwd: mounted.root });
    mounted.crashTo(crash);
  } finally {
    mounted.close();
  }
  const image = readFileSync(crash);
  const device = new ImageJournal(image, BLOCK_SIZE, journalBlocks(crash));
  const journal = new Journal(device, () => {});
  applyFold(journal, fold(journal), image, BLOCK_SIZE);
  return { image, device };
}

it("no damage to fast commits does more than end them, or spoil a file", () => {
  const { image, device } = fastCommitDisk();
  const journal = new Journal(device, () => {});
  fold(journal);
  const first = journal.superblock.fastCommitFirst;
  const whole = journal.fastCommits(256);
  expect(whole.length).toBeGreaterThan(8);
  const random = makeRandom(3);
  let slowest = 0;
  let different = 0;
  for (let round = 0; round < 400; round++) {
    const mutation = new Mutation(image);
    const index = first + random(whole.length);
    const at = device.at(index);
    const records = recordsOf(image.subarray(at, at + BLOCK_SIZE));
    for (let change = random(3); change >= 0; change--) {
      const record = records[random(records.length)] as { at: number; length: number };
      const value = Buffer.alloc(4);
      value.writeUInt32LE(random(2) === 0 ? random(2 ** 32) : (EDGES[random(EDGES.length)] as number));
      // Not the tag and the length, or the checksum could not be made right.
      const offset = at + record.at + 4 + random(Math.max(1, record.length - 4));
      mutation.write(offset, value.subarray(0, Math.min(4, record.at + 4 + record.length - (offset - at))));
    }
    signFastCommit(image, at, records, mutation);
    const started = performance.now();
    try {
      const commits = journal.fastCommits(256);
      if (JSON.stringify(commits) !== JSON.stringify(whole)) different++;
      describeShallow(image, commits);
    } catch (error) {
      expect(error).toBeInstanceOf(IoError);
    }
    slowest = Math.max(slowest, performance.now() - started);
    mutation.undo();
  }
  expect(journal.fastCommits(256)).toEqual(whole);
  expect(different).toBeGreaterThan(100);
  expect(slowest).toBeLessThan(PATIENCE);
}, 120_000);

it("no order of fast commit operations does more than spoil a file", () => {
  const { image, device } = fastCommitDisk();
  const journal = new Journal(device, () => {});
  fold(journal);
  const real = journal.fastCommits(256).flat();
  const random = makeRandom(9);
  let slowest = 0;
  for (let round = 0; round < 300; round++) {
    const operations: FastCommitOperation[] = Array.from({ length: 1 + random(60) }, () => {
      const operation = { ...(real[random(real.length)] as FastCommitOperation) };
      if (random(3) === 0) operation.ino = 1 + random(45);
      if ("parent" in operation && random(3) === 0) operation.parent = random(45);
      if ("length" in operation && random(3) === 0) operation.length = EDGES[random(EDGES.length)] as number;
      return operation;
    });
    const started = performance.now();
    try {
      describeShallow(image, [operations.slice(0, 20), operations.slice(20)]);
    } catch (error) {
      expect(error).toBeInstanceOf(IoError);
    }
    slowest = Math.max(slowest, performance.now() - started);
  }
  expect(slowest).toBeLessThan(PATIENCE);
}, 120_000);

/** Walks a tree whose directories may contain each other, so not for ever. */
function describeShallow(image: Buffer, commits: readonly FastCommit[]): void {
  try {
    describeFileSystem(
      withFastCommits(image, commits, () => {}),
      300,
    );
  } catch (error) {
    if (error instanceof IoError) throw error;
    expect(String(error)).toMatch(/own dots|listed|too many/);
  }
}

function recordsOf(block: Buffer): { at: number; length: number }[] {
  const records: { at: number; length: number }[] = [];
  for (let at = 0; at + 4 <= block.length; ) {
    const length = block.readUInt16LE(at + 2);
    records.push({ at, length: Math.min(length, block.readUInt16LE(at) === 8 ? 4 : length) });
    at += 4 + length;
  }
  return records;
}

/** Makes a fast commit's checksum right again, if it begins and ends in this block. */
function signFastCommit(
  image: Buffer,
  at: number,
  records: { at: number; length: number }[],
  mutation: Mutation,
): void {
  const tail = records.find((record) => image.readUInt16LE(at + record.at) === 8);
  if (tail === undefined) return;
  const sum = Buffer.alloc(4);
  sum.writeUInt32LE(crc32c(0, image, at, at + tail.at + 8));
  mutation.write(at + tail.at + 8, sum);
}
