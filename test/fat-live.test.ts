/** FAT as it is shown while the kernel's vfat writes to it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test } from "vitest";
import { compareWalks, parseWalk, walkOurs, withoutListedNumbers } from "./oracle/compare.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { type Served, serve } from "./support/images-serve.js";
import { checkFat, UmlGuest } from "./support/uml-kernel.js";
import { eventsIn, namesIn, readAll, replayed, type Seen } from "./support/worked-tree.js";

const folder = workFolder("fat-live");
afterAll(cleanUp);

/** ms within which the tree must show what the guest has synced. */
const LIMIT = 20_000;
const worker = join(import.meta.dirname, "oracle/work_fat.py");
const walker = join(import.meta.dirname, "oracle/walk.py");

interface Guest {
  readonly uml: UmlGuest;
  readonly served: Served;
  readonly tree: string;
  readonly image: string;
  readonly place: string;
}

async function guest(name: string, size: string, make: readonly string[]): Promise<Guest> {
  const place = workFolder(`fat-live-${name}`, folder);
  const image = join(place, "guest.img");
  await run("truncate", ["-s", size, image]);
  await run("mkfs.vfat", [...make, image]);
  const served = await serve(join(place, "cloud"), { g: image });
  const uml = new UmlGuest(place, image);
  await uml.does("true");
  return { uml, served, tree: served.volume("g"), image, place };
}

/** Differences between the guest's own view and ours, once the guest has synced; waits until there are none. */
async function differences({ uml, served, tree, place }: Guest): Promise<string[]> {
  await uml.does(`sync; python3 ${walker} /mnt/v > ${place}/walk`);
  const kernel = withoutListedNumbers(parseWalk(readFileSync(join(place, "walk"), "utf8")));
  // What a mount has and the disk has not: times of reading, and of the root.
  const root = kernel.entries.get("2e");
  if (root !== undefined) {
    root.mtime = "0";
    root.ctime = "0";
  }
  const until = performance.now() + LIMIT;
  for (;;) {
    const ours = await walkOurs(tree, served.guest("g"));
    const found = compareWalks(kernel, ours, { untold: ["ino", "dots", "atime"] }).differences;
    if (found.length === 0 || performance.now() > until) return found.slice(0, 20);
    await sleep(100);
  }
}

describe.each([
  ["fat12", "4M", ["-F", "12", "-s", "4"]],
  ["fat16", "30M", ["-F", "16", "-s", "4"]],
  ["fat32", "80M", ["-F", "32", "-s", "2"]],
] as const)("%s", (name, size, make) => {
  test("each step of a guest is shown when it has synced, and told", async () => {
    const live = await guest(name, size, make);
    const { uml, served, tree, image } = live;
    const steps = [
      "mkdir -p 'A directory'/below; echo one > 'A directory'/below/one.txt",
      "for n in $(seq 60); do echo $n > 'A directory'/file-number-$n; done",
      "echo more >> 'A directory'/below/one.txt; head -c 100000 /dev/urandom > big",
      "mv 'A directory'/below/one.txt ONE.TXT; mv 'A directory'/below 'moved below'",
      "for n in $(seq 1 2 60); do rm 'A directory'/file-number-$n; done; truncate -s 3000 big",
      "echo new > ONE.new; mv ONE.new ONE.TXT; mv 'moved below' 'A directory'/'again below'; chmod a-w big",
      "rm -r 'A directory'; mkdir last; head -c 50000 /dev/urandom > last/bytes",
    ];
    for (const step of steps) {
      await uml.does(step);
      expect(await differences(live), step).toEqual([]);
    }
    const told = eventsIn(tree);
    const has = (event: string, path: string) => told.some((one) => one.event === event && one.path === path);
    expect(has("created", "/A directory/file-number-7")).toBe(true);
    expect(has("deleted", "/A directory/file-number-7")).toBe(true);
    expect(has("renamed", "/moved below")).toBe(true);
    expect(has("created", "/ONE.TXT")).toBe(true);
    expect(has("content", "/big")).toBe(true);
    expect(has("attributes", "/big")).toBe(true);
    expect(has("deleted", "/A directory")).toBe(true);
    expect(has("created", "/last/bytes")).toBe(true);
    await uml.end();
    expect(checkFat(image)).toBe("");
    await served.stop();
  }, 200_000);

  test("while a guest works at random nobody who reads gets an error, and events lead to what there is", async () => {
    const live = await guest(`${name}-work`, size, make);
    const { uml, served, tree } = live;
    let isWorking = true;
    const work = uml.does(`python3 ${worker} /mnt/v 8 7`).finally(() => {
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
    await uml.end();
    await served.stop();
  }, 200_000);
});
