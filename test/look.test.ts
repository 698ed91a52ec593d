/** The look after the read: nothing that is answered is of a file that it was not asked of, or of two versions. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  closeSync,
  constants,
  fsyncSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { Attributes, type FileSystem } from "../src/filesystems/filesystem.js";
import type { Follower } from "../src/filesystems/follower.js";
import { followFileSystem, openFileSystem } from "../src/filesystems/formats.js";
import type { Image } from "../src/images/image.js";
import { openRawImage } from "../src/images/raw.js";
import { BlockCache } from "../src/versions/block-cache.js";
import { cleanUp, endWithTests, mount, run, workFolder } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";

const folder = workFolder("look");

afterAll(cleanUp);

interface Guest {
  readonly image: string;
  readonly inside: string;
  readonly unmount: () => void;
}

async function guest(name: string, make: readonly string[], megabytes = 24): Promise<Guest> {
  const image = join(folder, `${name}.img`);
  await run("truncate", ["-s", `${megabytes}M`, image]);
  await run("mke2fs", ["-q", "-F", "-m", "0", ...make, image]);
  const inside = join(folder, `${name}-inside`);
  return { image, inside, unmount: await mount(image, inside, "loop") };
}

/** Leaves room for `bytes` only. */
function fill(inside: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(inside);
  const file = openSync(join(inside, "ballast"), "w");
  writeFileSync(file, Buffer.alloc(bavail * bsize - bytes - (64 << 10)));
  fsyncSync(file);
  closeSync(file);
}

function sync(inside: string): void {
  execFileSync("sync", ["-f", inside]);
}

function writer(mode: string, inside: string, times: number): ChildProcess {
  const script = join(import.meta.dirname, "support/look-writer.mjs");
  const child = spawn(process.execPath, [script, mode, inside, String(times)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  endWithTests(child);
  return child;
}

/** A file system that nobody follows: it has its own looks only. */
class Library {
  readonly raw: Image;
  fileSystem: FileSystem;
  /** Answers that did not stand. */
  repeated = 0;
  reopened = 0;

  constructor(image: string) {
    this.raw = openRawImage(image);
    this.fileSystem = this.open();
  }

  open(): FileSystem {
    return openFileSystem(this.raw, new BlockCache(1 << 20), () => {}) as FileSystem;
  }

  /** Asks until the answer stands. */
  ask<T>(question: (fileSystem: FileSystem) => T): T {
    for (;;) {
      let answer: { value: T } | { error: unknown };
      try {
        answer = { value: question(this.fileSystem) };
      } catch (error) {
        answer = { error };
      }
      const standing = this.fileSystem.standing();
      if (standing === "current") {
        if ("error" in answer) throw answer.error;
        return answer.value;
      }
      this.repeated++;
      if (standing === "moved") continue;
      this.reopened++;
      this.fileSystem = this.open();
    }
  }
}

/** What a reader would see of a directory, in words. */
function census(fileSystem: FileSystem, path: string): string[] {
  const directory = fileSystem.lookup(fileSystem.rootInode, Buffer.from(path));
  const found: string[] = [];
  const attributes = new Attributes();
  fileSystem.list(directory, 0, {
    entry: (name, offset, length, ino) => {
      const text = name.toString("latin1", offset, offset + length);
      if (text === "." || text === "..") return true;
      found.push(`${text.slice(0, text.indexOf("-"))} ${ino}`);
      return true;
    },
  });
  for (const one of found) {
    fileSystem.stat(Number(one.split(" ")[1]), attributes);
    if (attributes.nlink !== 1) found.push(`nlink ${attributes.nlink}`);
  }
  return found.sort();
}

test("bytes that had become another file's do not stand, and the file is gone", async () => {
  const { image, inside, unmount } = await guest("bytes", ["-t", "ext4"]);
  const size = 256 << 10;
  fill(inside, size + size / 4);
  writeFileSync(join(inside, "a"), Buffer.alloc(size, "a"));
  sync(inside);
  const library = new Library(image);
  const bytes = Buffer.alloc(size);
  const ino = library.ask((fileSystem) => fileSystem.lookup(2, Buffer.from("a")));
  library.ask((fileSystem) => fileSystem.read(ino, 0, size, bytes, 0));
  expect(bytes.equals(Buffer.alloc(size, "a"))).toBe(true);
  rmSync(join(inside, "a"));
  sync(inside);
  writeFileSync(join(inside, "b"), Buffer.alloc(size, "b"));
  sync(inside);
  // Nobody has told of it: the old version still maps a file to its old blocks.
  const { fileSystem } = library;
  fileSystem.read(ino, 0, size, bytes, 0);
  expect(bytes.includes("b")).toBe(true);
  expect(fileSystem.standing()).toBe("moved");
  expect(library.ask((fileSystem) => fileSystem.lookup(2, Buffer.from("a")))).toBe(0);
  const other = library.ask((fileSystem) => fileSystem.lookup(2, Buffer.from("b")));
  library.ask((fileSystem) => fileSystem.read(other, 0, size, bytes, 0));
  expect(bytes.equals(Buffer.alloc(size, "b"))).toBe(true);
  unmount();
  library.raw.close();
});

test.each([
  ["ext4", ["-t", "ext4"]],
  ["ext3", ["-t", "ext3"]],
  ["no checksums", ["-t", "ext4", "-O", "^metadata_csum"]],
] as const)(
  "nothing is listed of two versions, though a tiny journal is written round and nobody tells of it: %s",
  async (name, make) => {
    const options = [...make, "-b", "1024", "-J", "size=1"];
    const made = await guest(`versions-${name.replace(" ", "-")}`, options);
    const { image, inside } = made;
    const top = join(inside, "d");
    execFileSync("mkdir", [top]);
    for (let n = 0; n < 60; n++) writeFileSync(join(top, `${n}-`.padEnd(200, "x")), "");
    // Nothing of it is left in the journal.
    made.unmount();
    const unmount = await mount(image, inside, "loop");
    const library = new Library(image);
    const expected = library.ask((fileSystem) => census(fileSystem, "d"));
    expect(expected.length).toBe(60);
    // One that is not asked how its answers stand.
    const heedless = library.open();
    const child = writer("rename", top, 1500);
    const found = { asked: 0, wrong: 0, wrongUnasked: 0 };
    while (child.exitCode === null) {
      library.fileSystem.reread();
      const seen = library.ask((fileSystem) => census(fileSystem, "d"));
      if (seen.join() !== expected.join()) found.wrong++;
      found.asked++;
      heedless.reread();
      try {
        if (census(heedless, "d").join() !== expected.join()) found.wrongUnasked++;
      } catch {
        found.wrongUnasked++;
      }
      await turn();
    }
    expect(found.wrong).toBe(0);
    expect(found.asked).toBeGreaterThan(20);
    expect(library.repeated).toBeGreaterThan(10);
    expect(found.wrongUnasked).toBeGreaterThan(0);
    unmount();
    library.raw.close();
  },
  60_000,
);

test.each([
  ["ext4", ["-t", "ext4"]],
  ["ext3", ["-t", "ext3"]],
] as const)(
  "readers of the tree get a file's own bytes or an error, while its blocks are used again at once: %s",
  async (name, make) => {
    const { image, inside, unmount } = await guest(`reuse-${name}`, make);
    const size = 256 << 10;
    fill(inside, size + size / 4);
    const served = await serve(join(folder, `reuse-${name}-cloud`), { g: image });
    const tree = served.guest("g");
    const child = writer("reuse", inside, 250);
    const bytes = Buffer.alloc(size);
    const found = { reads: 0, wrong: 0 };
    const read = (file: string, flags: number) => {
      let fd = -1;
      try {
        fd = openSync(join(tree, file), constants.O_RDONLY | flags);
        for (let turn = 0; turn < 3; turn++) {
          const count = readSync(fd, bytes, 0, size, 0);
          if (count === 0) continue;
          found.reads++;
          const first = bytes.toString("latin1", 0, 8);
          const isOne = bytes.subarray(0, count).equals(Buffer.alloc(count, first));
          if (!isOne || !first.startsWith(file)) found.wrong++;
        }
      } catch {
        // Deleted: that is an answer.
      }
      try {
        if (fd >= 0) closeSync(fd);
      } catch {
        // The kernel says once more that the file is no more.
      }
    };
    while (child.exitCode === null) {
      for (let n = 0; n < 10; n++) {
        for (const flags of [0, constants.O_DIRECT]) {
          read("a", flags);
          read("b", flags);
        }
      }
      await turn();
    }
    expect(child.exitCode).toBe(0);
    expect(found.wrong).toBe(0);
    expect(found.reads).toBeGreaterThan(50);
    unmount();
    expect(await served.stop()).toBe(0);
  },
  60_000,
);

test("a block that was logged with a small file's bytes, and not revoked, is the next file's own", async () => {
  const { image, inside, unmount } = await guest("inline", ["-t", "ext4", "-O", "inline_data"], 32);
  fill(inside, 256 << 10);
  const library = new Library(image);
  const follower = followFileSystem(library.raw, new BlockCache(1 << 20), () => {}) as Follower;
  const follow = () => {
    for (let look = follower.look(); look !== undefined; look = follower.look()) {
      if ("reopen" in look) throw new Error(look.reopen);
      for (const { commit } of look.steps) library.fileSystem.apply(commit);
      if (look.settled !== undefined) library.fileSystem.settle(look.settled);
    }
  };
  const small = [0, 1, 2, 3, 4].map((n) => join(inside, `small-${n}`));
  let wrong = 0;
  for (let round = 0; round < 8; round++) {
    for (const path of small) writeFileSync(path, Buffer.alloc(40, "s"));
    sync(inside);
    // The bytes leave the inode.
    for (const path of small) truncateSync(path, 4000);
    sync(inside);
    follow();
    for (const path of small) rmSync(path);
    sync(inside);
    const { bavail, bsize } = statfsSync(inside);
    const expected = Buffer.alloc((bavail - 4) * bsize, "n");
    writeFileSync(join(inside, "next"), expected);
    sync(inside);
    follow();
    for (const fileSystem of [library.fileSystem, library.open()]) {
      const bytes = Buffer.alloc(expected.length);
      fileSystem.read(fileSystem.lookup(2, Buffer.from("next")), 0, bytes.length, bytes, 0);
      if (!bytes.equals(expected)) wrong++;
    }
    rmSync(join(inside, "next"));
    sync(inside);
    follow();
  }
  expect(wrong).toBe(0);
  unmount();
  library.raw.close();
});

describe("a guest's restart", () => {
  /** Looks until nothing is found: names that came, or why not all is known. */
  function looks(follower: Follower): string[] {
    const found: string[] = [];
    for (let look = follower.look(); look !== undefined; look = follower.look()) {
      if ("reopen" in look) {
        found.push(look.reopen);
        break;
      }
      for (const { changes } of look.steps) {
        for (const { name } of changes.names) found.push(name.toString());
        for (const { names } of changes.unsureDirectories) found.push(...(names?.keys() ?? []));
      }
    }
    return found;
  }

  test("a shutdown and a start, a freeze, and a start after a crash leave nothing out", async () => {
    const { image, inside, unmount } = await guest("restart", ["-t", "ext4"]);
    const raw = openRawImage(image);
    const follower = followFileSystem(raw, new BlockCache(1 << 20), () => {}) as Follower;
    const write = (name: string) => {
      writeFileSync(join(inside, name), "");
      sync(inside);
      return looks(follower);
    };
    expect(write("first")).toContain("first");
    unmount();
    expect(looks(follower)).toEqual([]);
    let again = await mount(image, inside, "loop");
    expect(looks(follower)).toEqual([]);
    expect(write("second")).toContain("second");
    // Nobody looks between the two.
    again();
    again = await mount(image, inside, "loop");
    expect(write("third")).toContain("third");
    execFileSync("fsfreeze", ["-f", inside]);
    expect(looks(follower)).toEqual([]);
    execFileSync("fsfreeze", ["-u", inside]);
    expect(write("fourth")).toContain("fourth");
    execFileSync("mount", ["-o", "remount,ro", inside]);
    again();
    expect(looks(follower)).toEqual([]);
    again = await mount(image, inside, "loop");
    expect(write("fifth")).toContain("fifth");
    // As a reset would leave it.
    const cut = `${image}.cut`;
    execFileSync("cp", [image, cut]);
    again();
    execFileSync("dd", [`if=${cut}`, `of=${image}`, "bs=1M", "conv=notrunc", "status=none"]);
    rmSync(cut);
    again = await mount(image, inside, "loop");
    expect(write("sixth")).toContain("sixth");
    again();
    raw.close();
  });

  test.each([
    ["tune2fs", ["-L", "new"]],
    ["e2fsck", ["-f", "-y"]],
    ["debugfs", ["-w", "-R", "mkdir made"]],
  ] as const)("what %s writes to a disk at rest is no guest's change", async (program, options) => {
    const { image, inside, unmount } = await guest(`rest-${program}`, ["-t", "ext4"]);
    writeFileSync(join(inside, "first"), "");
    unmount();
    const raw = openRawImage(image);
    const follower = followFileSystem(raw, new BlockCache(1 << 20), () => {}) as Follower;
    expect(looks(follower)).toEqual([]);
    await run(program, [...options, image], { accept: [1] });
    expect(looks(follower)).toEqual(["changed"]);
    raw.close();
  });

  test("the tree shows what was written to the disk as soon as the guest was down", async () => {
    const { image, inside, unmount } = await guest("down", ["-t", "ext4"]);
    execFileSync("mkdir", [join(inside, "d")]);
    writeFileSync(join(inside, "d/there"), "");
    sync(inside);
    const served = await serve(join(folder, "down-cloud"), { g: image });
    const tree = served.guest("g");
    expect(readdirSync(join(tree, "d"))).toEqual(["there"]);
    const { ino } = statSync(join(tree, "d/there"));
    unmount();
    await run("debugfs", ["-w", "-R", "mkdir d/made", image]);
    await expect
      .poll(() => readdirSync(join(tree, "d")).sort(), { timeout: 3000 })
      .toEqual(["made", "there"]);
    expect(statSync(join(tree, "d/there")).ino).toBe(ino);
    expect(await served.stop()).toBe(0);
  }, 120_000);
});
