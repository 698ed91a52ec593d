/** What a write was, worked out from a map of blocks: made-up volumes, and what hostile ones would cost. */
import { expect, test, vi } from "vitest";
import { BlockKind } from "../src/filesystems/block-kind.js";
import type { BlockSink } from "../src/filesystems/crawler.js";
import type { FileFacts, FileMaps } from "../src/filesystems/follower.js";
import { BlockOwners } from "../src/inference/block-owners.js";
import { ExtentTable } from "../src/inference/extent-table.js";
import { KeptWrites } from "../src/inference/kept-writes.js";
import { sortedOrder } from "../src/inference/sorted-order.js";
import { WriteInference } from "../src/inference/writes.js";
import { WrittenRanges } from "../src/inference/written-ranges.js";

vi.setConfig({ testTimeout: 120_000 });

const BLOCK = 4096;
const GIB = 2 ** 30;
const { DATA, UNWRITTEN, DIRECTORY, NONE } = BlockKind;

function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
}

type Extent = readonly [physical: number, count: number, logical: number, kind: 14 | 15 | 10];

/** A volume whose files lie where they are said to. */
class Volume implements FileMaps {
  readonly blockSize = BLOCK;
  readonly files = new Map<number, { size: number; extents: Extent[] }>();

  facts(ino: number, out: FileFacts): boolean {
    const file = this.files.get(ino);
    out.generation = ino + 1;
    out.mode = 0o100644;
    out.size = file?.size ?? 0;
    return file !== undefined;
  }

  extents(ino: number, sink: BlockSink): void {
    for (const [physical, count, logical, kind] of this.files.get(ino)?.extents ?? [])
      sink.extent(physical, count, ino, logical, kind);
  }
}

function inferenceOf(volume: Volume, limits = {}): WriteInference {
  const inference = new WriteInference(GIB, limits);
  inference.know(new BlockOwners(GIB / BLOCK, new ExtentTable(GIB / BLOCK)), volume, volume.files.keys());
  return inference;
}

const NO_BLOCKS = new Float64Array();

test("a map of blocks is as one that is made afresh, whatever changes", () => {
  const blocks = 20_000;
  for (const seed of [1, 2, 3]) {
    const dice = random(seed);
    const owners = new BlockOwners(blocks, new ExtentTable(blocks));
    const model = new Map<number, string>();
    const wrong: string[] = [];
    for (let step = 0; step < 3000; step++) {
      const ino = 11 + dice(400);
      for (const [block, text] of model) if (text.startsWith(`${ino} `)) model.delete(block);
      const pieces = dice(4);
      owners.replace(ino, (sink) => {
        for (let n = 0, logical = 0; n < pieces; n++) {
          const first = dice(blocks - 20);
          let count = 0;
          while (count < 1 + dice(15) && !model.has(first + count)) {
            model.set(first + count, `${ino} ${logical + count} ${DATA}`);
            count++;
          }
          if (count > 0) sink.extent(first, count, ino, logical, DATA);
          logical += count + 1;
        }
      });
      if (step % 100 !== 99) continue;
      for (let block = 0; block < blocks; block++) {
        const kind = owners.find(block);
        const text = kind === NONE ? undefined : `${owners.inode} ${owners.logical} ${kind}`;
        const last = Math.min(owners.end, blocks) - 1;
        if (text !== model.get(block)) wrong.push(`${block}: ${text}, not ${model.get(block)}`);
        if (model.has(last) !== (kind !== NONE)) wrong.push(`${block}: not up to ${last}`);
      }
    }
    expect(wrong.slice(0, 10)).toEqual([]);
  }
});

test("numbers are sorted by digits as by comparing", () => {
  const dice = random(5);
  for (const most of [100, 70_000, 2 ** 24, 2 ** 40]) {
    const keys = Float64Array.from({ length: 9000 }, () => Math.floor((dice(2 ** 24) / 2 ** 24) * most));
    const order = [...sortedOrder(keys, keys.length)];
    const compared = [...keys.keys()].sort((a, b) => keys[a]! - keys[b]! || a - b);
    expect(order).toEqual(compared);
  }
});

test("a write to a new file is told when its commit has come, up to where the file reaches, and then further", () => {
  const volume = new Volume();
  const inference = inferenceOf(volume);
  inference.take("write", 100 * BLOCK, 2 * BLOCK, 7, 1000, 0);
  expect(inference.finish(0)).toEqual([]);
  volume.files.set(12, { size: BLOCK + 10, extents: [[100, 2, 0, DATA]] });
  inference.commit([12], NO_BLOCKS, NO_BLOCKS);
  expect(inference.finish(0)).toEqual([
    { ino: 12, generation: 13, ranges: [[0, BLOCK + 10]], sequence: 7, time: 1000 },
  ]);
  volume.files.get(12)!.size = BLOCK + 500;
  inference.commit([12], NO_BLOCKS, NO_BLOCKS);
  expect(inference.finish(0)[0]?.ranges).toEqual([[BLOCK + 10, 490]]);
  expect(inference.counters).toMatchObject({ unknown: 2 * BLOCK, explained: 2 * BLOCK, data: 0 });
});

test("a write to reserved blocks is told once they count as written; blocks of directories are none of files", () => {
  const volume = new Volume();
  volume.files.set(12, { size: 8 * BLOCK, extents: [[50, 8, 0, UNWRITTEN]] });
  volume.files.set(13, { size: BLOCK, extents: [[80, 1, 0, DIRECTORY]] });
  const inference = inferenceOf(volume);
  inference.take("write", 52 * BLOCK, BLOCK, 1, 0, 0);
  inference.take("write", 80 * BLOCK, BLOCK, 2, 0, 0);
  expect(inference.finish(0)).toEqual([]);
  volume.files.get(12)!.extents = [
    [50, 2, 0, UNWRITTEN],
    [52, 1, 2, DATA],
    [53, 5, 3, UNWRITTEN],
  ];
  inference.commit([12], NO_BLOCKS, NO_BLOCKS);
  expect(inference.finish(0).map(({ ino, ranges }) => [ino, ranges])).toEqual([[12, [[2 * BLOCK, BLOCK]]]]);
  expect(inference.counters.metadata).toBe(BLOCK);
});

test("what nobody explains goes when its time is up, and the oldest when there is too much", () => {
  const inference = inferenceOf(new Volume(), { unknownLife: 1000, mostUnknown: 100 });
  inference.take("write", 0, BLOCK, 1, 0, 0);
  inference.take("write", 4 * BLOCK, BLOCK, 2, 0, 900);
  inference.finish(1500);
  expect(inference.counters.expired).toBe(BLOCK);
  expect(inference.waiting).toEqual({ ranges: 1, bytes: BLOCK });
  for (let n = 0; n < 1000; n++)
    inference.take("write", (10 + 2 * n) * BLOCK, BLOCK, 3 + n, 0, 1500 + n / 10);
  inference.finish(1600);
  expect(inference.waiting.ranges).toBeLessThanOrEqual(100);
  expect(inference.counters.dropped).toBe((1001 - inference.waiting.ranges) * BLOCK);
  inference.take("discard", 0, GIB, 2000, 0, 1700);
  expect(inference.waiting.ranges).toBe(0);
});

test("ranges of one file are few, whatever is written, and cover what was", () => {
  const dice = random(3);
  const ranges = new WrittenRanges();
  const places: number[] = [];
  for (let n = 0; n < 50_000; n++) {
    places.push(dice(2 ** 24) * BLOCK);
    ranges.add(places[n]!, places[n]! + BLOCK);
  }
  const pairs = ranges.toPairs();
  expect(pairs.length).toBeLessThanOrEqual(64);
  for (const place of places)
    expect(pairs.some(([at, length]) => at <= place && place + BLOCK <= at + length)).toBe(true);
  for (let n = 1; n < pairs.length; n++)
    expect(pairs[n]![0]).toBeGreaterThan(pairs[n - 1]![0] + pairs[n - 1]![1]);
});

test("a batch of 16,384 writes is worked on in little time, whatever waits, and however wide they are", () => {
  const volume = new Volume();
  for (let n = 0; n < 5000; n++)
    volume.files.set(100 + n, { size: BLOCK, extents: [[10_000 + 2 * n, 1, 0, DATA]] });
  const inference = inferenceOf(volume);
  const dice = random(9);
  const began = performance.now();
  for (let batch = 0; batch < 10; batch++) {
    for (let n = 0; n < 16_384; n++)
      inference.take("write", (10_000 + dice(200_000)) * BLOCK, BLOCK, 1 + n, 0, batch);
    inference.take("zeroes", 0, GIB, 20_000, 0, batch);
    inference.finish(batch);
  }
  // A tenth of it is usual: it says that nothing is looked at block by block for each write.
  expect(performance.now() - began).toBeLessThan(20_000);
  expect(inference.waiting.ranges).toBeLessThanOrEqual(65_536);
});

test("kept writes are ranges apart, and know their last write", () => {
  const kept = new KeptWrites(1000);
  kept.add(0, 100, 1, 10, 0);
  kept.add(300, 400, 2, 20, 0);
  kept.add(50, 150, 3, 30, 5);
  kept.add(150, 200, 4, 40, 5);
  const all: number[][] = [];
  kept.touch(120, 310);
  kept.takeTouched((...range) => void all.push(range));
  expect(all).toEqual([
    [0, 200, 4, 40, 5],
    [300, 400, 2, 20, 0],
  ]);
  expect(kept.length).toBe(0);
});
