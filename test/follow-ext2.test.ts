import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { cleanUp, mount, run, workFolder } from "./support/images-mount.js";
import { type Served, serve } from "./support/images-serve.js";

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
    for (let round = 0; round < 12; round++) {
      for (let n = 0; n < 25; n++) worker.work();
      sync(inside);
      const expected = state(inside);
      const began = performance.now();
      expect(await eventually(() => state(tree), expected), `round ${round}\n${served.log()}`).toEqual(
        expected,
      );
      if (process.env.SAY) console.log(round, expected.length, performance.now() - began);
    }
    if (process.env.SAY) console.log(served.log());
    unmount();
    expect(await served.stop()).toBe(0);
  }, 60_000);
});
