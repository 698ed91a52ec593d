import { execFileSync } from "node:child_process";
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { fold } from "../src/filesystems/ext/journal/fold.js";
import { Journal, type LoggedBlock, type Transaction } from "../src/filesystems/ext/journal/journal.js";
import { blockSizeOf, FileJournal, ImageJournal } from "./support/journal-device.js";
import {
  busyLoad,
  imageDirectory,
  journalBlocks,
  MountedImage,
  makeImage,
  sync,
} from "./support/journal-images.js";
import { JournalWriter } from "./support/journal-writer.js";

let directory: string;
let path: string;
let mounted: MountedImage | undefined;
let fd = -1;

beforeAll(() => {
  directory = imageDirectory();
  path = join(directory, "live.img");
});

afterEach(() => {
  mounted?.close();
  mounted = undefined;
  if (fd >= 0) closeSync(fd);
  fd = -1;
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Starts a guest on a new disk that has been written to once; returns its root and its journal as it is read live. */
function start(
  mkfs: string,
  mount = "",
): { root: string; journal: Journal; log: string[]; blocks: Float64Array } {
  makeImage(path, 48, mkfs);
  mounted = new MountedImage(path, mount);
  write(mounted.root, "first");
  fd = openSync(path, "r");
  const image = readFileSync(path);
  const log: string[] = [];
  const blocks = journalBlocks(path);
  const device = new FileJournal(fd, blockSizeOf(image), blocks);
  return { root: mounted.root, journal: new Journal(device, (line) => log.push(line)), log, blocks };
}

function write(root: string, name: string): void {
  writeFileSync(join(root, name), name);
  sync(join(root, name));
}

/** Takes what there is; returns how many transactions. */
function takeAll(journal: Journal, take?: (transaction: Transaction) => void): number {
  let count = 0;
  for (let next = journal.next(); next !== undefined; next = journal.next()) {
    take?.(next);
    count++;
  }
  return count;
}

describe("the journal of a running guest", () => {
  it("gives each transaction once, as soon as it is finished", () => {
    const { root, journal } = start("mkfs.ext4 -b 4096 -J size=4");
    expect(takeAll(journal)).toBeGreaterThan(0);
    expect(journal.status).toBe("waiting");
    for (let n = 0; n < 20; n++) {
      const { sequence } = journal;
      expect(journal.next()).toBeUndefined();
      write(root, `file${n}`);
      const transaction = journal.next();
      expect(transaction?.sequence).toBe(sequence);
      expect(journal.holds(sequence)).toBe(true);
      takeAll(journal);
      expect(journal.status).toBe("waiting");
    }
  }, 120_000);

  it.each([
    ["mkfs.ext4 -b 1024 -J size=1", ""],
    ["mkfs.ext4 -b 1024 -J size=1", "data=journal"],
    ["mkfs.ext4 -b 1024 -J size=1 -O ^metadata_csum", "journal_checksum"],
    ["mkfs.ext3 -b 1024 -J size=1", ""],
  ])(
    "followed for many laps, ends at the blocks that a recovery would write (%s, '%s')",
    (mkfs, mount) => {
      const { root, journal, log, blocks: where } = start(mkfs, mount);
      const copies = new Map<number, LoggedBlock>();
      let laps = 0;
      const take = (transaction: Transaction) => {
        for (const logged of transaction.blocks) copies.set(logged.block, logged);
        for (const block of transaction.revoked) copies.delete(block);
        if (transaction.next < transaction.start) laps++;
      };
      let taken = 0;
      for (let round = 0; round < 60; round++) {
        busyLoad(root, 4, round);
        taken += takeAll(journal, take);
        expect(journal.status).toBe("waiting");
        execFileSync("rm", ["-rf", "--", ...[0, 1, 2, 3].map((n) => join(root, `d${n}`))]);
      }
      const crash = join(directory, "crash.img");
      (mounted as MountedImage).crashTo(crash);
      taken += takeAll(journal, take);
      expect(taken).toBeGreaterThan(60);
      expect(laps).toBeGreaterThan(1);
      expect(log).toEqual([]);
      const image = readFileSync(crash);
      const still = new Journal(new ImageJournal(image, blockSizeOf(image), where), () => {});
      const recovered = fold(still);
      expect(still.sequence).toBe(journal.sequence);
      expect(recovered.copies.size).toBeGreaterThan(5);
      const blocks = (map: Map<number, LoggedBlock>) => [...map.values()].sort((a, b) => a.block - b.block);
      // What was logged before the log's present start is in its place.
      const tail = still.superblock.sequence;
      expect(blocks(copies).filter((logged) => logged.sequence >= tail)).toEqual(blocks(recovered.copies));
    },
    60_000,
  );

  it("says so when the log went round before it was read", () => {
    const { root, journal } = start("mkfs.ext4 -b 1024 -J size=1");
    takeAll(journal);
    busyLoad(root, 200, 3);
    expect(journal.next()).toBeUndefined();
    expect(journal.status).toBe("overrun");
    // It stays so until it is told to start again.
    expect(journal.next()).toBeUndefined();
    expect(journal.status).toBe("overrun");
    journal.reload();
    expect(takeAll(journal)).toBeGreaterThan(0);
    expect(journal.status).toBe("waiting");
  }, 120_000);

  it("says so when the guest was started again", () => {
    const { journal } = start("mkfs.ext4 -b 1024 -J size=1");
    takeAll(journal);
    mounted?.close();
    mounted = new MountedImage(path);
    write(mounted.root, "again");
    expect(journal.next()).toBeUndefined();
    expect(journal.status).toBe("overrun");
    journal.reload();
    expect(takeAll(journal)).toBeGreaterThan(0);
  }, 120_000);

  it("is empty after a shutdown, and begun anew after the next start", () => {
    const { journal } = start("mkfs.ext4 -b 1024 -J size=1");
    takeAll(journal);
    mounted?.close();
    expect(journal.next()).toBeUndefined();
    expect(journal.status).toBe("empty");
    mounted = new MountedImage(path);
    write(mounted.root, "again");
    expect(journal.next()).toBeUndefined();
    expect(journal.status).toBe("overrun");
  }, 120_000);

  it("goes on where it was after the guest emptied it (freeze and thaw)", () => {
    const { root, journal } = start("mkfs.ext4 -b 1024 -J size=1");
    takeAll(journal);
    execFileSync("fsfreeze", ["--freeze", root]);
    try {
      takeAll(journal);
      expect(journal.status).toBe("empty");
    } finally {
      execFileSync("fsfreeze", ["--unfreeze", root]);
    }
    write(root, "thawed");
    expect(takeAll(journal)).toBeGreaterThan(0);
    expect(journal.status).toBe("waiting");
  }, 120_000);
});

it("a transaction shows only when its commit block is there, whatever was read before", () => {
  const blank = join(directory, "blank.img");
  makeImage(blank, 12, "mkfs.ext4 -b 1024 -O ^metadata_csum -J size=1");
  const device = new ImageJournal(readFileSync(blank), 1024, journalBlocks(blank));
  const writer = new JournalWriter(device, { checksums: "v3", bits64: true });
  const journal = new Journal(device, () => {});
  const before = Buffer.from(device.image);
  writer.add({ blocks: [[8000, Buffer.alloc(1024, 1)]], revoked: [5] });
  const after = Buffer.from(device.image);
  // Its blocks reach the disk one by one: revocations, descriptor, copy, commit.
  before.copy(device.image);
  for (let index = 1; index <= 4; index++) {
    expect(journal.next()).toBeUndefined();
    expect(journal.status).toBe("waiting");
    const at = device.at(index);
    after.copy(device.image, at, at, at + 1024);
  }
  expect(journal.next()).toMatchObject({ sequence: 7 });
  expect(journal.next()).toBeUndefined();
});

it("copies and revocations that have been overwritten are not given out", () => {
  const blank = join(directory, "blank.img");
  makeImage(blank, 12, "mkfs.ext4 -b 1024 -O ^metadata_csum -J size=1");
  const device = new ImageJournal(readFileSync(blank), 1024, journalBlocks(blank));
  const writer = new JournalWriter(device, { checksums: "v3", bits64: true });
  writer.add({ blocks: [[8000, Buffer.alloc(1024, 1)]], revoked: [5] });
  const journal = new Journal(device, () => {});
  const transaction = journal.next();
  const copy = Buffer.alloc(1024);
  const logged = transaction?.blocks[0] as LoggedBlock;
  journal.readCopy(logged, copy, 0);
  expect(copy).toEqual(Buffer.alloc(1024, 1));
  device.image.fill(7, device.at(1), device.at(4));
  expect(() => journal.readCopy(logged, copy, 0)).toThrow(/not the copy of block 8000/);
  expect(() => [...(transaction?.revoked ?? [])]).toThrow(/overwritten/);
});
