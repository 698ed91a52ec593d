import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  closeSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  type Stats,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { cleanUp, mount, run, workFolder } from "./support/images-mount.js";
import { type Served, serve } from "./support/images-serve.js";
import { Versions } from "./support/versions.js";

const folder = workFolder("follow-ext2");

afterAll(cleanUp);

/** ms within which the tree must show what the guest has synced. */
const LIMIT = 2500;

interface Guest {
  readonly image: string;
  /** The guest's own view. */
  readonly inside: string;
  /** Ours. */
  readonly tree: string;
  readonly served: Served;
  unmount: () => void;
}

async function guest(name: string, make: readonly string[]): Promise<Guest> {
  const image = join(folder, `${name}.img`);
  await run("truncate", ["-s", "48M", image]);
  await run("mke2fs", ["-q", "-F", ...make, image]);
  const inside = join(folder, `${name}-inside`);
  const served = await serve(join(folder, `${name}-cloud`), { g: image });
  const unmount = await mount(image, inside, "loop");
  return { image, inside, tree: served.guest("g"), served, unmount };
}

/** All that a walk sees: names, attributes, contents. */
function state(top: string, path = ""): string[] {
  const lines: string[] = [];
  for (const name of readdirSync(join(top, path)).sort()) {
    if (name === "lost+found") continue;
    const at = join(path, name);
    const full = join(top, at);
    const { mode, nlink, uid, size, blocks, mtimeNs, ctimeNs, ino } = lstatSync(full, { bigint: true });
    const type = mode & 0o170000n;
    const file = type === 0o100000n ? createHash("sha256").update(readFileSync(full)).digest("hex") : "";
    const target = type === 0o120000n ? readlinkSync(full) : "";
    lines.push(
      [at, ino & 0xffffffffn, mode, nlink, uid, size, blocks, mtimeNs, ctimeNs, file, target].join(" "),
    );
    if (type === 0o040000n) lines.push(...state(top, at));
  }
  return lines;
}

/** Waits until `read` gives what is expected; what it gives at the end, if it never does. */
async function eventually<T>(read: () => T, expected: T, limit = LIMIT): Promise<T | string> {
  const until = performance.now() + limit;
  let last: T | string;
  do {
    try {
      last = read();
      if (JSON.stringify(last) === JSON.stringify(expected)) return last;
    } catch (error) {
      last = String(error);
    }
    await sleep(10);
  } while (performance.now() < until);
  return last;
}

function sync(top: string): void {
  execFileSync("sync", ["-f", top]);
}

/** The same numbers in each run. */
function generator(seed: number): (below: number) => number {
  let random = seed;
  return (below) => {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    return (random >>> 8) % below;
  };
}

/** Does one thing after another to a guest's files. */
class Worker {
  readonly #inside: string;
  readonly #next: (below: number) => number;
  readonly #files: string[] = [];
  readonly #directories = [""];
  #count = 0;

  constructor(inside: string, seed: number) {
    this.#inside = inside;
    this.#next = generator(seed);
  }

  #pick(of: readonly string[]): string {
    return of[this.#next(of.length)] as string;
  }

  /** As a program does that cares for one file only. */
  synchronizeOne(): void {
    const path = this.#files.at(-1 - this.#next(this.#files.length));
    if (path === undefined || !lstatSync(join(this.#inside, path)).isFile()) return;
    const file = openSync(join(this.#inside, path), "r");
    fsyncSync(file);
    closeSync(file);
  }

  work(): void {
    const next = this.#next;
    const inside = (path: string) => join(this.#inside, path);
    const fresh = join(this.#pick(this.#directories), `${"n".repeat(1 + next(60))}-${this.#count++}`);
    const files = this.#files;
    const file = files.length > 0 ? this.#pick(files) : "";
    const kind = next(13);
    if (kind < 3 || file === "") {
      writeFileSync(inside(fresh), Buffer.alloc(next(40_000), 65 + next(26)));
      files.push(fresh);
    } else if (kind < 5) appendFileSync(inside(file), Buffer.alloc(next(30_000), 97 + next(26)));
    else if (kind === 5) {
      renameSync(inside(file), inside(fresh));
      files[files.indexOf(file)] = fresh;
    } else if (kind === 6) {
      rmSync(inside(file));
      files.splice(files.indexOf(file), 1);
    } else if (kind === 7 && lstatSync(inside(file)).isFile()) truncateSync(inside(file), next(30_000));
    else if (kind === 8 && this.#directories.length < 40) {
      mkdirSync(inside(fresh));
      this.#directories.push(fresh);
    } else if (kind === 9) {
      linkSync(inside(file), inside(fresh));
      files.push(fresh);
    } else if (kind === 10) {
      symlinkSync("target/".repeat(1 + next(20)), inside(fresh));
      this.#directories.length > 20 ? rmSync(inside(fresh)) : undefined;
    } else if (kind === 11 && this.#directories.length > 1) {
      const directory = this.#pick(this.#directories.slice(1));
      if (readdirSync(inside(directory)).length > 0) return;
      rmdirSync(inside(directory));
      this.#directories.splice(this.#directories.indexOf(directory), 1);
    } else {
      const over = this.#pick(files);
      if (over === file || lstatSync(inside(over)).ino === lstatSync(inside(file)).ino) return;
      renameSync(inside(file), inside(over));
      files.splice(files.indexOf(file), 1);
    }
  }
}

const KINDS = [
  ["ext2, 1 KiB blocks", ["-t", "ext2", "-b", "1024"]],
  ["ext2, 4 KiB blocks", ["-t", "ext2", "-b", "4096"]],
  ["ext4 without a journal", ["-t", "ext4", "-O", "^has_journal"]],
] as const;

describe.each(KINDS)("a guest without a journal (%s)", (name, make) => {
  const key = name.replace(/\W+/g, "-");

  test("soon after each sync, the whole tree is the guest's", async () => {
    const { inside, tree, served, unmount } = await guest(`ops-${key}`, make);
    const worker = new Worker(inside, 4711);
    for (let round = 0; round < 8; round++) {
      for (let n = 0; n < 25; n++) worker.work();
      sync(inside);
      const expected = state(inside);
      expect(await eventually(() => state(tree), expected), `round ${round}\n${served.log()}`).toEqual(
        expected,
      );
    }
    unmount();
    expect(await served.stop()).toBe(0);
  }, 120_000);

  test("every version that is taken agrees in itself, though the guest writes in any order", async () => {
    const image = join(folder, `versions-${key}.img`);
    await run("truncate", ["-s", "48M", image]);
    await run("mke2fs", ["-q", "-F", ...make, image]);
    const inside = join(folder, `versions-${key}-inside`);
    const unmount = await mount(image, inside, "loop");
    const worker = new Worker(inside, 815);
    const versions = new Versions(image);
    const next = generator(3);
    const contradictions: string[] = [];
    const until = performance.now() + 2500;
    for (let n = 0; performance.now() < until; n++) {
      worker.work();
      // Writes of a file alone, in part or as the kernel's writeback comes to it.
      if (next(4) === 0) worker.synchronizeOne();
      if (n % 40 === 39) spawn("sync", ["-f", inside]);
      await sleep(next(10));
      contradictions.push(...versions.look());
    }
    sync(inside);
    await sleep(150);
    contradictions.push(...versions.look());
    // Where the guest is slower than the bound, link counts may be wrong for a while; nothing else may.
    const isForced = versions.log.some((line) => line.includes("taken as they stand"));
    const unexpected = contradictions.filter((line) => !isForced || !line.includes(" links and "));
    expect(unexpected, versions.log.join("\n")).toEqual([]);
    expect(versions.count).toBeGreaterThan(3);
    unmount();
  }, 120_000);

  test("a reader who never stops gets no errors from names that are there", async () => {
    const { inside, tree, served, unmount } = await guest(`reader-${key}`, make);
    const worker = new Worker(inside, 42);
    const faults: string[] = [];
    let seen = 0;
    const read = (path: string): void => {
      const names = readdirSync(path);
      for (const name of names) {
        const at = join(path, name);
        let stats: Stats;
        try {
          stats = lstatSync(at);
          seen++;
          if (stats.nlink === 0) faults.push(`${at}: no links`);
          if (stats.isDirectory()) read(at);
          else if (stats.isFile()) readFileSync(at);
          else readlinkSync(at);
        } catch (error) {
          // Gone between the listing and now: that is an answer.
          const { errno } = error as NodeJS.ErrnoException;
          if (errno !== -constants.errno.ENOENT && errno !== -constants.errno.ESTALE)
            faults.push(String(error));
          else if (existsInListing(path, name)) faults.push(`${at} is listed: ${error}`);
        }
      }
    };
    const existsInListing = (path: string, name: string): boolean => {
      try {
        return readdirSync(path).includes(name) && !canBeRead(join(path, name));
      } catch {
        return false;
      }
    };
    const until = performance.now() + 2500;
    while (performance.now() < until) {
      for (let n = 0; n < 5; n++) worker.work();
      if (seen % 3 === 0) worker.synchronizeOne();
      spawn("sync", ["-f", inside]);
      read(tree);
      await sleep(5);
    }
    expect(faults, served.log()).toEqual([]);
    expect(seen).toBeGreaterThan(100);
    sync(inside);
    const expected = state(inside);
    expect(await eventually(() => state(tree), expected)).toEqual(expected);
    unmount();
    expect(await served.stop()).toBe(0);
  }, 120_000);
});

function canBeRead(path: string): boolean {
  try {
    lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

test("a guest without a journal is shut down, checked, grown and made anew: the tree follows", async () => {
  const { image, inside, tree, served, unmount } = await guest("life", ["-t", "ext2"]);
  writeFileSync(join(inside, "one"), "1");
  unmount();
  expect(await eventually(() => readFileSync(join(tree, "one"), "utf8"), "1")).toBe("1");
  const again = await mount(image, inside, "loop");
  writeFileSync(join(inside, "two"), "2");
  sync(inside);
  expect(await eventually(() => readFileSync(join(tree, "two"), "utf8"), "2")).toBe("2");
  again();
  await run("debugfs", ["-w", "-R", "unlink one", image]);
  // The name is gone and its inode is not: only a check sets that right.
  await run("e2fsck", ["-f", "-y", image], { accept: [1] });
  expect(await eventually(() => readdirSync(tree).sort(), ["lost+found", "two"], 5000)).toEqual([
    "lost+found",
    "two",
  ]);
  expect(await eventually(() => readdirSync(join(tree, "lost+found")).length, 1)).toBe(1);
  await run("truncate", ["-s", "96M", image]);
  await run("resize2fs", [image]);
  const grown = await mount(image, inside, "loop");
  writeFileSync(join(inside, "three"), Buffer.alloc(60 << 20, 3));
  sync(inside);
  expect(await eventually(() => statSync(join(tree, "three")).size, 60 << 20, 5000)).toBe(60 << 20);
  expect(readFileSync(join(tree, "three")).every((byte) => byte === 3)).toBe(true);
  grown();
  await run("mke2fs", ["-q", "-F", "-t", "ext4", image]);
  expect(await eventually(() => readdirSync(tree), ["lost+found"], 5000)).toEqual(["lost+found"]);
  const journalled = await mount(image, inside, "loop");
  writeFileSync(join(inside, "four"), "4");
  sync(inside);
  expect(await eventually(() => readFileSync(join(tree, "four"), "utf8"), "4")).toBe("4");
  journalled();
  expect(await served.stop()).toBe(0);
}, 120_000);

test("a guest whose metadata is too much to keep is current after about a second, and the log says so", async () => {
  const image = join(folder, "large.img");
  await run("truncate", ["-s", "4G", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext2", "-N", "400000", "-I", "256", image]);
  // As if nearly all inodes were in use.
  await run("debugfs", ["-w", "-R", "ssv free_inodes_count 10000", image]);
  const inside = join(folder, "large-inside");
  const served = await serve(join(folder, "large-cloud"), { g: image });
  const unmount = await mount(image, inside, "loop");
  for (const text of ["a", "bb", "ccc"]) {
    writeFileSync(join(inside, "file"), text);
    sync(inside);
    const path = join(served.guest("g"), "file");
    expect(await eventually(() => readFileSync(path, "utf8"), text, 4000)).toBe(text);
  }
  expect(served.log()).toMatch(/g\/sda: no journal, and more than 64 MiB of metadata: .*not followed/);
  unmount();
  expect(await served.stop()).toBe(0);
});
