/** What the kernel is told to drop, and told again: of an inode it is just being told of it has nothing to drop yet. */
import { afterEach, expect, test } from "vitest";
import { ReadMarks } from "../src/cloud/read-marks.js";
import { KernelCopies } from "../src/daemon/kernel-copies.js";
import type { Notifications } from "../src/daemon/notifying.js";
import type { ShownVolume } from "../src/daemon/shown-volumes.js";
import type { Changes } from "../src/filesystems/changes.js";
import { FileType } from "../src/filesystems/filesystem.js";

const copies = new KernelCopies(() => false, new ReadMarks());

/** How often each inode was dropped. */
const dropped = new Map<number, number>();

const notifications: Notifications = {
  invalidateInode: (_high, low) => {
    dropped.set(low, (dropped.get(low) ?? 0) + 1);
  },
  invalidateEntry: () => {},
  increaseEpoch: () => true,
};

const shown = { volume: "g/sda", placeIds: [1] } as unknown as ShownVolume;

afterEach(() => copies.stop());

test("a file of which more is shown is dropped again: it may have been answered for just before", async () => {
  copies.start(notifications, [shown], 2);
  copies.reveal("g/sda", [7, 12]);
  expect(dropped.get(12)).toBe(1);
  await expect.poll(() => dropped.get(12)).toBeGreaterThan(1);
});

test.each([
  ["a regular file", FileType.REGULAR],
  ["a directory", FileType.DIRECTORY],
  ["a link", FileType.LINK],
  ["a socket", FileType.SOCKET],
])("%s whose inode has changed is dropped again", async (_what, type) => {
  copies.start(notifications, [shown], 2);
  const ino = 20 + type;
  const state = { mode: type | 0o600, generation: 7 };
  const inodes = [{ ino, old: state, now: state }];
  const changes = { inodes, names: [], unsureInodes: [], unsureDirectories: [] } as unknown as Changes;
  copies.change("g/sda", changes);
  expect(dropped.get(ino)).toBe(1);
  await expect.poll(() => dropped.get(ino)).toBeGreaterThan(1);
});
