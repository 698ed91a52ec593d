import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fold } from "../src/filesystems/ext/journal/fold.js";
import { Journal } from "../src/filesystems/ext/journal/journal.js";
import { FileSystemError } from "../src/filesystems/filesystem.js";
import { crc32be } from "../src/layout/crc32be.js";
import { crc32c } from "../src/layout/crc32c.js";
import { applyFold, blockSizeOf, differences, ImageJournal } from "./support/journal-device.js";
import {
  busyLoad,
  imageDirectory,
  journalBlocks,
  MAGIC_BYTES,
  MountedImage,
  makeImage,
  recoverByDebugfs,
  recoverByKernel,
} from "./support/journal-images.js";
import { type JournalFormat, JournalWriter, type WrittenPlaces } from "./support/journal-writer.js";

let directory: string;

beforeAll(() => {
  directory = imageDirectory();
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** A crash image as this project recovers it, as e2fsprogs does, and as the kernel does. */
function recover(crash: Buffer, blocks: Float64Array) {
  const blockSize = blockSizeOf(crash);
  const log: string[] = [];
  const journal = new Journal(new ImageJournal(crash, blockSize, blocks), (line) => log.push(line));
  const folded = fold(journal);
  const ours = Buffer.from(crash);
  applyFold(journal, folded, ours, blockSize);
  const other = join(directory, "recovered.img");
  writeFileSync(other, crash);
  recoverByDebugfs(other);
  const byDebugfs = differences(ours, readFileSync(other), blockSize, blocks[0] as number);
  writeFileSync(other, crash);
  const kernelMounts = recoverByKernel(other);
  const byKernel = differences(ours, readFileSync(other), blockSize, blocks[0] as number);
  const changed = differences(ours, crash, blockSize, blocks[0] as number).length;
  return { journal, folded, log, ours, byDebugfs, byKernel, kernelMounts, changed };
}

describe("a disk whose guest crashed shows what the guest's kernel would recover", () => {
  const kinds: [mkfs: string, mount: string, megabytes: number, rounds: number][] = [
    ["mkfs.ext4 -b 1024 -J size=1", "", 32, 20],
    ["mkfs.ext4 -b 1024 -J size=1", "", 32, 150],
    ["mkfs.ext4 -b 4096 -J size=4 -O ^64bit", "", 64, 150],
    ["mkfs.ext4 -b 4096 -J size=4 -O 64bit,^metadata_csum", "", 64, 150],
    ["mkfs.ext4 -b 4096 -J size=4 -O ^metadata_csum,^64bit", "journal_checksum", 64, 150],
    ["mkfs.ext4 -b 1024 -J size=1 -O ^metadata_csum", "journal_async_commit,data=writeback", 32, 150],
    ["mkfs.ext4 -b 1024 -J size=1", "journal_async_commit,data=writeback", 32, 100],
    ["mkfs.ext4 -b 1024 -J size=2", "data=journal", 48, 150],
    ["mkfs.ext4 -b 4096 -J size=4 -O ^metadata_csum", "data=journal", 64, 150],
    ["mkfs.ext4 -b 4096 -J size=8 -O fast_commit", "data=journal", 64, 200],
    ["mkfs.ext3 -b 1024 -J size=1", "", 32, 150],
    ["mkfs.ext3 -b 4096 -J size=4", "data=journal", 64, 100],
    ["mkfs.ext4 -b 2048 -J size=2", "", 48, 100],
  ];
  it.each(kinds)(
    "%s, mounted with '%s', %i MiB, %i rounds",
    (mkfs, mount, megabytes, rounds) => {
      const path = join(directory, "live.img");
      const crash = join(directory, "crash.img");
      makeImage(path, megabytes, mkfs);
      const mounted = new MountedImage(path, mount);
      try {
        busyLoad(mounted.root, rounds, rounds);
        mounted.crashTo(crash);
      } finally {
        mounted.close();
      }
      const result = recover(readFileSync(crash), journalBlocks(crash));
      expect(result.log).toEqual([]);
      expect(result.journal.status).toBe("waiting");
      expect(result.folded.transactions).toBeGreaterThan(10);
      expect(result.changed).toBeGreaterThan(10);
      expect(result.kernelMounts).toBe(true);
      expect(result.byKernel).toEqual([]);
      // e2fsprogs 1.47 goes wrong where the log ends before the journal does.
      if (!mkfs.includes("fast_commit")) expect(result.byDebugfs).toEqual([]);
      if (mount === "data=journal") {
        expect([...result.folded.copies.values()].some((logged) => logged.escaped)).toBe(true);
      }
    },
    30_000,
  );

  it("shows everything in its place when the guest was shut down", () => {
    const path = join(directory, "live.img");
    makeImage(path, 32, "mkfs.ext4 -b 1024 -J size=1");
    const mounted = new MountedImage(path);
    try {
      busyLoad(mounted.root, 20, 1);
    } finally {
      mounted.close();
    }
    const image = readFileSync(path);
    const journal = new Journal(new ImageJournal(image, 1024, journalBlocks(path)), () => {});
    expect(journal.superblock.start).toBe(0);
    expect(fold(journal)).toMatchObject({ transactions: 0, lastSequence: undefined });
    expect(journal.status).toBe("empty");
    expect(journal.fastCommits(256)).toEqual([]);
  }, 120_000);
});

/** A small file system without checksums of its own, and free blocks of it that journals can name. */
let plain: Buffer;
let plainBlocks: Float64Array;
const FREE = 8000;
const BLOCK_SIZE = 1024;

beforeAll(() => {
  const path = join(directory, "plain.img");
  makeImage(path, 12, "mkfs.ext4 -b 1024 -O ^metadata_csum -J size=1");
  plain = readFileSync(path);
  plainBlocks = journalBlocks(path);
}, 120_000);

function filled(byte: number): Buffer {
  return Buffer.alloc(BLOCK_SIZE, byte);
}

function magic(byte: number): Buffer {
  const block = filled(byte);
  MAGIC_BYTES.copy(block);
  return block;
}

/** A journal with a bit of everything: escapes, revocations, blocks logged again, several descriptors. */
function writeEverything(writer: JournalWriter): void {
  writer.add({
    blocks: [
      [FREE, filled(1)],
      [FREE + 1, magic(2)],
      [FREE + 2, filled(3)],
    ],
  });
  writer.add({
    blocks: [
      [FREE + 1, filled(4)],
      [FREE + 3, magic(5)],
    ],
    revoked: [FREE],
  });
  writer.add({ revoked: [FREE + 2, 9999] });
  writer.add({
    blocks: [
      [FREE, filled(6)],
      [FREE + 4, filled(7)],
    ],
    revoked: [FREE + 4],
  });
  writer.add({ blocks: Array.from({ length: 150 }, (_, n) => [FREE + 100 + n, filled(n)]) });
}

function writeJournal(format: JournalFormat, write: (writer: JournalWriter, device: ImageJournal) => void) {
  const image = Buffer.from(plain);
  const device = new ImageJournal(image, BLOCK_SIZE, plainBlocks);
  write(new JournalWriter(device, format), device);
  return image;
}

const VERSIONS = ["none", "v1", "v2", "v3"] as const;

describe("every format of journal is read as the kernel reads it", () => {
  const formats = VERSIONS.flatMap((checksums) =>
    [false, true].flatMap((bits64) => [
      { checksums, bits64 },
      // Across the end of the log, and of the transaction numbers.
      { checksums, bits64, start: 1000, sequence: 0xffff_fffe, uuidInEachTag: true },
      { checksums, bits64, tagsPerDescriptor: 1, asyncCommit: true },
    ]),
  );
  it.each(formats)("%o", (format) => {
    const result = recover(
      writeJournal(format, (writer) => writeEverything(writer)),
      plainBlocks,
    );
    expect(result.folded).toMatchObject({
      transactions: 5,
      badCopies: 0,
      lastSequence: ((format.sequence ?? 7) + 4) >>> 0,
    });
    expect(result.folded.copies.size).toBe(153);
    expect(result.byDebugfs).toEqual([]);
    expect(result.kernelMounts).toBe(true);
    expect(result.byKernel).toEqual([]);
  });

  it("tells a transaction's number, its time, its blocks and what it revokes", () => {
    const image = writeJournal({ checksums: "v3", bits64: true }, (writer) => {
      writer.add({
        blocks: [[FREE, filled(1)]],
        revoked: [5, 2 ** 33 + 1],
        seconds: 1_700_000_123,
      });
    });
    const journal = new Journal(new ImageJournal(image, BLOCK_SIZE, plainBlocks), () => {});
    const transaction = journal.next();
    expect(transaction).toMatchObject({
      sequence: 7,
      commitSeconds: 1_700_000_123,
      commitNanoseconds: 123_456_789,
      start: 1,
      next: 5,
    });
    expect(transaction?.blocks).toMatchObject([{ block: FREE, index: 3, escaped: false, sequence: 7 }]);
    expect([...(transaction?.revoked ?? [])]).toEqual([5, 2 ** 33 + 1]);
    expect(journal.next()).toBeUndefined();
    expect(journal.sequence).toBe(8);
  });

  it("fills a descriptor block to its end without a last tag", () => {
    const image = writeJournal({ checksums: "none", bits64: false }, (writer, device) => {
      const { descriptors } = writer.add({
        blocks: Array.from({ length: 124 }, (_, n) => [FREE + n, filled(n)]),
      });
      const descriptor = device.at(descriptors[0] as number);
      device.image.writeUInt16BE(2, descriptor + 12 + 16 + 123 * 8 + 6);
    });
    const result = recover(image, plainBlocks);
    expect(result.folded.copies.size).toBe(124);
    expect(result.byKernel).toEqual([]);
    expect(result.byDebugfs).toEqual([]);
  });
});

describe("a torn or damaged journal", () => {
  type Damage = [
    name: string,
    versions: readonly (typeof VERSIONS)[number][],
    write: (writer: JournalWriter, device: ImageJournal) => void,
    expected: { transactions: number; badCopies?: number; status: string; like: "kernel" | "before" },
  ];
  const flip = (device: ImageJournal, index: number | undefined, offset: number) => {
    const at = device.at(index as number) + offset;
    device.image[at] = (device.image[at] as number) ^ 0x40;
  };
  /** Two more transactions, the first of them given to `damage`. */
  const twoMore = (
    writer: JournalWriter,
    damage: (places: WrittenPlaces) => void,
    options: { revoked?: number[]; seconds?: number } = {},
  ) => {
    writeEverything(writer);
    const places = writer.add({
      blocks: [
        [FREE, filled(9)],
        [FREE + 9, filled(9)],
      ],
      ...options,
    });
    writer.add({ blocks: [[FREE + 1, filled(10)]] });
    damage(places);
  };
  const damages: Damage[] = [
    [
      "the last transaction has no commit block",
      VERSIONS,
      (writer) => {
        writeEverything(writer);
        writer.add({ blocks: [[FREE, filled(9)]], commit: false });
      },
      { transactions: 5, status: "waiting", like: "kernel" },
    ],
    [
      "a copy is not what was logged",
      ["v2", "v3"],
      (writer, device) => twoMore(writer, (places) => flip(device, places.copies[0], 500)),
      { transactions: 7, badCopies: 1, status: "waiting", like: "kernel" },
    ],
    [
      "a copy is not what was logged, and the commit block tells",
      ["v1"],
      (writer, device) => twoMore(writer, (places) => flip(device, places.copies[0], 500)),
      { transactions: 5, status: "damaged", like: "kernel" },
    ],
    [
      "a commit block is damaged",
      ["v2", "v3"],
      (writer, device) => twoMore(writer, (places) => flip(device, places.commit, 60)),
      { transactions: 5, status: "damaged", like: "kernel" },
    ],
    [
      "only the padding of a commit block is damaged",
      VERSIONS,
      (writer, device) => twoMore(writer, (places) => flip(device, places.commit, 600)),
      { transactions: 7, status: "waiting", like: "kernel" },
    ],
    [
      "a relic of an earlier journal follows",
      ["v1", "v2", "v3"],
      (writer, device) =>
        twoMore(writer, (places) => flip(device, places.descriptors[0], 900), { seconds: 1_600_000_000 }),
      { transactions: 5, status: "waiting", like: "kernel" },
    ],
    // In these the kernel refuses to mount and recovers nothing; here what came before is seen.
    [
      "a tag is damaged",
      ["v2", "v3"],
      (writer, device) => twoMore(writer, (places) => flip(device, places.descriptors[0], 15)),
      { transactions: 5, status: "damaged", like: "before" },
    ],
    [
      "a revoke block is damaged",
      ["v2", "v3"],
      (writer, device) => twoMore(writer, (places) => flip(device, places.revokes[0], 600), { revoked: [1] }),
      { transactions: 5, status: "damaged", like: "before" },
    ],
    [
      "a revoke block claims to be longer than a block",
      VERSIONS,
      (writer, device) =>
        twoMore(
          writer,
          (places) => device.image.writeUInt32BE(1025, device.at(places.revokes[0] as number) + 12),
          { revoked: [1] },
        ),
      { transactions: 5, status: "damaged", like: "before" },
    ],
  ];
  const cases = damages.flatMap(([name, versions, write, expected]) =>
    versions.map((checksums) => ({ name, checksums, write, expected })),
  );
  it.each(cases)("$name ($checksums)", ({ checksums, write, expected }) => {
    const result = recover(writeJournal({ checksums, bits64: true }, write), plainBlocks);
    expect(result.folded.transactions).toBe(expected.transactions);
    expect(result.folded.badCopies).toBe(expected.badCopies ?? 0);
    expect(result.journal.status).toBe(expected.status);
    expect(result.log.length).toBe(expected.status === "damaged" ? 1 : 0);
    if (expected.like === "kernel") {
      expect(result.byKernel).toEqual([]);
    } else {
      expect(result.kernelMounts).toBe(false);
      const intact = writeJournal({ checksums, bits64: true }, (writer) => writeEverything(writer));
      const before = recover(intact, plainBlocks).ours;
      const at = FREE * BLOCK_SIZE;
      expect(result.ours.subarray(at).equals(before.subarray(at))).toBe(true);
    }
  });

  it("does not apply a last transaction whose copies were not there yet (asynchronous commit)", () => {
    for (const checksums of ["v1", "v2", "v3"] as const) {
      const image = writeJournal({ checksums, bits64: true, asyncCommit: true }, (writer, device) => {
        writeEverything(writer);
        const places = writer.add({
          blocks: [
            [FREE, filled(9)],
            [FREE + 9, filled(9)],
          ],
        });
        flip(device, places.copies[1], 100);
      });
      const { folded, journal } = recover(image, plainBlocks);
      expect(folded.transactions).toBe(5);
      expect(journal.status).toBe("waiting");
    }
  });

  it("ends at a transaction that goes round the whole log", () => {
    const image = writeJournal({ checksums: "none", bits64: false }, (writer, device) => {
      writer.add({ revoked: [1], commit: false });
      for (let index = 2; index < device.length; index++) {
        const from = device.at(1);
        device.image.copy(device.image, device.at(index), from, from + BLOCK_SIZE);
      }
    });
    const log: string[] = [];
    const device = new ImageJournal(image, BLOCK_SIZE, plainBlocks);
    const journal = new Journal(device, (line) => log.push(line));
    expect(fold(journal).transactions).toBe(0);
    expect(journal.status).toBe("damaged");
    expect(log).toEqual(["the journal is damaged: transaction 7 does not end"]);
    expect(device.reads).toBeLessThan(device.length + 5);
  });

  it("ends where transactions overrun the start of their own log", () => {
    // Eight transactions make a lap and two blocks: the log could go on for many laps without meeting itself.
    const first = 2;
    const image = writeJournal({ checksums: "none", bits64: false, start: first }, (_writer, device) => {
      const length = device.length - first;
      device.image.writeUInt32BE(first, device.at(0) + 0x14);
      const header = (position: number, type: number, sequence: number) => {
        const at = device.at(first + (position % length));
        MAGIC_BYTES.copy(device.image, at);
        device.image.writeUInt32BE(type, at + 4);
        device.image.writeUInt32BE(sequence, at + 8);
        return at;
      };
      for (let transaction = 0; transaction < 80; transaction++) {
        const descriptor = header(transaction * 128, 1, 7 + transaction);
        for (let tag = 0; tag < 126; tag++) device.image.writeUInt16BE(2, descriptor + 12 + tag * 8 + 6);
        header(transaction * 128 + 127, 2, 7 + transaction);
      }
    });
    const log: string[] = [];
    const journal = new Journal(new ImageJournal(image, BLOCK_SIZE, plainBlocks), (line) => log.push(line));
    expect(fold(journal).transactions).toBe(7);
    expect(log).toEqual(["the journal is damaged: transaction 14 reaches the log's own start"]);
  });
});

describe("a journal that cannot be read says why", () => {
  const broken: [string, (superblock: Buffer) => void, RegExp][] = [
    ["no magic number", (block) => block.writeUInt32BE(0, 0), /no superblock/],
    ["an unknown feature", (block) => block.writeUInt32BE(0x40, 0x28), /feature 0x40/],
    ["another block size", (block) => block.writeUInt32BE(4096, 0xc), /s_blocksize 4096/],
    ["more blocks than there are", (block) => block.writeUInt32BE(99_999, 0x10), /s_maxlen 99999/],
    ["no first block", (block) => block.writeUInt32BE(0, 0x14), /log from block 0/],
    ["a log that ends before it begins", (block) => block.writeUInt32BE(1024, 0x14), /log from block 1024/],
    ["a start past its end", (block) => block.writeUInt32BE(1024, 0x1c), /s_start 1024/],
    ["checksums of two versions", (block) => block.writeUInt32BE(0x18, 0x28), /two versions/],
    ["a wrong checksum", (block) => block.writeUInt32BE(0x10, 0x28), /checksum/],
    [
      "more fast commit blocks than blocks",
      (block) => {
        block.writeUInt32BE(0x20, 0x28);
        block.writeUInt32BE(1024, 0x54);
      },
      /log from block 1 to 0/,
    ],
  ];
  it.each(broken)("%s", (_name, damage, message) => {
    const image = Buffer.from(plain);
    const device = new ImageJournal(image, BLOCK_SIZE, plainBlocks);
    damage(image.subarray(device.at(0), device.at(0) + BLOCK_SIZE));
    expect(() => new Journal(device, () => {})).toThrow(FileSystemError);
    expect(() => new Journal(device, () => {})).toThrow(message);
  });

  it("reads what lies before a block that cannot be read", () => {
    const image = writeJournal({ checksums: "v3", bits64: true }, (writer) => writeEverything(writer));
    const device = new ImageJournal(image, BLOCK_SIZE, plainBlocks);
    const read = device.read.bind(device);
    device.read = (index, target, offset) => {
      if (index === 7) throw new FileSystemError(5, "journal block 7 cannot be read");
      read(index, target, offset);
    };
    const log: string[] = [];
    const journal = new Journal(device, (line) => log.push(line));
    expect(fold(journal).transactions).toBe(1);
    expect(log).toEqual(["the journal is damaged: journal block 7 cannot be read"]);
  });
});

describe("checksums", () => {
  const digits = Buffer.from("123456789");

  it("are the kernel's", () => {
    expect((crc32c(0xffffffff, digits, 0, 9) ^ 0xffffffff) >>> 0).toBe(0xe3069283);
    expect(crc32be(0xffffffff, digits, 0, 9)).toBe(0x0376e6e7);
    expect(crc32c(0xffffffff, Buffer.alloc(32), 0, 32)).toBe((0x8a9136aa ^ 0xffffffff) >>> 0);
  });

  it("do not depend on how the bytes are divided", () => {
    const bytes = Buffer.from(Array.from({ length: 300 }, (_, n) => (n * 7919) & 255));
    for (const sum of [crc32c, crc32be]) {
      for (let length = 0; length < 70; length++) {
        let one = 99;
        for (let at = 3; at < 3 + length; at++) one = sum(one, bytes, at, at + 1);
        expect(sum(99, bytes, 3, 3 + length)).toBe(one);
      }
      expect(() => sum(0, bytes, 10, 301)).toThrow(RangeError);
      expect(() => sum(0, bytes, 10, 9)).toThrow(RangeError);
    }
  });
});
