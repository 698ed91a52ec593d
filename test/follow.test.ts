import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test, vi } from "vitest";
import { cleanUp, mount, run, workFolder } from "./support/images-mount.js";
import { type Served, serve } from "./support/images-serve.js";

const folder = workFolder("follow");

vi.setConfig({ testTimeout: 120_000 });

afterAll(cleanUp);

/** A guest whose file system the kernel has mounted read-write over a loop device, and the tree of it. */
interface Guest {
  readonly image: string;
  /** The guest's own view. */
  readonly inside: string;
  /** Ours. */
  readonly tree: string;
  readonly served: Served;
  unmount: () => void;
}

async function guest(name: string, make: string[] = ["-t", "ext4"], options = "loop"): Promise<Guest> {
  const image = join(folder, `${name}.img`);
  await run("truncate", ["-s", "64M", image]);
  await run("mke2fs", ["-q", "-F", ...make, image]);
  const inside = join(folder, `${name}-inside`);
  const served = await serve(join(folder, `${name}-cloud`), { g: image });
  const unmount = await mount(image, inside, options);
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
    const file =
      (mode & 0o170000n) === 0o100000n ? createHash("sha256").update(readFileSync(full)).digest("hex") : "";
    const target = (mode & 0o170000n) === 0o120000n ? readlinkSync(full) : "";
    lines.push(
      [at, ino & 0xffffffffn, mode, nlink, uid, size, blocks, mtimeNs, ctimeNs, file, target].join(" "),
    );
    if ((mode & 0o170000n) === 0o040000n) lines.push(...state(top, at));
  }
  return lines;
}

/** Waits until `read` gives what is expected; what it gives at the end, if it never does. */
async function eventually<T>(read: () => T, expected: T, limit = 30_000): Promise<T | string> {
  const until = performance.now() + limit;
  let last: T | string;
  do {
    try {
      last = read();
      if (JSON.stringify(last) === JSON.stringify(expected)) return last;
    } catch (error) {
      last = String(error);
    }
    await sleep(5);
  } while (performance.now() < until);
  return last;
}

function sync(top: string): void {
  execFileSync("sync", ["-f", top]);
}

describe("a running guest", () => {
  test("what it appends and fsyncs is there at once, also for a file that is held open", async () => {
    const { inside, tree, served, unmount } = await guest("append");
    const log = openSync(join(inside, "log"), "a");
    appendFileSync(log, "first\n");
    fsyncSync(log);
    expect(await eventually(() => readFileSync(join(tree, "log"), "utf8"), "first\n")).toBe("first\n");
    const held = openSync(join(tree, "log"), "r");
    let expected = "first\n";
    for (let i = 0; i < 50; i++) {
      appendFileSync(log, `line ${i}\n`);
      expected += `line ${i}\n`;
      fsyncSync(log);
      const buffer = Buffer.alloc(10_000);
      expect(
        await eventually(
          () => buffer.toString("utf8", 0, readSync(held, buffer, 0, buffer.length, 0)),
          expected,
        ),
      ).toBe(expected);
    }
    closeSync(held);
    closeSync(log);
    unmount();
    expect(await served.stop()).toBe(0);
  });

  test("a rotated log keeps its identity, and tail -F prints each line once, in order", async () => {
    const { inside, tree, served, unmount } = await guest("rotate");
    const path = join(inside, "log");
    const put = (text: string) => {
      const log = openSync(path, "a");
      appendFileSync(log, text);
      fsyncSync(log);
      closeSync(log);
    };
    put("0\n");
    await eventually(() => readFileSync(join(tree, "log"), "utf8"), "0\n");
    const tail = spawn("tail", ["-F", "-n", "+1", "-s", "0.05", join(tree, "log")], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    let seen = "";
    tail.stdout.on("data", (text) => {
      seen += text;
    });
    let expected = "0\n";
    for (let i = 1; i < 60; i++) {
      if (i % 20 === 0) {
        // As a log shipper must, tail has to have read a log before it is rotated away twice.
        await eventually(() => seen, expected);
        renameSync(path, join(inside, `log.${i}`));
      }
      put(`${i}\n`);
      expected += `${i}\n`;
      await sleep(20);
    }
    expect(await eventually(() => seen, expected, 5000)).toBe(expected);
    tail.kill();
    unmount();
    expect(await served.stop()).toBe(0);
  });

  test.each([
    ["ext4", ["-t", "ext4"], "loop"],
    ["ext4, 1 KiB blocks, a small journal that wraps", ["-t", "ext4", "-b", "1024", "-J", "size=1"], "loop"],
    ["ext3", ["-t", "ext3"], "loop"],
    ["data=journal", ["-t", "ext4"], "loop,data=journal"],
    ["fast_commit", ["-t", "ext4", "-O", "fast_commit"], "loop"],
    ["no checksums", ["-t", "ext4", "-O", "^metadata_csum"], "loop"],
  ] as const)(
    "after each sync, the whole tree is the guest's: %s",
    async (name, make, options) => {
      const { inside, tree, served, unmount } = await guest(
        `ops-${name.replace(/\W+/g, "-")}`,
        [...make],
        options,
      );
      // A plain generator: the same operations in each run.
      let random = 12345;
      const next = (n: number) => {
        random = (Math.imul(random, 1103515245) + 12345) >>> 0;
        return (random >>> 8) % n;
      };
      const files: string[] = [];
      const directories = [""];
      const pick = (of: string[]) => of[next(of.length)] as string;
      for (let round = 0; round < 25; round++) {
        for (let n = 0; n < 20; n++) {
          const fresh = join(pick(directories), `${"n".repeat(1 + next(60))}-${round}-${n}`);
          const kind = next(10);
          const file = files.length > 0 ? pick(files) : "";
          if (kind < 3 || file === "") {
            writeFileSync(join(inside, fresh), Buffer.alloc(next(20_000), 65 + next(26)));
            files.push(fresh);
          } else if (kind < 5) appendFileSync(join(inside, file), Buffer.alloc(next(9000), 97 + next(26)));
          else if (kind === 5) {
            renameSync(join(inside, file), join(inside, fresh));
            files[files.indexOf(file)] = fresh;
          } else if (kind === 6) {
            rmSync(join(inside, file));
            files.splice(files.indexOf(file), 1);
          } else if (kind === 7) truncateSync(join(inside, file), next(8000));
          else if (kind === 8 && directories.length < 40) {
            mkdirSync(join(inside, fresh));
            directories.push(fresh);
          } else {
            const over = pick(files);
            if (over === file) continue;
            renameSync(join(inside, file), join(inside, over));
            files.splice(files.indexOf(file), 1);
          }
        }
        sync(inside);
        const expected = state(inside);
        expect(await eventually(() => state(tree), expected), `round ${round}\n${served.log()}`).toEqual(
          expected,
        );
      }
      unmount();
      expect(await served.stop()).toBe(0);
    },
    60_000,
  );

  test("a reader never gets another file's bytes, however fast blocks are used again", async () => {
    const { inside, tree, served, unmount } = await guest("reuse");
    let wrong = 0;
    let reads = 0;
    for (let round = 0; round < 40; round++) {
      for (let n = 0; n < 20; n++) writeFileSync(join(inside, `f${n}`), Buffer.alloc(40_000, `${n % 10}`));
      sync(inside);
      await eventually(() => statSync(join(tree, "f19")).size, 40_000);
      for (let n = 0; n < 20; n++) rmSync(join(inside, `f${n}`));
      for (let n = 0; n < 20; n++) writeFileSync(join(inside, `g${n}`), Buffer.alloc(40_000, "x"));
      sync(inside);
      for (let n = 0; n < 20; n++) {
        try {
          const bytes = readFileSync(join(tree, `f${n}`));
          reads++;
          if (bytes.includes("x")) wrong++;
        } catch {
          // Deleted: that is an answer.
        }
      }
      for (let n = 0; n < 20; n++) rmSync(join(inside, `g${n}`));
      sync(inside);
    }
    expect({ wrong }).toEqual({ wrong: 0 });
    expect(reads).toBeGreaterThanOrEqual(0);
    unmount();
    expect(await served.stop()).toBe(0);
  }, 120_000);
});

test("a guest is shut down, started again, checked, grown and made anew: the tree follows", async () => {
  const { image, inside, tree, served, unmount } = await guest("life");
  writeFileSync(join(inside, "one"), "1");
  unmount();
  expect(await eventually(() => readFileSync(join(tree, "one"), "utf8"), "1")).toBe("1");
  const again = await mount(image, inside, "loop");
  writeFileSync(join(inside, "two"), "2");
  sync(inside);
  expect(await eventually(() => readFileSync(join(tree, "two"), "utf8"), "2")).toBe("2");
  again();
  await run("e2fsck", ["-f", "-y", image], { accept: [1] });
  expect(await eventually(() => readFileSync(join(tree, "two"), "utf8"), "2")).toBe("2");
  await run("truncate", ["-s", "128M", image]);
  await run("resize2fs", [image]);
  const grown = await mount(image, inside, "loop");
  writeFileSync(join(inside, "three"), Buffer.alloc(70 << 20, 3));
  sync(inside);
  const blocks = execFileSync("stat", ["-f", "-c", "%b", inside], { encoding: "utf8" });
  expect(
    await eventually(() => execFileSync("stat", ["-f", "-c", "%b", tree], { encoding: "utf8" }), blocks),
  ).toBe(blocks);
  expect(await eventually(() => statSync(join(tree, "three")).size, 70 << 20)).toBe(70 << 20);
  expect(readFileSync(join(tree, "three")).every((byte) => byte === 3)).toBe(true);
  grown();
  await run("mke2fs", ["-q", "-F", "-t", "ext4", image]);
  expect(await eventually(() => readdirSync(tree), ["lost+found"], 5000)).toEqual(["lost+found"]);
  expect(await served.stop()).toBe(0);
}, 120_000);

test("ext2, which has no journal, is current after about a second", async () => {
  const { inside, tree, served, unmount } = await guest("ext2", ["-t", "ext2"]);
  for (const text of ["a", "bb", "ccc"]) {
    writeFileSync(join(inside, "file"), text);
    sync(inside);
    expect(await eventually(() => readFileSync(join(tree, "file"), "utf8"), text, 4000)).toBe(text);
  }
  unmount();
  expect(await served.stop()).toBe(0);
});
