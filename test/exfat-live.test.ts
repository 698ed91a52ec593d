/** exFAT as it is shown while exfat-fuse writes to it, on a loop device over the image. */
import { execFile, execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterAll, describe, expect, test } from "vitest";
import { compareWalks, walkKernel, walkOurs, withoutListedNumbers } from "./oracle/compare.js";
import { cleanUp, loopDevice, onEnd, run, unmountNow, workFolder } from "./support/images-mount.js";
import { main, type Served, serve } from "./support/images-serve.js";
import { eventsIn, namesIn, readAll, replayed, type Seen } from "./support/worked-tree.js";

const folder = workFolder("exfat-live");
afterAll(cleanUp);

/** ms within which the tree must show what the guest has synced. */
const LIMIT = 20_000;
const worker = join(import.meta.dirname, "oracle/work_fat.py");

interface Guest {
  readonly inside: string;
  readonly image: string;
  readonly served: Served;
  readonly tree: string;
  readonly end: () => void;
}

async function guest(name: string, size: string, make: readonly string[]): Promise<Guest> {
  const image = join(folder, `${name}.img`);
  const inside = join(folder, `${name}-inside`);
  await run("truncate", ["-s", size, image]);
  await run("mkfs.exfat", [...make, image]);
  const served = await serve(join(folder, `${name}-cloud`), { g: image });
  const { device, free } = await loopDevice(image);
  mkdirSync(inside);
  await run("mount.exfat-fuse", ["-o", "umask=022", device, inside]);
  const unmount = onEnd(() => unmountNow(inside));
  const end = () => {
    unmount();
    execFileSync("sync", [device]);
    free();
  };
  return { inside, image, served, tree: served.volume("g"), end };
}

/** Differences between the guest's own view and ours, once the guest has synced; waits until there are none. */
async function differences({ image, inside, served, tree }: Guest): Promise<string[]> {
  execFileSync("sync", ["-f", inside]);
  const theirs = withoutListedNumbers(await walkKernel(inside));
  for (const field of ["mtime", "size"] as const) delete theirs.entries.get("2e")?.[field];
  const until = performance.now() + LIMIT;
  for (;;) {
    const ours = await walkOurs(tree, served.guest("g"));
    for (const field of ["mtime", "size"] as const) delete ours.entries.get("2e")?.[field];
    // Its modes, links and blocks are its own, and it has two times for three.
    const found = compareWalks(theirs, ours, {
      untold: [
        "ino",
        "dots",
        "atime",
        "ctime",
        "mode",
        "nlink",
        "blocks",
        "blksize",
        "segments",
        "segmentCount",
      ],
      statfs: false,
    }).differences;
    if (found.length > 0 && performance.now() > until) {
      // What has been opened afresh tells whether it is what is on the disk, or what has been taken of it.
      found.push(await run("node", [main, "ls", "-lR", image]));
      found.push(served.log());
    }
    if (found.length === 0 || performance.now() > until) return found;
    await sleep(100);
  }
}

describe.each([
  ["512", "8M", ["-c", "512"]],
  ["4k", "60M", ["-c", "4K"]],
] as const)("clusters of %s", (name, size, make) => {
  test("each step of a guest is shown when it has synced, and told", async () => {
    const live = await guest(name, size, make);
    const { inside, image, served, tree } = live;
    const sh = (command: string) => run("sh", ["-ec", command], {});
    const steps = [
      "mkdir -p 'A directory'/below; echo one > 'A directory'/below/one.txt",
      "for n in $(seq 60); do echo $n > 'A directory'/file-number-$n; done",
      "echo more >> 'A directory'/below/one.txt; head -c 100000 /dev/urandom > big",
      "mv 'A directory'/below/one.txt ONE.TXT; mv 'A directory'/below 'moved below'",
      "for n in $(seq 1 2 60); do rm 'A directory'/file-number-$n; done; truncate -s 3000 big",
      "echo new > ONE.new; mv ONE.new ONE.TXT; mv 'moved below' 'A directory'/'again below'",
      "rm -r 'A directory'; mkdir last; head -c 50000 /dev/urandom > last/bytes",
    ];
    for (const step of steps) {
      await sh(`cd '${inside}'; ${step}`);
      expect(await differences(live), step).toEqual([]);
    }
    const told = eventsIn(tree);
    const has = (event: string, path: string) => told.some((one) => one.event === event && one.path === path);
    expect(has("created", "/A directory/file-number-7")).toBe(true);
    expect(has("deleted", "/A directory/file-number-7")).toBe(true);
    expect(has("renamed", "/moved below")).toBe(true);
    expect(has("content", "/big")).toBe(true);
    expect(has("deleted", "/A directory")).toBe(true);
    expect(has("created", "/last/bytes")).toBe(true);
    live.end();
    await run("fsck.exfat", ["-n", image]);
    await served.stop();
  }, 200_000);

  test("while a guest works at random nobody who reads gets an error, and events lead to what there is", async () => {
    const live = await guest(`${name}-work`, size, make);
    const { inside, served, tree } = live;
    let isWorking = true;
    const work = promisify(execFile)("python3", [worker, inside, "8", "11"]).finally(() => {
      isWorking = false;
    });
    const seen: Seen = { errors: [], foreign: 0, files: 0 };
    while (isWorking) {
      readAll(tree, seen);
      await sleep(20);
    }
    await work;
    expect(await differences(live)).toEqual([]);
    expect(seen.errors.slice(0, 5)).toEqual([]);
    expect(seen.files).toBeGreaterThan(50);
    expect([...replayed(eventsIn(tree))].sort()).toEqual([...namesIn(tree)].sort());
    // No file has two names.
    expect(eventsIn(tree).filter(({ event }) => event === "linked" || event === "unlinked")).toEqual([]);
    live.end();
    await served.stop();
  }, 200_000);
});
