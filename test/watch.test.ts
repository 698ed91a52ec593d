/** Watching a guest that rests, where nothing but the image tells of its writes: over a loop device no inotify fires. */
import { closeSync, fsyncSync, mkdirSync, openSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test, vi } from "vitest";
import { Watch } from "../src/capture/watch.js";
import { followFileSystem } from "../src/filesystems/formats.js";
import { openRawImage } from "../src/images/raw.js";
import { BlockCache } from "../src/versions/block-cache.js";
import { cleanUp, mount, onEnd, run, workFolder } from "./support/images-mount.js";

const folder = workFolder("watch");

vi.setConfig({ testTimeout: 120_000 });

afterAll(cleanUp);

async function until(condition: () => boolean, limit = 60_000): Promise<void> {
  const end = performance.now() + limit;
  while (!condition() && performance.now() < end) await sleep(20);
  expect(condition()).toBe(true);
}

/** An image that is followed, and what was found. */
class Watching {
  readonly image: string;
  looks = 0;
  /** The inodes that commits have changed, and why the file system would have to be opened afresh. */
  readonly changed = new Set<number>();
  readonly reopened: string[] = [];

  constructor(image: string) {
    this.image = image;
    const raw = openRawImage(image);
    const follower = followFileSystem(raw, new BlockCache(1 << 20), () => {});
    if (follower === undefined) throw new Error("there is nothing to follow");
    const watch = new Watch();
    onEnd(() => {
      watch.stop();
      raw.close();
    });
    watch.add({
      // No inotify.
      paths: [join(folder, "nothing")],
      look: (quietAt) => {
        this.looks++;
        const found = follower.look(quietAt);
        if (found === undefined) return false;
        if ("reopen" in found) this.reopened.push(found.reopen);
        else
          for (const { changes } of found.steps) for (const { ino } of changes.inodes) this.changed.add(ino);
        return !("reopen" in found);
      },
      spots: () => follower.spots?.(),
    });
  }

  /** Waits until it is not looked at any more, as its spots tell enough. */
  async rest(): Promise<void> {
    let before: number;
    const end = performance.now() + 60_000;
    do {
      before = this.looks;
      await sleep(1500);
    } while (this.looks !== before && performance.now() < end);
    expect(this.looks).toBe(before);
  }
}

/** Writes a file to its disk, with its name; returns its inode number. */
function write(path: string): number {
  const file = openSync(path, "a");
  writeSync(file, "a line\n");
  fsyncSync(file);
  closeSync(file);
  return statSync(path).ino;
}

async function makeGuest(name: string): Promise<{ image: string; inside: string }> {
  const image = join(folder, `${name}.img`);
  await run("truncate", ["-s", "64M", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", image]);
  const inside = join(folder, `${name}-inside`);
  mkdirSync(inside);
  return { image, inside };
}

test("a guest that rests is not looked at in full, and what it writes then is seen", async () => {
  const { image, inside } = await makeGuest("rests");
  const unmount = await mount(image, inside, "loop,lazytime");
  const watching = new Watching(image);
  const first = write(join(inside, "first"));
  await until(() => watching.changed.has(first));
  await watching.rest();
  const second = write(join(inside, "second"));
  await until(() => watching.changed.has(second));
  expect(watching.reopened).toEqual([]);
  unmount();
});

test("a guest that is off is not looked at in full, and a change from outside is seen", async () => {
  const { image } = await makeGuest("off");
  const watching = new Watching(image);
  await watching.rest();
  await run("tune2fs", ["-L", "another", image]);
  await until(() => watching.reopened.length > 0);
  expect(watching.reopened[0]).toBe("changed");
});

test("a guest that has rested for long is unmounted and mounted at once, and followed on", async () => {
  const { image, inside } = await makeGuest("remounted");
  let unmount = await mount(image, inside, "loop,lazytime");
  write(join(inside, "before"));
  const watching = new Watching(image);
  for (let round = 0; round < 3; round++) {
    await watching.rest();
    unmount();
    unmount = await mount(image, inside, "loop,lazytime");
    const ino = write(join(inside, `after-${round}`));
    await until(() => watching.changed.has(ino));
    expect(watching.reopened).toEqual([]);
  }
  unmount();
});
