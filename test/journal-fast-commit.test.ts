import { execFileSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ChangedMap, type MappedRange } from "../src/filesystems/ext/journal/fast-commit-map.js";
import { fold } from "../src/filesystems/ext/journal/fold.js";
import { Journal } from "../src/filesystems/ext/journal/journal.js";
import { openExt } from "../src/filesystems/ext/open.js";
import { Run } from "../src/filesystems/ext/run.js";
import { FileType } from "../src/filesystems/filesystem.js";
import { BlockCache } from "../src/versions/block-cache.js";
import { applyFold, blockSizeOf, ImageJournal } from "./support/journal-device.js";
import {
  imageDirectory,
  journalBlocks,
  MountedImage,
  makeImage,
  makeRandom,
} from "./support/journal-images.js";
import {
  type Described,
  describeFileSystem,
  describeMount,
  MemorySource,
  withFastCommits,
} from "./support/journal-tree.js";
import { replayFaults } from "./support/replay-faults.js";

let directory: string;
let crash: string;

beforeAll(() => {
  directory = imageDirectory();
  crash = join(directory, "crash.img");
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** What every guest has before the changes; `old` has more extents than its inode has room for. */
const BEFORE = `mkdir o; cd o; mkdir sub; for i in 1 2 3 4 5; do echo $i > f$i; done; ln f3 h2
for i in $(seq 1 2 20); do dd if=/dev/urandom of=old bs=4k seek=$i count=1 conv=notrunc status=none; done
sync -f .; echo first >> f4; sync f4`;
/** What ends the changes: all files are on the disk, by fast commits. */
const AFTER = "for f in $(find . -type f); do sync $f; done; echo z >> f5; sync f5";

/** Makes a guest's disk after `changes`, and what the guest saw at the end. */
function guestThat(changes: string, mkfs: string): Map<string, Described> {
  const path = join(directory, "live.img");
  makeImage(path, 64, mkfs);
  const mounted = new MountedImage(path, "commit=300");
  try {
    const script = `set -e\n${BEFORE}\n${changes}\n${AFTER}`;
    execFileSync("bash", ["-c", script], { cwd: mounted.root });
    mounted.crashTo(crash);
    return describeMount(mounted.root);
  } finally {
    mounted.close();
  }
}

/** The crash image with its full transactions in place, and its journal. */
function committed(): { image: Buffer; journal: Journal; log: string[] } {
  const image = readFileSync(crash);
  const blockSize = blockSizeOf(image);
  const log: string[] = [];
  const journal = new Journal(new ImageJournal(image, blockSize, journalBlocks(crash)), (line) =>
    log.push(line),
  );
  const folded = fold(journal);
  applyFold(journal, folded, image, blockSize);
  return { image, journal, log };
}

/**
 * Leaves out what differs: a directory's times, which are the replay's after one and not logged; against the kernel,
 * what its replay does not get right of directories; with inline data, what becomes of a
 * directory that outgrows its inode, which is not logged.
 */
function comparable(tree: Map<string, Described>, left: "kernel" | "inline" | "guest"): Map<string, object> {
  const found = new Map<string, object>();
  for (const [path, described] of tree) {
    const isDirectory = (described.mode & FileType.MASK) === FileType.DIRECTORY;
    const { mtime, ctime, nlink, blocks, size, ...rest } = described;
    if (!isDirectory) found.set(path, described);
    else if (left === "inline") found.set(path, rest);
    else found.set(path, left === "kernel" ? { ...rest, size } : { ...rest, size, nlink, blocks });
  }
  return found;
}

const DEFAULT = "mkfs.ext4 -b 4096 -J size=8 -O fast_commit";

describe("a disk with fast commits shows what the guest saw", () => {
  const changes: [name: string, script: string, mkfs?: string][] = [
    ["a file grows", "echo x >> f1"],
    ["a file shrinks", "truncate -s 3 old; sync old; truncate -s 20000 old"],
    ["a file is made", "echo hello > new; sync new; echo more >> new"],
    ["a file goes", "rm f1"],
    ["a file is made anew under its name and number", "rm f1; echo new > f1"],
    ["a file gets a second name", "ln f1 f9"],
    ["a file loses its second name", "rm h2"],
    ["a file moves", "mv f1 g1; sync g1; mv g1 sub/g1"],
    ["a file takes another's place", "echo q > t; sync t; mv t f1"],
    ["two files change places", "mv f1 t; mv f2 f1; mv t f2"],
    ["mode and owner change", "chmod 600 f1; chown 5:6 f2; touch -d 2001-02-03 f3"],
    ["a device node and links", "mknod c c 5 7; ln -s short l; ln -s $(printf 'x%.0s' $(seq 100)) m"],
    [
      "a directory is made, with files and directories",
      "mkdir n; echo 1 > n/a; sync n/a; mkdir n/m; echo 2 > n/m/b",
    ],
    ["a directory goes", "rmdir sub"],
    ["a directory comes and goes", "mkdir n; mkdir n/a; sync f1; touch f1; sync f1; rmdir n/a"],
    ["many files", "for i in $(seq 200); do echo $i > many$i; done"],
    ["a large file", "dd if=/dev/urandom of=big bs=1M count=5 status=none"],
    [
      "a file full of holes",
      "for i in $(seq 0 3 60); do dd if=/dev/urandom of=old bs=4k seek=$i count=1 conv=notrunc status=none; sync old; done",
    ],
    [
      "space is reserved, and a hole punched",
      "fallocate -l 500000 old; sync old; fallocate -p -o 8192 -l 12000 old",
    ],
    ["small inodes", "echo x >> f1; echo y > new; mkdir n", `${DEFAULT} -I 128`],
    [
      "blocks of 1 KiB",
      "echo x > new; mkdir n; rm f1; echo y >> old",
      "mkfs.ext4 -b 1024 -J size=4 -O fast_commit",
    ],
    ["no checksums", "echo x > new; mkdir n; rm f1; truncate -s 5 old", `${DEFAULT},^metadata_csum`],
    ["inline data", "echo x > new; echo y >> f1; mkdir n; echo z > n/small", `${DEFAULT},inline_data`],
  ];
  it.each(changes)(
    "%s",
    (_name, script, mkfs = DEFAULT) => {
      const guest = guestThat(script, mkfs);
      const log: string[] = [];
      const source = new MemorySource(readFileSync(crash));
      const ours = describeFileSystem(openExt(source, new BlockCache(8 << 20), (line) => log.push(line)));
      expect(log).toEqual([]);
      const isInline = mkfs.includes("inline_data");
      const likeGuest = isInline ? "inline" : "guest";
      expect(comparable(ours, likeGuest)).toEqual(comparable(guest, likeGuest));
      const recovered = new MountedImage(crash);
      let kernel: Map<string, Described>;
      try {
        kernel = describeMount(recovered.root);
      } finally {
        recovered.close();
      }
      const likeKernel = isInline ? "inline" : "kernel";
      expect(comparable(ours, likeKernel)).toEqual(comparable(kernel, likeKernel));
    },
    30_000,
  );

  it("a file that takes a deleted one's number has none of its attributes", () => {
    // So few inodes that the number is used again at once. Attributes in the inode are not recorded, as a new one has
    // none; the kernel's own replay leaves those of the deleted file there.
    const script = `i=0; while echo x > many$i; do i=$((i+1)); done 2> /dev/null
setfattr -n user.old -v old many3; sync -f .; rm many3; sync -f .; echo y >> f1; sync f1; echo new > fresh; sync fresh
ls -i fresh > f2; getfattr -d fresh >> f2`;
    guestThat(script, "mkfs.ext4 -b 4096 -N 64 -J size=8 -O fast_commit");
    const fileSystem = openExt(new MemorySource(readFileSync(crash)), new BlockCache(8 << 20), () => {});
    const directory = fileSystem.lookup(fileSystem.rootInode, Buffer.from("o"));
    const ino = fileSystem.lookup(directory, Buffer.from("fresh"));
    const told = Buffer.alloc(100);
    const length = fileSystem.read(fileSystem.lookup(directory, Buffer.from("f2")), 0, told.length, told, 0);
    expect(told.toString("latin1", 0, length)).toBe(`${ino} fresh\n`);
    expect(fileSystem.attributeNames(ino)).toEqual([]);
    expect(replayFaults(crash).inodes).toContain(ino);
  }, 120_000);

  it("takes only complete fast commits, of the transaction that is next", () => {
    guestThat("for i in 1 2 3 4 5 6; do echo $i >> f1; sync f1; done", DEFAULT);
    const { image, journal } = committed();
    const blocks = journalBlocks(crash);
    const all = journal.fastCommits(256);
    expect(all.length).toBeGreaterThan(6);
    const { fastCommitFirst } = journal.superblock;
    const at = (n: number) => (blocks[fastCommitFirst + n] as number) * 4096;
    // Each is a block of its own here, some with nothing but a tail; damage in one ends them there.
    for (let n = 0; n < all.length; n++) {
      image[at(n) + 10] = (image[at(n) + 10] as number) ^ 1;
      expect(journal.fastCommits(256)).toEqual(all.slice(0, n));
      image[at(n) + 10] = (image[at(n) + 10] as number) ^ 1;
    }
    // The head of another transaction.
    const tid = image.readUInt32LE(at(0) + 8);
    image.writeUInt32LE(tid - 1, at(0) + 8);
    expect(journal.fastCommits(256)).toEqual([]);
    image.writeUInt32LE(tid, at(0) + 8);
    // A feature that is not known.
    image.writeUInt32LE(4, at(0) + 4);
    expect(journal.fastCommits(256)).toEqual([]);
    image.writeUInt32LE(0, at(0) + 4);
    // An inode that is too long, though its checksum is right.
    expect(journal.fastCommits(128).length).toBe(0);
    expect(journal.fastCommits(256)).toEqual(all);
  }, 120_000);

  it("passes over records that make no sense", () => {
    guestThat("echo x >> f1", DEFAULT);
    const { image } = committed();
    const log: string[] = [];
    const name = Buffer.from("ghost");
    const fileSystem = withFastCommits(
      image,
      [
        [
          { kind: "add", ino: 14, block: 0, length: 5, physical: 2 ** 40, unwritten: false },
          { kind: "add", ino: 900_000, block: 0, length: 5, physical: 3000, unwritten: false },
          { kind: "link", parent: 12, ino: 900_000, name },
          { kind: "unlink", parent: 12, ino: 4000, name: Buffer.from("f1") },
          { kind: "link", parent: 12, ino: 15, name: Buffer.from("f1") },
          { kind: "delete", ino: 4000, block: 0, length: 1 },
        ],
      ],
      (line) => log.push(line),
    );
    const ours = describeFileSystem(fileSystem);
    expect(ours.has("/o/ghost")).toBe(false);
    expect(ours.get("/o/f1")?.ino).toBe(14);
    expect(log.length).toBe(3);
  }, 120_000);
});

describe("a changed map", () => {
  it("has the latest range at each block", () => {
    const random = makeRandom(5);
    for (let round = 0; round < 200; round++) {
      const ranges: MappedRange[] = Array.from({ length: random(30) }, () => ({
        block: random(100),
        length: 1 + random(40),
        physical: random(3) === 0 ? 0 : 1000 + random(5000),
        unwritten: random(2) === 0,
      }));
      const map = new ChangedMap(ranges);
      const run = new Run();
      for (let block = 0; block < 160; block++) {
        const range = ranges.findLast((one) => one.block <= block && block < one.block + one.length);
        map.map(block, run);
        const physical =
          range === undefined || range.physical === 0 ? 0 : range.physical + block - range.block;
        expect(run.physical).toBe(physical);
        if (physical !== 0) expect(run.unwritten).toBe(range?.unwritten);
        expect(run.length).toBeGreaterThan(0);
        // The run must hold as far as it says.
        const last = block + Math.min(run.length, 200) - 1;
        const there = ranges.findLast((one) => one.block <= last && last < one.block + one.length);
        const expected =
          there === undefined || there.physical === 0 ? 0 : there.physical + last - there.block;
        expect(physical === 0 ? 0 : physical + last - block).toBe(expected);
      }
    }
  });

  it("is made in a moment from many ranges, and reaches to the last block", () => {
    const ranges = Array.from({ length: 200_000 }, (_, n) => ({
      block: (n * 7919) % 400_000,
      length: 1000,
      physical: 5000 + n,
      unwritten: false,
    }));
    const started = performance.now();
    const map = new ChangedMap([
      ...ranges,
      { block: 500_000, length: 2 ** 32, physical: 0, unwritten: false },
    ]);
    expect(performance.now() - started).toBeLessThan(2000);
    const run = new Run();
    map.map(2 ** 32 - 1, run);
    expect(run.physical).toBe(0);
    expect(run.length).toBe(1);
  });
});
