/** What a real kernel writes to its disk, recorded by the tap, and what is worked out from it when it is played again. */
import { closeSync, copyFileSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Tapping } from "../../src/daemon/tapping.js";
import { BlockKind } from "../../src/filesystems/block-kind.js";
import type { FileMaps, Follower } from "../../src/filesystems/follower.js";
import { crawlBlocks, followFileSystem } from "../../src/filesystems/formats.js";
import { openRawImage } from "../../src/images/raw.js";
import { BlockOwners } from "../../src/inference/block-owners.js";
import { ExtentSink } from "../../src/inference/extent-sink.js";
import { type WriteCounters, WriteInference } from "../../src/inference/writes.js";
import type { Written } from "../../src/inference/written.js";
import type { WriteRecord } from "../../src/queue/write-record.js";
import { BlockCache } from "../../src/versions/block-cache.js";
import { loopDevice, mount, onEnd, run } from "./images-mount.js";
import { nbdfuse } from "./nbd-tap.js";

/** The built one: a thread needs a file that Node can run. */
const { Tapping: Built } = (await import(new URL("../../dist/daemon/tapping.js", import.meta.url).href)) as {
  Tapping: typeof Tapping;
};
const writer = join(import.meta.dirname, "stamped_writer.py");
const MIB = 1 << 20;

/** A file that the guest had: its number, inode and generation, and whether it was deleted. */
export type StampedFile = readonly [number, number, number, boolean];

export interface RecordedStream {
  /** The disk as it was before, and as it was after. */
  readonly before: string;
  readonly after: string;
  readonly records: readonly WriteRecord[];
  readonly files: readonly StampedFile[];
}

export interface StreamRecipe {
  readonly mke2fs: readonly string[];
  readonly options?: string;
  readonly hasExtents?: boolean;
  readonly rounds?: number;
}

/** Has a kernel write to a file system through the tap. */
export async function recordStream(
  folder: string,
  recipe: StreamRecipe,
  seed: number,
): Promise<RecordedStream> {
  const [before, after] = [join(folder, "before.img"), join(folder, "after.img")];
  await run("truncate", ["-s", "96M", after]);
  await run("mke2fs", ["-q", "-F", "-E", "lazy_itable_init=0", ...recipe.mke2fs, after]);
  const inside = join(folder, "inside");
  const unmount = await mount(after, inside, "loop");
  for (const [name, count] of [
    ["before-a", 1],
    ["before-b", 900],
  ] as const)
    await run("dd", ["if=/dev/zero", `of=${join(inside, name)}`, "bs=512", `count=${count}`, "status=none"]);
  unmount();
  copyFileSync(after, before);
  const records: WriteRecord[] = [];
  const tapping = new Built({
    limits: { sizeLimit: 512 * MIB, outstandingWrites: 1 << 20 },
    log: () => {},
    onDeath: () => {},
    consume: (_, batch) => void records.push(...batch),
  });
  const socket = join(folder, "tap.sock");
  await tapping.listen({ path: socket });
  await tapping.add({ name: "disk", kind: "image", path: after, isReadOnly: false, isCaptured: true });
  const disk = await nbdfuse(`nbd+unix:///disk?socket=${socket}`, join(folder, "nbd"));
  const loop = await loopDevice(disk.file, ["--direct-io=on"]);
  const leave = await mount(loop.device, inside, recipe.options ?? "defaults");
  const args = [
    inside,
    `${recipe.rounds ?? 120}`,
    `${seed}`,
    ...(recipe.hasExtents === false ? [] : ["extents"]),
  ];
  const files = JSON.parse(await run("python3", [writer, ...args])) as StampedFile[];
  leave();
  loop.free();
  await disk.end();
  await tapping.stop();
  return { before, after, records, files };
}

export interface Played {
  readonly written: readonly Written[];
  readonly counters: WriteCounters;
  /** Ranges that nobody could explain, and their bytes. */
  readonly waiting: { readonly ranges: number; readonly bytes: number };
  readonly hasLost: boolean;
  /** Whether a byte of the disk is the journal's. */
  readonly isJournal: (offset: number) => boolean;
}

export interface PlayOptions {
  /** The records that the inference is told, where they are not those of the disk. */
  readonly told?: (record: WriteRecord) => WriteRecord;
  /** Records of a batch. */
  readonly batch: () => number;
  /** The part of the stream after which it is known what blocks hold: 0, from its beginning on. */
  readonly readyAfter?: number;
}

/** Plays a stream onto a copy of the disk, batch by batch, as a capture would tell of it. */
export async function play(
  folder: string,
  { before }: RecordedStream,
  records: readonly WriteRecord[],
  { told = (record) => record, batch, readyAfter = 0 }: PlayOptions,
): Promise<Played> {
  const copy = join(folder, "played.img");
  copyFileSync(before, copy);
  const image = openRawImage(copy);
  const fd = openSync(copy, "r+");
  const close = onEnd(() => {
    closeSync(fd);
    image.close();
    rmSync(copy, { force: true });
  });
  const log = (line: string) => void process.stderr.write(`${line}\n`);
  let follower = followFileSystem(image, new BlockCache(8 * MIB), log) as Follower;
  const inference = new WriteInference(image.size);
  const written: Written[] = [];
  let changed: Set<number> | undefined;
  let sink = new ExtentSink(1 << 30);
  const crawl = (): void => {
    changed = new Set();
    sink = new ExtentSink(1 << 30);
    crawlBlocks(image, new BlockCache(4 * MIB), log, sink);
  };
  const know = (): void => {
    if (changed === undefined || follower.maps === undefined) return;
    inference.know(new BlockOwners(sink.blocks, sink.table), follower.maps, changed);
    changed = undefined;
  };
  const look = (): boolean => {
    const found = follower.look();
    if (found === undefined) return false;
    if ("reopen" in found) {
      follower = followFileSystem(image, new BlockCache(8 * MIB), log) as Follower;
      inference.forget();
      crawl();
      know();
      return true;
    }
    if (found.afresh === true && !inference.isReady) crawl();
    for (const { commit, changes } of found.steps) {
      const inodes = [...changes.inodes, ...changes.unsureInodes].map(({ ino }) => ino);
      for (const ino of inodes) changed?.add(ino);
      inference.commit(inodes, commit.blocks, commit.revoked);
    }
    return found.steps.length > 0 || found.isWaiting === true || found.afresh === true;
  };
  const settle = async (ms: number): Promise<void> => {
    for (const end = performance.now() + ms; performance.now() < end; await sleep(5)) look();
    written.push(...inference.finish(performance.now()));
  };
  crawl();
  // Without a journal all metadata is read at first.
  while (follower.maps === undefined) look();
  if (readyAfter === 0) know();
  let hasLost = false;
  for (let at = 0; at < records.length; ) {
    const pieces = records.slice(at, at + Math.max(1, batch()));
    at += pieces.length;
    for (const { kind, data, offset, length } of pieces) {
      if (kind === "write") writeSync(fd, data as Buffer, 0, length, offset);
      if (kind === "zeroes") writeSync(fd, Buffer.alloc(length), 0, length, offset);
    }
    if (changed !== undefined && at >= readyAfter * records.length) know();
    while (look());
    for (const record of pieces.map(told)) {
      const { kind, offset, length, sequence, time } = record;
      inference.take(kind, offset, length, sequence, time, performance.now());
    }
    hasLost = inference.takeLost() || hasLost;
    written.push(...inference.finish(performance.now()));
  }
  // Without a journal, what is there is taken when it fits.
  await settle(follower.isResumed ? 50 : 400);
  const { counters, waiting } = inference;
  const owners = new BlockOwners(sink.blocks, sink.table);
  const { blockSize } = follower.maps as FileMaps;
  const isJournal = (offset: number) => owners.find(Math.floor(offset / blockSize)) === BlockKind.JOURNAL;
  close();
  return { written, counters: { ...counters }, waiting, hasLost, isJournal };
}
