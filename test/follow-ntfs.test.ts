import {
  appendFileSync,
  closeSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { Errno, type FileSystem } from "../src/filesystems/filesystem.js";
import { followFileSystem } from "../src/filesystems/formats.js";
import type { IoError } from "../src/images/io-error.js";
import { Range } from "../src/images/range.js";
import { openRawImage } from "../src/images/raw.js";
import { BlockCache } from "../src/versions/block-cache.js";
import { mountNtfs } from "./support/compressed.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { Versions } from "./support/versions.js";

const folder = workFolder("follow-ntfs");
const ROUNDS = 3;
/** ms after which another look compares anything at all. */
const BETWEEN_LOOKS = 22;

afterAll(cleanUp);

async function makeImage(name: string, size: string, ...options: readonly string[]): Promise<string> {
  const image = join(folder, `${name}.img`);
  await run("truncate", ["-s", size, image]);
  await run("mkntfs", ["-q", "-Q", "-F", ...options, image]);
  return image;
}

/** Lets ntfs-3g work on an image. */
async function work(image: string, action: (inside: string) => void | Promise<void>): Promise<void> {
  const inside = `${image}-inside`;
  const unmount = await mountNtfs(image, inside, "noatime,streams_interface=xattr");
  try {
    await action(inside);
  } finally {
    await unmount();
  }
}

/** The same numbers in each run. */
function generator(seed: number): (below: number) => number {
  let random = seed;
  return (below) => {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    return (random >>> 8) % below;
  };
}

/** Looks until nothing has been found for a while; returns what contradicted itself in any version. */
async function settle(versions: Versions): Promise<string[]> {
  const found: string[] = [];
  for (let until = performance.now() + 300; performance.now() < until; await sleep(5)) {
    const { count } = versions;
    found.push(...versions.look());
    if (versions.isWaiting || versions.count > count) until = performance.now() + 300;
  }
  return found;
}

/** The names below a directory, with what is in the files. */
function tree(fileSystem: FileSystem, directory = fileSystem.rootInode, path = ""): Map<string, string> {
  const found = new Map<string, string>();
  const entries: Array<[string, number]> = [];
  fileSystem.list(directory, 0, {
    entry: (name, at, length, ino) => {
      entries.push([name.toString("utf8", at, at + length), ino]);
      return true;
    },
  });
  for (const [name, ino] of entries) {
    if (name === "." || name === "..") continue;
    const at = `${path}/${name}`;
    try {
      const bytes = Buffer.alloc(1 << 20);
      found.set(at, bytes.toString("latin1", 0, fileSystem.read(ino, 0, bytes.length, bytes, 0)));
    } catch (error) {
      if ((error as IoError).errno !== Errno.EISDIR) throw error;
      found.set(at, "directory");
      for (const [below, content] of tree(fileSystem, ino, at)) found.set(below, content);
    }
  }
  return found;
}

/** What a guest does between two states of its volume, in a few rounds. */
function change(inside: string, round: number): void {
  const [here, there] = round % 2 === 0 ? ["many", "other"] : ["other", "many"];
  const file = (n: number) => `file ${n} with a name that makes the index grow`;
  for (let n = round * 6; n < round * 6 + 6; n += 3) {
    rmSync(join(inside, "many", file(n)));
    renameSync(join(inside, "many", file(n + 1)), join(inside, "other", `moved ${n}`));
    appendFileSync(join(inside, "many", file(n + 2)), `more ${n}`.repeat(n * 40));
  }
  for (let n = 0; n < 25; n++)
    writeFileSync(join(inside, there as string, `${round} new ${n} ${"x".repeat(n)}`), `${n}`.repeat(n * 9));
  linkSync(join(inside, "one"), join(inside, here as string, `linked ${round}`));
  writeFileSync(join(inside, "two"), `two ${round}`);
  renameSync(join(inside, "two"), join(inside, "one"));
  mkdirSync(join(inside, "many", `deep ${round}`));
  writeFileSync(join(inside, "many", `deep ${round}`, "inner"), "inner");
  renameSync(join(inside, `directory ${round}`), join(inside, "other", `directory ${round}`));
  rmdirSync(join(inside, `empty ${round}`));
}

describe.each([
  ["by the record", 1024, []],
  ["by the page", 4096, []],
  ["by the sector", 512, []],
  ["by the page, clusters of 512", 4096, ["-c", "512"]],
])("NTFS that is written %s", (name, unit, options) => {
  test("whatever is written first, each version agrees in itself, and the last is the guest's", async () => {
    const image = await makeImage(name.replace(/\W/g, "-"), "16M", ...options);
    await work(image, (inside) => {
      for (const directory of ["many", "other"]) mkdirSync(join(inside, directory));
      for (let n = 0; n < 90; n++)
        writeFileSync(join(inside, "many", `file ${n} with a name that makes the index grow`), `old ${n}`);
      writeFileSync(join(inside, "one"), "one".repeat(2000));
      for (let round = 0; round < ROUNDS; round++)
        for (const kind of ["directory", "empty"]) mkdirSync(join(inside, `${kind} ${round}`));
    });
    const versions = new Versions(image);
    const contradictions = await settle(versions);
    const next = generator(99);
    const after = `${image}-after`;
    for (let round = 0; round < ROUNDS; round++) {
      copyFileSync(image, after);
      await work(after, (inside) => change(inside, round));
      const [old, now] = [readFileSync(image), readFileSync(after)];
      const writes: number[] = [];
      for (let at = 0; at < old.length; at += unit)
        if (old.compare(now, at, at + unit, at, at + unit) !== 0)
          writes.splice(next(writes.length + 1), 0, at);
      const disk = openSync(image, "r+");
      // All within the time for which what does not agree is held back.
      const each = Math.ceil(writes.length / 20);
      for (const [n, at] of writes.entries()) {
        writeSync(disk, now, at, unit, at);
        if (n % each !== 0) continue;
        await sleep(BETWEEN_LOOKS);
        contradictions.push(...versions.look());
      }
      closeSync(disk);
      contradictions.push(...(await settle(versions)));
    }
    // On a host that is too busy for that, some is taken as it stands.
    if (versions.log.length === 0) expect(contradictions).toEqual([]);
    expect(tree(versions.fileSystem)).toEqual(tree(new Versions(after).fileSystem));
    expect(versions.count).toBeGreaterThan(ROUNDS);
  }, 120_000);
});

test.each<[string, (inside: string) => void]>([
  ["created", (inside) => writeFileSync(join(inside, "directory/new"), "new")],
  ["deleted", (inside) => rmSync(join(inside, "directory/old"))],
  ["renamed", (inside) => renameSync(join(inside, "directory/old"), join(inside, "elsewhere/name"))],
  ["linked", (inside) => linkSync(join(inside, "directory/old"), join(inside, "elsewhere/second"))],
  ["a new directory", (inside) => mkdirSync(join(inside, "directory/below"))],
])(
  "a name counts when its file's record and its directory have it, whichever comes first (%s)",
  async (name, action) => {
    const before = await makeImage(`one-${name.replace(/\W/g, "-")}`, "4M");
    await work(before, (inside) => {
      for (const directory of ["directory", "elsewhere"]) mkdirSync(join(inside, directory));
      writeFileSync(join(inside, "directory/old"), "old");
      writeFileSync(join(inside, "gone"), "");
      rmSync(join(inside, "gone"));
    });
    const after = `${before}-after`;
    copyFileSync(before, after);
    await work(after, action);
    const [old, now] = [readFileSync(before), readFileSync(after)];
    const writes: number[] = [];
    for (let at = 0; at < old.length; at += 1024)
      if (old.compare(now, at, at + 1024, at, at + 1024) !== 0) writes.push(at);
    for (const order of [writes, writes.toReversed()]) {
      const image = `${before}-between`;
      copyFileSync(before, image);
      const versions = new Versions(image);
      const contradictions: string[] = [];
      while (versions.count === 0) contradictions.push(...versions.look());
      const disk = openSync(image, "r+");
      for (const at of order) {
        writeSync(disk, now, at, 1024, at);
        for (let looks = 0; looks < 3; looks++) {
          await sleep(BETWEEN_LOOKS);
          contradictions.push(...versions.look());
        }
      }
      closeSync(disk);
      contradictions.push(...(await settle(versions)));
      expect(versions.log).toEqual([]);
      expect(contradictions).toEqual([]);
      expect(tree(versions.fileSystem)).toEqual(tree(new Versions(after).fileSystem));
    }
  },
  20_000,
);

test("bytes of a file are never those of another one that got its clusters, in whatever version it is known", async () => {
  const image = await makeImage("reused", "4M", "-c", "4096");
  await work(image, (inside) => {
    for (let n = 0; n < 8; n++) writeFileSync(join(inside, `old-${n}`), "old".repeat(40_000));
  });
  const versions = new Versions(image);
  await settle(versions);
  const { fileSystem } = versions;
  const files = Array.from({ length: 8 }, (_, n) =>
    fileSystem.lookup(fileSystem.rootInode, Buffer.from(`old-${n}`)),
  );
  const bytes = Buffer.alloc(120_000);
  for (const ino of files) expect(fileSystem.read(ino, 0, bytes.length, bytes, 0)).toBe(bytes.length);
  await work(image, (inside) => {
    for (let n = 0; n < 8; n += 2) rmSync(join(inside, `old-${n}`));
    try {
      for (let n = 0; n < 40; n++) writeFileSync(join(inside, `new-${n}`), "NEW".repeat(20_000));
    } catch {
      // Now it is full: all clusters of those that were removed are in use again.
    }
  });
  // No version has been taken since.
  for (const [n, ino] of files.entries()) {
    let seen = "";
    try {
      seen = bytes.toString("latin1", 0, fileSystem.read(ino, 0, bytes.length, bytes, 0));
    } catch (error) {
      expect((error as IoError).errno).toBe(Errno.ESTALE);
      continue;
    }
    expect(seen, `old-${n}`).toBe("old".repeat(40_000));
    expect(n % 2).toBe(1);
  }
  await settle(versions);
  expect(fileSystem.lookup(fileSystem.rootInode, Buffer.from("old-0"))).toBe(0);
  const raw = Buffer.alloc(4 << 20);
  const disk = openSync(image, "r");
  readSync(disk, raw, 0, raw.length, 0);
  closeSync(disk);
  // It was reused indeed.
  expect(raw.toString("latin1").split("old".repeat(1000)).length).toBeLessThan(8 * 40);
});

test("a listing that takes several requests is of one version", async () => {
  const image = await makeImage("listing", "16M");
  const name = (n: number) => `name ${String(n).padStart(4, "0")} ${"x".repeat(40)}`;
  await work(image, (inside) => {
    for (let n = 0; n < 400; n += 2) writeFileSync(join(inside, name(n)), "");
  });
  const versions = new Versions(image);
  await settle(versions);
  const { fileSystem } = versions;
  const found: string[] = [];
  const some = (position: number, most: number): number => {
    let at = position;
    let count = 0;
    fileSystem.list(fileSystem.rootInode, position, {
      entry: (buffer, start, length, _ino, _type, next) => {
        if (count++ === most) return false;
        found.push(buffer.toString("utf8", start, start + length));
        at = next;
        return true;
      },
    });
    return at;
  };
  const position = some(0, 50);
  await work(image, (inside) => {
    for (let n = 1; n < 400; n += 2) writeFileSync(join(inside, name(n)), "");
    for (let n = 0; n < 400; n += 8) rmSync(join(inside, name(n)));
  });
  expect(await settle(versions)).toEqual([]);
  let at = position;
  for (let last = -1; at !== last; ) {
    last = at;
    at = some(at, 30);
  }
  const expected = Array.from({ length: 200 }, (_, n) => name(n * 2));
  expect(found.filter((one) => one.startsWith("name")).sort()).toEqual(expected);
});

function untilFull(action: () => void): void {
  try {
    for (;;) action();
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toBe("ENOSPC");
  }
}

test("a file in so many pieces that it needs several records is whole in each version, while it grows", async () => {
  const image = await makeImage("pieces", "8M", "-c", "512");
  await work(image, (inside) => {
    mkdirSync(join(inside, "small"));
    writeFileSync(join(inside, "rest"), "");
    let files = 0;
    untilFull(() => writeFileSync(join(inside, "small", `${files++}`), "-".repeat(4096)));
    // It may be records that there is no room for: what is free from now on lies between the small files.
    untilFull(() => appendFileSync(join(inside, "rest"), "-".repeat(512)));
    const next = generator(7);
    for (let n = 0; n < files - 1; n++) if (next(2) === 0) rmSync(join(inside, "small", `${n}`));
  });
  const inside = `${image}-inside`;
  const versions = new Versions(image);
  const unmount = await mountNtfs(image, inside, "noatime");
  const faults: string[] = [];
  let seen = 0;
  let pieces = 0;
  try {
    const { fileSystem } = versions;
    const bytes = Buffer.alloc(4 << 20);
    const check = () => {
      const ino = fileSystem.lookup(fileSystem.rootInode, Buffer.from("pieces"));
      if (ino === 0) return;
      const length = fileSystem.read(ino, 0, bytes.length, bytes, 0);
      for (let at = 0; at < length; at += 512) {
        const there = bytes.toString("latin1", at, at + 8);
        if (there !== String(at).padStart(8, "p")) faults.push(`${there} at ${at} of ${length}`);
      }
      seen = Math.max(seen, length);
    };
    for (let isFull = false; !isFull; pieces++) {
      const stamp = (k: number) => String(pieces * 4096 + k * 512).padStart(8, "p");
      const bytes = Array.from({ length: 8 }, (_, k) => stamp(k).padEnd(512, ".")).join("");
      try {
        appendFileSync(join(inside, "pieces"), bytes);
      } catch (error) {
        expect((error as NodeJS.ErrnoException).code).toBe("ENOSPC");
        isFull = true;
      }
      if (pieces % 4 !== 0) continue;
      faults.push(...versions.look());
      check();
      // The guest works in a process of its own.
      await sleep(1);
    }
    faults.push(...(await settle(versions)));
    check();
  } finally {
    await unmount();
  }
  expect(faults.slice(0, 10)).toEqual([]);
  expect(versions.log).toEqual([]);
  expect(seen).toBeGreaterThanOrEqual((pieces - 1) * 4096);
  expect(await run("ntfsinfo", ["-F", "/pieces", image])).toMatch(/ATTRIBUTE_LIST/);
}, 120_000);

test("a volume with too much metadata is not followed, and the log says so", async () => {
  const image = await makeImage("large", "1G");
  const disk = openSync(image, "r+");
  const record = Buffer.alloc(1024);
  const at = 4 * 4096;
  readSync(disk, record, 0, record.length, at);
  // The first run of $MFT's data, as if that had 100,000 clusters.
  const data = record.indexOf(Buffer.from([0x80, 0, 0, 0]), 0x38);
  const runs = data + record.readUInt16LE(data + 0x20);
  const first = record.readUIntLE(runs + 1 + (record.readUInt8(runs) & 15), record.readUInt8(runs) >> 4);
  for (const size of [0x28, 0x30, 0x38]) record.writeBigUInt64LE(100_000n * 4096n, data + size);
  record.writeBigUInt64LE(99_999n, data + 0x18);
  record.writeUInt8(0x13, runs);
  record.writeUIntLE(100_000, runs + 1, 3);
  record.writeUIntLE(first, runs + 4, 1);
  record.writeUInt8(0, runs + 5);
  writeSync(disk, record, 0, record.length, at);
  closeSync(disk);
  const log: string[] = [];
  const source = new Range(openRawImage(image), 0, Number.POSITIVE_INFINITY);
  expect(followFileSystem(source, new BlockCache(1 << 20), (line) => log.push(line))).toBeUndefined();
  expect(log).toEqual(["more than 96 MiB of metadata: looked at twice a second, not followed"]);
});
