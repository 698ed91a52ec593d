/** The queue between a disk's writer and whoever works on its writes. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { WriteQueue } from "../src/queue/write-queue.js";
import type { WriteKind, WriteRecord } from "../src/queue/write-record.js";

let sequence = 0;

function record(offset: number, length: number, kind: WriteKind = "write"): WriteRecord {
  const data = kind === "write" ? Buffer.alloc(length, offset % 251) : undefined;
  return { kind, offset, length, data, fua: false, sequence: ++sequence, time: 0 };
}

/** A consumer whose first batch does not end before it is told to. */
function slowConsumer() {
  const batches: Array<readonly WriteRecord[]> = [];
  let go = () => {};
  const held = new Promise<void>((resolve) => {
    go = resolve;
  });
  const consume = async (batch: readonly WriteRecord[]) => {
    batches.push(batch);
    await held;
  };
  return { batches, consume, go, all: () => batches.flat() };
}

const text = ({ kind, offset, length }: WriteRecord) => `${kind} ${offset}+${length}`;

describe("a queue with room", () => {
  test("delivers everything in order, many at a time, none before the batch before is done", async () => {
    let running = 0;
    const seen: number[] = [];
    const queue = new WriteQueue({
      flushTimeout: 1,
      consume: async (batch) => {
        expect(++running).toBe(1);
        seen.push(...batch.map(({ offset }) => offset));
        await sleep(2);
        running--;
      },
    });
    for (let i = 0; i < 1000; i++) {
      expect(queue.take(record(i, 512))).toBeUndefined();
      if (i % 100 === 0) await sleep(1);
    }
    await queue.flush();
    expect(seen).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    const { writes, bytes, batches, waitingWrites, waitingBytes, droppedWrites } = queue.counters;
    expect({ writes, bytes, waitingWrites, waitingBytes, droppedWrites }).toEqual({
      writes: 1000,
      bytes: 512_000,
      waitingWrites: 0,
      waitingBytes: 0,
      droppedWrites: 0,
    });
    expect(batches).toBeLessThan(500);
  });

  test("delivers when the time-out is up, and at once when a buffer is full", async () => {
    const batches: number[] = [];
    const queue = new WriteQueue({
      flushTimeout: 30,
      outstandingWrites: 8,
      consume: (batch) => void batches.push(batch.length),
    });
    queue.take(record(0, 512));
    expect(batches).toEqual([]);
    await sleep(80);
    expect(batches).toEqual([1]);
    for (let i = 0; i < 4; i++) queue.take(record(i, 512));
    expect(batches).toEqual([1, 4]);
    expect(queue.counters).toMatchObject({ timedOut: 1, filledUp: 1 });
  });

  test("a flush waits for what is worked on and for what waits", async () => {
    const slow = slowConsumer();
    const queue = new WriteQueue({ flushTimeout: 0, consume: slow.consume });
    queue.take(record(0, 512));
    await sleep(10);
    queue.take(record(1, 512));
    let isDone = false;
    const flushed = queue.flush().then(() => {
      isDone = true;
    });
    await sleep(20);
    expect(isDone).toBe(false);
    slow.go();
    await flushed;
    expect(slow.all()).toHaveLength(2);
    await queue.flush();
  });
});

describe("a full queue", () => {
  test("data-drop: the writer never waits, memory is bounded, and what is lost is told as gaps in its place", async () => {
    const slow = slowConsumer();
    const queue = new WriteQueue({ flushTimeout: 0, sizeLimit: 10_000, consume: slow.consume });
    const told = Array.from({ length: 40 }, (_, i) => record(i * 1000, 1000));
    for (const one of told) expect(queue.take(one)).toBeUndefined();
    expect(queue.counters.mostBytes).toBeLessThanOrEqual(10_000);
    slow.go();
    await queue.flush();
    // Every byte is there, as data or as part of a gap, and nothing twice.
    const covered = slow.all().map(({ offset, length }) => [offset, offset + length] as const);
    expect(covered[0]![0]).toBe(0);
    for (let i = 1; i < covered.length; i++) expect(covered[i]![0]).toBe(covered[i - 1]![1]);
    expect(covered.at(-1)![1]).toBe(40_000);
    const { droppedWrites, droppedBytes, writes } = queue.counters;
    expect(droppedWrites).toBe(40 - slow.all().filter(({ kind }) => kind === "write").length);
    expect(droppedBytes).toBe(droppedWrites * 1000);
    expect(writes).toBe(40);
    expect(slow.all().filter(({ kind }) => kind === "gap")).toHaveLength(1);
  });

  test("data-drop: data that waits makes room for metadata, which is kept", async () => {
    const slow = slowConsumer();
    const isMetadata = ({ offset }: WriteRecord) => offset >= 1_000_000;
    const queue = new WriteQueue({ flushTimeout: 0, sizeLimit: 8000, isMetadata, consume: slow.consume });
    queue.take(record(0, 1000));
    await sleep(10);
    for (let i = 1; i < 8; i++) queue.take(record(i * 1000, 1000));
    for (let i = 0; i < 5; i++) queue.take(record(1_000_000 + i * 1000, 1000));
    expect(queue.counters).toMatchObject({ droppedWrites: 5, droppedMetadata: 0, waitingBytes: 8000 });
    slow.go();
    await queue.flush();
    const all = slow.all();
    expect(all.filter(({ kind, offset }) => kind === "write" && offset >= 1_000_000)).toHaveLength(5);
    expect(all.slice(1, 7).map(text)).toEqual([
      "gap 1000+1000",
      "gap 2000+1000",
      "gap 3000+1000",
      "gap 4000+1000",
      "gap 5000+1000",
      "write 6000+1000",
    ]);
  });

  test("data-drop: when there is nothing but metadata, it is lost too, told, and counted", async () => {
    const slow = slowConsumer();
    const queue = new WriteQueue({
      flushTimeout: 0,
      sizeLimit: 4000,
      isMetadata: () => true,
      consume: slow.consume,
    });
    for (let i = 0; i < 10; i++) queue.take(record(i * 2000, 1000));
    slow.go();
    await queue.flush();
    expect(queue.counters).toMatchObject({ droppedWrites: 6, droppedMetadata: 6 });
    expect(slow.all().filter(({ kind }) => kind === "gap")).toHaveLength(6);
  });

  test("data-drop: too many gaps grow together, over every range that was lost", async () => {
    const slow = slowConsumer();
    const queue = new WriteQueue({ flushTimeout: 0, outstandingWrites: 4, consume: slow.consume });
    queue.take(record(0, 512));
    await sleep(10);
    for (let i = 1; i <= 10_000; i++) queue.take(record(((i * 7919) % 10_007) * 4096, 512));
    slow.go();
    await queue.flush();
    const rest = slow.all().slice(1);
    expect(rest.length).toBeLessThanOrEqual(8);
    const isCovered = (offset: number) =>
      rest.some((one) => one.offset <= offset && offset + 512 <= one.offset + one.length);
    for (let i = 1; i <= 10_000; i++) expect(isCovered(((i * 7919) % 10_007) * 4096)).toBe(true);
  });

  test("block: nothing is lost, and the writer is asked to wait until there is room", async () => {
    const slow = slowConsumer();
    const queue = new WriteQueue({
      flushTimeout: 0,
      outstandingWrites: 4,
      pressure: "block",
      consume: slow.consume,
    });
    let isHeld = false;
    for (let i = 0; i < 6; i++) {
      const wait = queue.take(record(i * 1000, 1000));
      if (wait === undefined || isHeld) continue;
      isHeld = true;
      void wait.then(() => {
        isHeld = false;
      });
    }
    await sleep(20);
    expect(isHeld).toBe(true);
    slow.go();
    await queue.flush();
    expect(isHeld).toBe(false);
    expect(slow.all().map(text)).toEqual(Array.from({ length: 6 }, (_, i) => `write ${i * 1000}+1000`));
    expect(queue.counters.droppedWrites).toBe(0);
    expect(queue.counters.blocked).toBeGreaterThan(0);
  });

  test("a write larger than the whole queue is let in when it has the queue to itself", async () => {
    const seen: WriteRecord[] = [];
    const queue = new WriteQueue({ sizeLimit: 1000, consume: (batch) => void seen.push(...batch) });
    queue.take(record(0, 5000));
    await queue.flush();
    expect(seen.map(text)).toEqual(["write 0+5000"]);
  });
});
