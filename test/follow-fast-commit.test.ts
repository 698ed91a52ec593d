/** A running guest with fast commits: each is a step of its own, and nothing has to be opened afresh. */
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { fold } from "../src/filesystems/ext/journal/fold.js";
import { Journal } from "../src/filesystems/ext/journal/journal.js";
import { followExt, openExt } from "../src/filesystems/ext/open.js";
import { Attributes, EntryType, type FileSystem, FileType } from "../src/filesystems/filesystem.js";
import type { Follower, Step } from "../src/filesystems/follower.js";
import { openRawImage } from "../src/images/raw.js";
import { BlockCache } from "../src/versions/block-cache.js";
import { cleanUp, onEnd, workFolder } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";
import { ImageJournal } from "./support/journal-device.js";
import { journalBlocks, MountedImage, makeImage, makeRandom } from "./support/journal-images.js";
import { type Described, describeFileSystem, describeMount, MemorySource } from "./support/journal-tree.js";

const folder = workFolder("follow-fast-commit");

afterAll(cleanUp);

/** A guest whose file system the kernel has mounted read-write, and which commits by itself only now and then. */
function startGuest(name: string, mkfs: string): MountedImage {
  const path = join(folder, `${name}.img`);
  makeImage(path, 64, mkfs);
  const guest = new MountedImage(path, "commit=300");
  onEnd(() => guest.close());
  // There are no fast commits before the first transaction.
  writeFileSync(join(guest.root, "first"), "first");
  execFileSync("sync", ["-f", guest.root]);
  return guest;
}

function fsync(path: string): void {
  const file = openSync(path, "r");
  fsyncSync(file);
  closeSync(file);
}

/** The image as it is at each moment. */
function openSource(path: string): ReturnType<typeof openRawImage> {
  const image = openRawImage(path);
  onEnd(() => image.close());
  return image;
}

/** What is the same for the guest and in what it made durable: a directory's times and blocks are not recorded. */
function durable(tree: Map<string, Described>): Map<string, object> {
  const found = new Map<string, object>();
  for (const [path, described] of tree) {
    const { ino, mode, nlink, uid, gid } = described;
    const isDirectory = (mode & FileType.MASK) === FileType.DIRECTORY;
    found.set(path, isDirectory ? { ino, mode, nlink, uid, gid } : described);
  }
  return found;
}

/** EXT4_ROOT_INO and EXT4_GOOD_OLD_FIRST_INO */
const ROOT_INODE = 2;
const FIRST_INODE = 11;

/** What subscribers know: the inode of each name, and the fields of each inode. */
class Known {
  readonly names = new Map<string, number>();
  readonly inodes = new Map<number, string>();

  constructor(fileSystem: FileSystem) {
    const out = new Attributes();
    const visit = (ino: number): void => {
      fileSystem.stat(ino, out);
      this.inodes.set(ino, fields(out));
      if ((out.mode & FileType.MASK) !== FileType.DIRECTORY) return;
      const entries: [string, number][] = [];
      fileSystem.list(ino, 0, {
        entry(name, nameOffset, nameLength, child) {
          entries.push([name.toString("latin1", nameOffset, nameOffset + nameLength), child]);
          return true;
        },
      });
      for (const [name, child] of entries) {
        if (name === "." || name === "..") continue;
        this.names.set(`${ino} ${name}`, child);
        visit(child);
      }
    };
    visit(fileSystem.rootInode);
  }

  /** Takes a step, whose view of what was before must be ours. */
  take({ changes }: Step): void {
    for (const { directory, name, ino, now } of changes.names) {
      const key = `${directory} ${name.toString("latin1")}`;
      expect(this.names.get(key) ?? 0, `${key} before`).toBe(ino);
      if (now === 0) this.names.delete(key);
      else this.names.set(key, now);
    }
    for (const { ino, old, now } of changes.inodes) {
      // The file system's own.
      if (ino < FIRST_INODE && ino !== ROOT_INODE) continue;
      const before = old === undefined || old.nlink === 0 ? undefined : fields(old);
      expect(this.inodes.get(ino), `inode ${ino} before`).toBe(before);
      if (now === undefined || now.nlink === 0) this.inodes.delete(ino);
      else this.inodes.set(ino, fields(now));
    }
  }
}

type Fields = Omit<Attributes, "ino" | "blksize" | "blocks" | "atime" | "atimeNsec">;

function fields(of: Fields): string {
  const { generation, mode, nlink, uid, gid, size, mtime, mtimeNsec, ctime, ctimeNsec } = of;
  return [generation, mode, nlink, uid, gid, size, mtime, mtimeNsec, ctime, ctimeNsec].join(" ");
}

/** All steps that there are to take. Anything else fails. */
function takeSteps(follower: Follower): Step[] {
  const steps: Step[] = [];
  for (;;) {
    const look = follower.look();
    if (look === undefined) return steps;
    if ("reopen" in look) throw new Error(`to be opened afresh: ${look.reopen}`);
    if (look.steps.length === 0) continue;
    steps.push(...look.steps);
  }
}

/** Does one thing to a file or two, and makes it durable. Returns what it was. */
function makeWork(
  top: string,
  random: (below: number) => number,
  without: readonly string[] = [],
): () => string {
  const files: string[] = [];
  const directories = [""];
  let count = 0;
  const pick = (of: string[]) => of[random(of.length)] as string;
  const at = (name: string) => join(top, name);
  const fresh = () => join(pick(directories), `f${count++}-${"n".repeat(random(60))}`);
  const run = (program: string, ...args: string[]) => execFileSync(program, args, { stdio: "pipe" });
  const create = (): void => {
    const name = fresh();
    files.push(name);
    writeFileSync(at(name), Buffer.alloc(random(30_000), 65 + random(26)));
    fsync(at(name));
  };
  const onFile = (change: (name: string) => void) => () => {
    if (files.length === 0) create();
    const name = pick(files);
    change(name);
    fsync(at(files.includes(name) ? name : (files.at(-1) ?? "first")));
  };
  const rename = (name: string, to: string): void => {
    renameSync(at(name), at(to));
    files.splice(files.indexOf(name), 1);
    if (files.includes(to)) files.splice(files.indexOf(to), 1);
    files.push(to);
  };
  const works: Record<string, () => void> = {
    create,
    append: onFile((name) => appendFileSync(at(name), Buffer.alloc(1 + random(9000), 97 + random(26)))),
    "append more": onFile((name) => appendFileSync(at(name), "a line of a log\n")),
    overwrite: onFile((name) => {
      const file = openSync(at(name), "r+");
      writeSync(file, Buffer.alloc(3000, 48 + random(10)), 0, 3000, random(100_000));
      closeSync(file);
    }),
    // Zeros at the end of a file are not told from bytes that are yet to come, for a while: none are made.
    truncate: onFile((name) => truncateSync(at(name), random(statSync(at(name)).size + 1))),
    rename: onFile((name) => rename(name, fresh())),
    replace: onFile((name) => rename(name, pick(files))),
    link: onFile((name) => {
      const to = fresh();
      linkSync(at(name), at(to));
      files.push(to);
    }),
    unlink: onFile((name) => {
      rmSync(at(name));
      files.splice(files.indexOf(name), 1);
      appendFileSync(at(files.at(-1) ?? "first"), "gone\n");
    }),
    directory: () => {
      const name = fresh();
      mkdirSync(at(name));
      directories.push(name);
      files.push(join(name, "inside"));
      writeFileSync(at(join(name, "inside")), "inside");
      fsync(at(join(name, "inside")));
    },
    mode: onFile((name) => run("chmod", pick(["600", "644", "4755"]), at(name))),
    owner: onFile((name) => run("chown", `${random(70_000)}:${random(70_000)}`, at(name))),
    attribute: onFile((name) => run("setfattr", "-n", "user.a", "-v", "v".repeat(1 + random(200)), at(name))),
    hole: onFile((name) => run("fallocate", "-p", "-o", `${random(20_000)}`, "-l", "9000", at(name))),
    reserve: onFile((name) => run("fallocate", "-n", "-l", `${20_000 + random(200_000)}`, at(name))),
    device: () => {
      run("mknod", at(fresh()), "c", "5", `${random(200)}`);
      create();
    },
    symlink: () => {
      run("ln", "-s", "t".repeat(pick(["5", "100"]) === "5" ? 5 : 100), at(fresh()));
      create();
    },
    all: () => {
      create();
      execFileSync("sync", ["-f", top]);
    },
  };
  const common = [
    "create",
    "append",
    "append",
    "append more",
    "append more",
    "overwrite",
    "unlink",
    "rename",
  ];
  const kinds = Object.keys(works).filter((kind) => !without.includes(kind));
  return () => {
    const kind = random(2) === 0 ? pick(common) : pick(kinds);
    (works[kind] as () => void)();
    return kind;
  };
}

describe("each fast commit of a running guest is a step", () => {
  test.each([
    ["blocks of 4 KiB", "mkfs.ext4 -b 4096 -J size=8 -O fast_commit"],
    [
      "an area of 64 blocks, used again and again",
      "mkfs.ext4 -b 4096 -J size=8,fast_commit_size=256 -O fast_commit",
    ],
    ["blocks of 1 KiB, no checksums", "mkfs.ext4 -b 1024 -J size=4 -O fast_commit,^metadata_csum"],
    // What leaves its inode there is data of the transaction's own, which fast commits do not wait for.
    ["inline data", "mkfs.ext4 -b 4096 -J size=8 -O fast_commit,inline_data", ["hole", "reserve"]],
  ])(
    "%s: the tree is the guest's, and subscribers are told of all of it",
    (name, mkfs, without = []) => {
      const guest = startGuest(name.replace(/\W+/g, "-"), mkfs);
      const source = openSource(guest.path);
      const log: string[] = [];
      const note = (line: string) => log.push(line);
      const follower = followExt(source, new BlockCache(8 << 20), note) as Follower;
      const served = openExt(source, new BlockCache(8 << 20), note);
      const known = new Known(served);
      const work = makeWork(guest.root, makeRandom(7), without);
      let logical = 0;
      let full = 0;
      for (let round = 0; round < 150; round++) {
        const kind = work();
        for (const step of takeSteps(follower)) {
          if (step.commit.logical === undefined) full++;
          else logical++;
          expect(Math.abs(step.seconds - Date.now() / 1000)).toBeLessThan(60);
          served.apply(step.commit);
          known.take(step);
        }
        const ours = describeFileSystem(served);
        expect(durable(ours), `${round}: ${kind}`).toEqual(durable(describeMount(guest.root)));
        if (round % 10 !== 0) continue;
        // The guest may commit by itself: until it has not done so in between.
        let afresh: FileSystem;
        let late: Step[];
        do {
          afresh = openExt(source, new BlockCache(8 << 20), note);
          late = takeSteps(follower);
          for (const step of late) {
            served.apply(step.commit);
            known.take(step);
          }
        } while (late.length > 0);
        expect(describeFileSystem(served)).toEqual(describeFileSystem(afresh));
        const now = new Known(afresh);
        expect(new Map([...known.names].sort())).toEqual(new Map([...now.names].sort()));
        for (const [ino, state] of now.inodes) expect(known.inodes.get(ino), `inode ${ino}`).toBe(state);
      }
      expect(log).toEqual([]);
      expect(logical).toBeGreaterThan(50);
      expect(full).toBeGreaterThan(5);
      guest.close();
    },
    60_000,
  );
});

describe("what fast commits say of directories", () => {
  /** A guest with a file to fsync, ours of it, and how ours takes what has come since. */
  function start(name: string, prepare: (root: string) => void) {
    const path = join(folder, `${name}.img`);
    makeImage(path, 64, "mkfs.ext4 -b 4096 -J size=8 -O fast_commit");
    const guest = new MountedImage(path, "commit=300");
    onEnd(() => guest.close());
    writeFileSync(join(guest.root, "first"), "first");
    prepare(guest.root);
    execFileSync("sync", ["-f", guest.root]);
    const source = openSource(path);
    const log: string[] = [];
    const note = (line: string) => log.push(line);
    const follower = followExt(source, new BlockCache(8 << 20), note) as Follower;
    const served = openExt(source, new BlockCache(8 << 20), note);
    const commit = (): void => {
      appendFileSync(join(guest.root, "first"), "more");
      fsync(join(guest.root, "first"));
      const steps = takeSteps(follower);
      expect(steps.map(({ commit }) => commit.logical !== undefined)).toEqual([true]);
      for (const step of steps) served.apply(step.commit);
      expect(log).toEqual([]);
    };
    return { guest, served, commit };
  }

  test("directories that come, go and use each other's numbers are counted as the guest counts them", () => {
    const { guest, served, commit } = start("counted", (root) => {
      for (const name of ["a", "a/inner", "a/other", "b"]) mkdirSync(join(root, name));
    });
    const at = (name: string) => join(guest.root, name);
    const { ino } = statSync(at("a/inner"));
    rmSync(at("a/inner"), { recursive: true });
    // It has the number of the one before, and is gone before it was ever recorded.
    mkdirSync(at("a/short"));
    expect(statSync(at("a/short")).ino).toBe(ino);
    rmSync(at("a/short"), { recursive: true });
    const same = () =>
      expect(durable(describeFileSystem(served))).toEqual(durable(describeMount(guest.root)));
    commit();
    same();
    // A file with a directory's name and number.
    rmSync(at("a/other"), { recursive: true });
    for (const name of ["b/c", "b/c/d", "b/e"]) mkdirSync(at(name));
    writeFileSync(at("a/other"), "");
    commit();
    same();
    rmSync(at("b/c/d"), { recursive: true });
    mkdirSync(at("b/c/f"));
    rmSync(at("b/e"), { recursive: true });
    commit();
    same();
  });

  test("a listing that goes on while names are used again has each name once", () => {
    const names = Array.from({ length: 8 }, (_, n) => `log.${n}`);
    const { guest, served, commit } = start("listed", (root) => {
      for (const name of names) writeFileSync(join(root, name), name);
    });
    const rotate = (): void => {
      for (const [n, name] of [...names.entries()].reverse().slice(1))
        renameSync(join(guest.root, name), join(guest.root, names[n + 1] as string));
      writeFileSync(join(guest.root, "log.0"), "");
      writeFileSync(join(guest.root, `new.${added++}`), "");
      rmSync(join(guest.root, `new.${added - 3}`), { force: true });
    };
    let added = 0;
    const seen: string[] = [];
    let from = 0;
    for (let isEnd = false; !isEnd; ) {
      isEnd = true;
      served.list(ROOT_INODE, from, {
        entry(name, nameOffset, nameLength, ino, type, next) {
          seen.push(name.toString("latin1", nameOffset, nameOffset + nameLength));
          from = next;
          expect(served.lookup(ROOT_INODE, Buffer.from(seen.at(-1) as string))).toBe(ino);
          expect(type).not.toBe(EntryType.UNKNOWN);
          isEnd = false;
          return false;
        },
      });
      if ([7, 10, 14].includes(seen.length)) {
        rotate();
        commit();
      }
    }
    expect(seen.length).toBe(new Set(seen).size);
    for (const name of names) expect(seen).toContain(name);
  });
});

describe("a fast commit that is being written", () => {
  interface Crashed {
    readonly image: Buffer;
    readonly path: string;
    readonly at: (block: number) => number;
    readonly count: number;
    /** Fast commits that count. */
    readonly commits: number;
  }

  /** A guest's image with some fast commits, one of them of several blocks, and where the area's blocks lie in it. */
  function crashed(name: string): Crashed {
    // Whoever calls sync(2) on this machine has all file systems commit as a whole.
    for (let attempt = 1; ; attempt++) {
      const found = crash(`${name}-${attempt}`);
      if ((found.count > 4 && found.commits > 2) || attempt === 10) return found;
    }
  }

  function crash(name: string): Crashed {
    const guest = startGuest(name, "mkfs.ext4 -b 4096 -J size=8 -O fast_commit");
    const path = join(folder, `${name}-crash.img`);
    appendFileSync(join(guest.root, "first"), "second");
    fsync(join(guest.root, "first"));
    for (let n = 0; n < 100; n++) writeFileSync(join(guest.root, `many-${n}`), "");
    fsync(join(guest.root, "many-0"));
    appendFileSync(join(guest.root, "first"), "third");
    fsync(join(guest.root, "first"));
    guest.crashTo(path);
    guest.close();
    const image = readFileSync(path);
    const blocks = journalBlocks(path);
    const journal = new Journal(new ImageJournal(image, 4096, blocks), () => {});
    fold(journal);
    const { fastCommitFirst, fastCommitEnd } = journal.superblock;
    const at = (block: number) => (blocks[fastCommitFirst + block] as number) * 4096;
    let count = 0;
    for (let n = 0; n < fastCommitEnd - fastCommitFirst; n++) {
      if (image.subarray(at(n), at(n) + 4096).some((byte) => byte !== 0)) count = n + 1;
    }
    // Those of the transaction that is not whole: others are of no account any more.
    return { image, path, at, count, commits: journal.fastCommits(256).length };
  }

  test.each([
    ["in order", (from: number, to: number) => Array.from({ length: to - from }, (_, n) => from + n)],
    [
      "last block first",
      (from: number, to: number) => Array.from({ length: to - from }, (_, n) => to - 1 - n),
    ],
  ])("is taken once it is whole, and not before: %s", (order, blocksOf) => {
    const { image, at, count } = crashed(`torn-${order.replace(/\W+/g, "-")}`);
    expect(count).toBeGreaterThan(4);
    const whole = Buffer.from(image);
    const afresh = openExt(new MemorySource(whole), new BlockCache(8 << 20), () => {});
    for (let n = 1; n < count; n++) image.fill(0, at(n), at(n) + 4096);
    const source = new MemorySource(image);
    const log: string[] = [];
    const follower = followExt(source, new BlockCache(8 << 20), (line) => log.push(line)) as Follower;
    const served = openExt(source, new BlockCache(8 << 20), (line) => log.push(line));
    expect(takeSteps(follower)).toEqual([]);
    let taken = 0;
    for (const n of blocksOf(1, count)) {
      // Half a block, and then all of it.
      for (const length of [2000, 4096]) {
        whole.copy(image, at(n), at(n), at(n) + length);
        for (const { commit } of takeSteps(follower)) {
          served.apply(commit);
          taken++;
        }
      }
    }
    expect(taken).toBeGreaterThan(1);
    expect(describeFileSystem(served)).toEqual(describeFileSystem(afresh));
    expect(log).toEqual([]);
  });

  test("a look at a guest that does nothing reads one block of the area", () => {
    const { image, path } = crashed("idle");
    const blocks = journalBlocks(path);
    const device = new ImageJournal(image, 4096, blocks);
    const journal = new Journal(device, () => {});
    fold(journal);
    expect(journal.fastCommits(256).length).toBeGreaterThan(2);
    device.reads = 0;
    for (let n = 0; n < 100; n++) expect(journal.nextFastCommit(256)).toBeUndefined();
    expect(device.reads).toBe(100);
  });
});

describe("the tree of a running guest with fast commits", () => {
  /** Waits until ours is the guest's. */
  async function eventuallySame(read: () => unknown, expected: () => unknown): Promise<void> {
    const until = performance.now() + 30_000;
    for (;;) {
      const theirs = expected();
      let ours: unknown;
      try {
        ours = read();
      } catch (error) {
        ours = error;
      }
      if (JSON.stringify(ours) === JSON.stringify(theirs)) return;
      if (performance.now() > until) expect(ours).toEqual(theirs);
      await sleep(5);
    }
  }

  /** As `durable`, by path, in an order that is the same for both; the upper half of our inode numbers is ours. */
  function listed(root: string): [string, object][] {
    const tree = describeMount(root);
    for (const one of tree.values()) one.ino %= 2 ** 32;
    const root0 = tree.get("");
    if (root0 !== undefined) root0.ino = ROOT_INODE;
    return [...durable(tree)].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  test("is the guest's after each fsync, also for files that are held open, and after it is mounted again", async () => {
    const path = join(folder, "served.img");
    makeImage(path, 64, "mkfs.ext4 -b 4096 -J size=8,fast_commit_size=256 -O fast_commit");
    const served = await serve(join(folder, "served-cloud"), { g: path });
    for (let mounted = 0; mounted < 2; mounted++) {
      const guest = new MountedImage(path, "commit=300");
      const close = onEnd(() => guest.close());
      const first = join(guest.root, "first");
      appendFileSync(first, "first");
      execFileSync("sync", ["-f", guest.root]);
      await eventuallySame(
        () => listed(served.guest("g")),
        () => listed(guest.root),
      );
      const held = openSync(join(served.guest("g"), "first"), "r");
      const work = makeWork(guest.root, makeRandom(11 + mounted));
      for (let round = 0; round < 60; round++) {
        work();
        appendFileSync(first, `${round}\n`);
        fsync(first);
        await eventuallySame(
          () => listed(served.guest("g")),
          () => listed(guest.root),
        );
        const { size } = statSync(first);
        const bytes = Buffer.alloc(size + 10);
        expect(bytes.toString("utf8", 0, readSync(held, bytes, 0, bytes.length, 0))).toBe(
          readFileSync(first, "utf8"),
        );
      }
      closeSync(held);
      close();
    }
    expect(served.log()).toBe("");
    expect(await served.stop()).toBe(0);
  }, 120_000);
});
