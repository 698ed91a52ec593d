/** A watch that comes late: the guest's changes are in their places before its journal is read. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { Changes } from "../src/filesystems/changes.js";
import type { Follower } from "../src/filesystems/follower.js";
import { followFileSystem } from "../src/filesystems/formats.js";
import { openRawImage } from "../src/images/raw.js";
import { settleDoubts } from "../src/inference/doubts.js";
import { InodeIndex } from "../src/inference/inode-index.js";
import { BlockCache } from "../src/versions/block-cache.js";
import { cleanUp, mount, run, workFolder } from "./support/images-mount.js";

const folder = workFolder("late");

afterAll(cleanUp);

async function makeGuest(name: string): Promise<{ image: string; inside: string; unmount: () => void }> {
  const image = join(folder, `${name}.img`);
  await run("truncate", ["-s", "4G", image]);
  // Many groups, over which directories at the top are spread.
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-O", "^flex_bg", image]);
  const inside = join(folder, `${name}-inside`);
  return { image, inside, unmount: await mount(image, inside, "loop") };
}

/** All that the guest has changed, in its journal and in its place (syncfs also writes the block device's cache). */
function sync(inside: string): void {
  execFileSync("sync", ["-f", inside]);
}

test("what was there before is not made up from what is there now", async () => {
  const { image, inside, unmount: unmountFirst } = await makeGuest("library");
  mkdirSync(join(inside, "d"));
  for (const name of ["stays", "goes", "changes"]) writeFileSync(join(inside, "d", name), name);
  // What follows has its inodes in other blocks.
  for (let n = 0; n < 40; n++) writeFileSync(join(inside, `other-${n}`), "");
  // Nothing of it is left in the journal.
  unmountFirst();
  const unmount = await mount(image, inside, "loop");
  // The journal is in use.
  writeFileSync(join(inside, "other"), "");
  sync(inside);
  const raw = openRawImage(image);
  const follower = followFileSystem(raw, new BlockCache(1 << 20), () => {});
  const directory = statSync(join(inside, "d")).ino;
  const changed = statSync(join(inside, "d/changes")).ino;
  rmSync(join(inside, "d/goes"));
  chmodSync(join(inside, "d/changes"), 0o400);
  sync(inside);
  const found = follower?.look();
  const changes: Changes[] =
    found === undefined || "reopen" in found ? [] : found.steps.map((step) => step.changes);
  expect(changes.length).toBeGreaterThan(0);
  const listing = changes.flatMap((one) => one.unsureDirectories).find((one) => one.directory === directory);
  expect([...(listing?.names?.keys() ?? [])].sort()).toEqual(["changes", "stays"]);
  const inode = changes.flatMap((one) => one.unsureInodes).find(({ ino }) => ino === changed);
  expect((inode?.now?.mode ?? 0) & 0o7777).toBe(0o400);
  // What it has seen once, it knows.
  rmSync(join(inside, "d/changes"));
  sync(inside);
  const next = follower?.look();
  const names =
    next === undefined || "reopen" in next ? [] : next.steps.flatMap((step) => step.changes.names);
  expect(names.map(({ name, ino, now }) => [name.toString(), ino, now])).toEqual([["changes", changed, 0]]);
  unmount();
  raw.close();
});

test("the names of a directory that was removed are not made up when its block has been used for something else", async () => {
  const { image, inside, unmount: unmountFirst } = await makeGuest("reused");
  mkdirSync(join(inside, "d"));
  writeFileSync(join(inside, "d/moves"), "moves");
  const directory = statSync(join(inside, "d")).ino;
  const moved = statSync(join(inside, "d/moves")).ino;
  unmountFirst();
  const block = Number(await run("debugfs", ["-R", "blocks d", image]));
  expect(block).toBeGreaterThan(0);
  const unmount = await mount(image, inside, "loop");
  writeFileSync(join(inside, "other"), "");
  execFileSync("sync", ["-f", inside]);
  const raw = openRawImage(image);
  const follower = followFileSystem(raw, new BlockCache(1 << 20), () => {});
  renameSync(join(inside, "d/moves"), join(inside, "moved"));
  rmdirSync(join(inside, "d"));
  // It is in the journal, and nothing in its place.
  const other = openSync(join(inside, "other"), "w");
  fsyncSync(other);
  closeSync(other);
  const file = openSync(image, "r+");
  writeSync(file, Buffer.alloc(4096, "of another file "), 0, 4096, block * 4096);
  closeSync(file);
  const found = follower?.look();
  const changes: Changes[] =
    found === undefined || "reopen" in found ? [] : found.steps.map((step) => step.changes);
  const index = new InodeIndex(2);
  index.link(2, Buffer.from("d"), directory);
  index.link(directory, Buffer.from("moves"), moved);
  const names = changes.flatMap((one) => settleDoubts(one, index).names);
  expect(names.map((one) => [one.directory, one.name.toString(), one.ino, one.now])).toContainEqual([
    directory,
    "moves",
    moved,
    0,
  ]);
  unmount();
  raw.close();
});

test("a follower that is started again goes on from where another one ended", async () => {
  const { image, inside, unmount } = await makeGuest("again");
  writeFileSync(join(inside, "first"), "");
  sync(inside);
  const raw = openRawImage(image);
  const open = (after?: number) => followFileSystem(raw, new BlockCache(1 << 20), () => {}, after);
  const take = (follower: Follower | undefined) => {
    const found = follower?.look();
    return found === undefined || "reopen" in found ? [] : found.steps;
  };
  const one = open();
  writeFileSync(join(inside, "second"), "");
  sync(inside);
  const last = take(one).at(-1)?.commit.sequence as number;
  expect(last).toBeGreaterThan(0);
  writeFileSync(join(inside, "third"), "");
  sync(inside);
  writeFileSync(join(inside, "fourth"), "");
  sync(inside);
  const again = open(last);
  expect(again?.isResumed).toBe(true);
  const names = take(again).flatMap(({ changes }) => changes.names.map(({ name }) => name.toString()));
  expect(names).toEqual(["third", "fourth"]);
  // Nothing to go on from, since nobody knows what came before it.
  expect(open(last + 1000)?.isResumed).toBe(false);
  unmount();
  const remounted = await mount(image, inside, "loop");
  writeFileSync(join(inside, "fifth"), "");
  sync(inside);
  expect(open(last)?.isResumed).toBe(false);
  remounted();
  raw.close();
});
