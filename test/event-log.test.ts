import { once } from "node:events";
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { afterAll, describe, expect, test, vi } from "vitest";
import type { GuestEvent, ScopedEvent } from "../src/events/event.js";
import { LineIndexes } from "../src/events/line-index.js";
import { LogReader, LogReaders } from "../src/events/log-reader.js";
import { LogWriter } from "../src/events/log-writer.js";
import { Logs } from "../src/events/logs.js";
import { Subscribers } from "../src/events/subscribers.js";
import { cleanUp, onEnd, run, unmountNow, workFolder } from "./support/images-mount.js";

vi.setConfig({ testTimeout: 120_000 });

const root = workFolder("event-log");
const dist = join(import.meta.dirname, "../dist");
let folders = 0;

afterAll(cleanUp);

function newFolder(): string {
  return join(root, `log-${++folders}`);
}

function openLog(folder: string, limit?: number, lines: string[] = []): LogWriter {
  return new LogWriter({
    folder,
    ...(limit === undefined ? {} : { limit }),
    log: (line) => {
      lines.push(line);
    },
  });
}

function readerOf(folder: string, { shared }: LogWriter): LogReader {
  return new LogReader(folder, shared, new LineIndexes());
}

/** A transaction: an event for each list of scopes. */
function transaction(
  from: number,
  sequence: number,
  scopes: readonly (readonly string[])[],
  more: Partial<GuestEvent> = {},
): ScopedEvent[] {
  return scopes.map((each, index) => ({
    event: {
      id: from + index,
      time: "2026-03-04T05:06:07.000000000Z",
      event: "created",
      host: "gs1",
      guest: "web",
      volume: "sda1",
      transaction: sequence,
      path: `/a file ${from + index}`,
      ...more,
    },
    scopes: each,
    isLast: index === scopes.length - 1,
  }));
}

/** A scope's file, read in pieces of some length. */
function fileOf(
  reader: LogReader,
  scope: string | undefined,
  which: "current" | "previous" = "current",
  piece = 1 << 20,
): string {
  if (reader.segment(which) === 0) return "";
  const size = reader.size(scope, which);
  const target = Buffer.alloc(size + piece);
  let at = 0;
  for (;;) {
    const got = reader.read(scope, which, at, piece, target, at);
    if (got === 0) break;
    at += got;
  }
  expect(at).toBe(size);
  return target.toString("utf8", 0, at);
}

function idsIn(text: string): number[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => (JSON.parse(line) as GuestEvent).id);
}

function idsOf(reader: LogReader, scope?: string, which: "current" | "previous" = "current"): number[] {
  return idsIn(fileOf(reader, scope, which));
}

describe("a directory's file of events", () => {
  test("has the lines of its scope, as they were told, and grows", () => {
    const folder = newFolder();
    const writer = openLog(folder);
    const reader = readerOf(folder, writer);
    expect(reader.segment("current")).toBe(1);
    expect(reader.segment("previous")).toBe(0);
    expect(fileOf(reader, undefined)).toBe("");

    const first = transaction(1, 7, [["sda1:2"], ["sda1:2", "sda1:20"], ["sda1:2", "sdb:20"]]);
    writer.append(first);
    const text = (events: readonly ScopedEvent[]) =>
      events.map(({ event }) => `${JSON.stringify(event)}\n`).join("");
    expect(fileOf(reader, "sda1:2")).toBe(text(first));
    expect(fileOf(reader, "sda1:20")).toBe(text(first.slice(1, 2)));
    expect(fileOf(reader, "sda1:0")).toBe("");
    expect(fileOf(reader, "sda1:3")).toBe("");
    const before = Date.now();
    writer.append(transaction(4, 8, [["sda1:20"]]));
    expect(idsOf(reader, "sda1:20")).toEqual([2, 4]);
    expect(idsOf(reader)).toEqual([1, 2, 3, 4]);
    expect(reader.mtime("sda1:20", "current")).toBeGreaterThanOrEqual(before);
    expect(reader.mtime("sda1:3", "current")).toBe(0);
    writer.close();
    reader.close();
  });

  test("is not deceived by names that look like scopes", () => {
    const folder = newFolder();
    const writer = openLog(folder);
    const reader = readerOf(folder, writer);
    const path = "/x sda1:5  sda1:5 \t.\t{} sda1:0 ";
    writer.append(transaction(1, 1, [["sda1:2"], ["sda1:5"], ["sda1:2"]], { path }));
    expect(idsOf(reader, "sda1:5")).toEqual([2]);
    expect(idsOf(reader, "sda1:2")).toEqual([1, 3]);
    writer.close();
  });

  test("has what concerns all directories of its volume", () => {
    const folder = newFolder();
    const writer = openLog(folder);
    const reader = readerOf(folder, writer);
    writer.append(transaction(1, 1, [["sda1:9"], ["sda1:0"], ["sdb:0"], ["sda1:0", "sda1:9"]]));
    expect(idsOf(reader, "sda1:9")).toEqual([1, 2, 4]);
    expect(idsOf(reader, "sdb:4")).toEqual([3]);
    writer.close();
  });

  test("is the same whatever lengths it is read in, also with lines longer than a piece of the reader", () => {
    const folder = newFolder();
    const writer = openLog(folder);
    const reader = readerOf(folder, writer);
    let id = 1;
    for (let sequence = 1; sequence < 60; sequence++) {
      const scopes = Array.from({ length: 20 }, (_, index) => [`sda1:${(index % 7) + 1}`, "sda1:99"]);
      const path = `/${"ä".repeat((sequence * 37) % 300)}`;
      writer.append(transaction(id, sequence, scopes, { path }));
      id += scopes.length;
    }
    writer.append(transaction(id, 60, [["sda1:3"]], { path: `/${"y".repeat(700_000)}` }));
    const whole = fileOf(reader, "sda1:3");
    for (const piece of [1000, 4096, 70_000]) expect(fileOf(reader, "sda1:3", "current", piece)).toBe(whole);
    expect(idsIn(whole)).toHaveLength(59 * 3 + 1);
    writer.close();
  });
});

/** Appends transactions of four events until the log has `segments` of them. Returns the next event's number. */
function fill(writer: LogWriter, segments: number): number {
  let id = writer.lastId + 1;
  for (; writer.end.current.segment < segments; id += 4)
    writer.append(transaction(id, Math.floor(id / 4), [["sda1:2"], ["sda1:3"], ["sda1:2"], ["sda1:3"]]));
  return id;
}

describe("a log that is full", () => {
  test("goes on in a new file, keeps the one before it, and cuts no transaction in two", () => {
    const folder = newFolder();
    const writer = openLog(folder, 10_000);
    const reader = readerOf(folder, writer);
    const next = fill(writer, 5);
    expect(reader.segment("current")).toBe(5);
    expect(reader.segment("previous")).toBe(4);
    expect(readdirSync(folder).sort()).toEqual(["4", "5"]);
    const before = idsOf(reader, undefined, "previous");
    const now = idsOf(reader);
    expect([...before, ...now]).toEqual(
      Array.from({ length: before.length + now.length }, (_, index) => (before[0] as number) + index),
    );
    expect(now.at(-1)).toBe(next - 1);
    expect(before.length % 4).toBe(0);
    expect(idsOf(reader, "sda1:3", "previous")).toEqual(before.filter((id) => id % 2 === 0));
    expect(statSync(join(folder, "4")).size).toBeLessThanOrEqual(10_000);
    writer.close();
  });

  test("stays readable for who has it open", () => {
    const folder = newFolder();
    const writer = openLog(folder, 10_000);
    const reader = readerOf(folder, writer);
    fill(writer, 2);
    reader.segment("current");
    const ids = idsOf(reader, "sda1:2");
    const known = reader.size("sda1:2", "current");
    fill(writer, 3);
    // As of the last time that the reader asked which segments there are.
    expect(reader.size("sda1:2", "current")).toBe(known);
    expect(reader.segment("previous")).toBe(2);
    expect(idsOf(reader, "sda1:2", "previous").slice(0, ids.length)).toEqual(ids);
    writer.close();
  });

  test("has a transaction that is longer than a segment in several", () => {
    const folder = newFolder();
    const writer = openLog(folder, 10_000);
    const reader = readerOf(folder, writer);
    writer.append(transaction(1, 1, [["sda1:2"]]));
    writer.append(
      transaction(
        2,
        2,
        Array.from({ length: 200 }, () => ["sda1:2"]),
      ),
    );
    expect(writer.end.current.segment).toBeGreaterThan(3);
    const ids = [...idsOf(reader, undefined, "previous"), ...idsOf(reader)];
    expect(ids.at(-1)).toBe(201);
    expect(ids).toEqual(ids.map((_, index) => (ids[0] as number) + index));
    writer.close();
    const again = openLog(folder, 10_000);
    expect([again.lastId, again.lastTransaction("sda1")]).toEqual([201, 2]);
    again.close();
  });

  test("is taken up again where it ended, whatever its length", () => {
    const folder = newFolder();
    const writer = openLog(folder, 2_000_000);
    writer.append(transaction(1, 4_000_000_000, [["sdb:2"]], { volume: "sdb", guest: "__proto__" }));
    fill(writer, 3);
    const { lastId } = writer;
    const last = Math.floor((lastId - 3) / 4);
    writer.close();
    const again = openLog(folder, 2_000_000);
    expect(again.lastId).toBe(lastId);
    expect(again.lastTransaction("sda1")).toBe(last);
    expect(again.lastTransaction("sdb")).toBe(4_000_000_000);
    expect(again.lastTransaction("sdc")).toBeUndefined();
    expect(again.lastIdOf("__proto__")).toBe(1);
    const next = fill(again, 4);
    const reader = readerOf(folder, again);
    const ids = [...idsOf(reader, undefined, "previous"), ...idsOf(reader)];
    expect(ids.at(-1)).toBe(next - 1);
    expect(ids).toEqual(ids.map((_, index) => (ids[0] as number) + index));
    again.close();
  });
});

describe("a log whose writer was killed", () => {
  /** Opens a log again after `damage`, and appends to it. */
  function reopened(damage: (file: string) => void): {
    ids: number[];
    lastId: number;
    last: number | undefined;
  } {
    const folder = newFolder();
    const writer = openLog(folder);
    writer.append(transaction(1, 10, [["sda1:2"], ["sda1:2"]]));
    writer.append(transaction(3, 11, [["sda1:2"], ["sda1:2"], ["sda1:2"]]));
    writer.close();
    damage(join(folder, "1"));
    const again = openLog(folder);
    const { lastId } = again;
    const last = again.lastTransaction("sda1");
    again.append(transaction(lastId + 1, 12, [["sda1:2"]]));
    const ids = idsOf(readerOf(folder, again), "sda1:2");
    again.close();
    expect(readFileSync(join(folder, "1"), "utf8").split("\n").at(-1)).toBe("");
    return { ids, lastId, last };
  }

  test("loses nothing that was whole", () => {
    expect(reopened(() => {})).toEqual({ ids: [1, 2, 3, 4, 5, 6], lastId: 5, last: 11 });
  });

  test("loses a line that was torn, with its transaction, so that it is told again", () => {
    const expected = { ids: [1, 2, 3], lastId: 2, last: 10 };
    for (const cut of [1, 30, 200, 300, 400]) {
      expect(reopened((file) => truncateSync(file, statSync(file).size - cut))).toEqual(expected);
    }
  });

  test("loses what is no line at its end", () => {
    const expected = { ids: [1, 2, 3, 4, 5, 6], lastId: 5, last: 11 };
    for (const rubbish of [
      "\0".repeat(5000),
      " sda1:2 \t.0\t{broken\n",
      " \t",
      "#\t.\t{\n",
      "x\n",
      " \t.0\t{]}\n",
    ])
      expect(reopened((file) => appendFileSync(file, rubbish))).toEqual(expected);
  });

  test("goes back to the segment before if the new one has no whole transaction", () => {
    const folder = newFolder();
    const writer = openLog(folder, 10_000);
    fill(writer, 3);
    const [{ lastId }, before] = [writer, writer.lastTransaction("sda1") as number];
    writer.append(
      transaction(
        lastId + 1,
        before + 1,
        Array.from({ length: 60 }, () => ["sda1:2"]),
      ),
    );
    const { segment, size } = writer.end.current;
    expect(segment).toBe(4 + 1);
    writer.close();
    truncateSync(join(folder, String(segment)), size - 1);
    const again = openLog(folder, 10_000);
    // All of the transaction's segments go; what is left is whole.
    expect(again.end.current.segment).toBeLessThan(segment);
    expect(again.lastTransaction("sda1")).toBe(before);
    expect(again.lastId).toBe(lastId);
    again.close();
  });

  test("has each transaction once, as a whole, after many kills between and in the writes", () => {
    const folder = newFolder();
    let seed = 5;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % below;
    };
    let sequence = 0;
    for (let life = 0; life < 60; life++) {
      const writer = openLog(folder, 6000);
      // As the journal would tell them again.
      sequence = writer.lastTransaction("sda1") ?? 0;
      for (let count = random(12); count >= 0; count--) {
        const scopes = Array.from({ length: 1 + random(random(8) === 0 ? 60 : 5) }, () => ["sda1:2"]);
        writer.append(transaction(writer.lastId + 1, ++sequence, scopes));
      }
      const { segment, size } = writer.end.current;
      writer.close();
      if (random(2) === 0) truncateSync(join(folder, String(segment)), random(size));
    }
    const writer = openLog(folder, 6000);
    const reader = readerOf(folder, writer);
    const text = fileOf(reader, undefined, "previous") + fileOf(reader, undefined);
    const events = text
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as GuestEvent);
    expect(events.length).toBeGreaterThan(10);
    const first = events[0] as GuestEvent;
    expect(events.map(({ id }) => id)).toEqual(events.map((_, index) => first.id + index));
    const sequences = [...new Set(events.map(({ transaction: number }) => number))];
    expect(sequences).toEqual(sequences.map((_, index) => first.transaction + index));
    expect(writer.lastTransaction("sda1")).toBe(sequences.at(-1));
    writer.close();
  });
});

describe("a thread that reads while another one writes", () => {
  test("sees every line once, whole and in order, over rotations", async () => {
    const folder = newFolder();
    const logs = new Logs({ folder, guests: ["web"], limit: 200_000, log: () => {} });
    const last = 30_000;
    const followed = new Int32Array(new SharedArrayBuffer(8));
    const follow = (scope: string | undefined, which: number) =>
      new Worker(join(import.meta.dirname, "support/event-log-worker.mjs"), {
        workerData: { dist, shared: logs.shared, scope, last, followed, which },
      });
    const [all, some] = [follow(undefined, 0), follow("sda1:3", 1)];
    const results = Promise.all([once(all, "message"), once(some, "message")]);
    const writer = logs.guest("web");
    for (let id = 1; id <= last; id += 5) {
      writer.append(transaction(id, id, [["sda1:2"], ["sda1:2"], ["sda1:2"], ["sda1:2"], ["sda1:3"]]));
      // Two segments are kept: no further ahead than that.
      while (Math.min(...followed) < writer.end.current.segment) await sleep(1);
    }
    const told = await results;
    const [[whole], [part]] = told as [
      [{ ids: number[]; problem: string }],
      [{ ids: number[]; problem: string }],
    ];
    expect([whole.problem, part.problem]).toEqual(["", ""]);
    expect(whole.ids).toEqual(Array.from({ length: last }, (_, index) => index + 1));
    expect(part.ids).toEqual(Array.from({ length: last / 5 }, (_, index) => 5 * index + 5));
    expect(writer.end.current.segment).toBeGreaterThan(10);
    logs.close();
  });
});

/** A file system with little room. */
async function tmpfs(folder: string, options: string): Promise<void> {
  mkdirSync(folder);
  await run("mount", ["-t", "tmpfs", "-o", options, "tmpfs", folder]);
  onEnd(() => unmountNow(folder));
}

describe("a full disk", () => {
  test("stops no one: what is lost is told as a gap once there is room again", async () => {
    const folder = newFolder();
    await tmpfs(folder, "size=256k,mode=0700");
    const lines: string[] = [];
    const log = join(folder, "web");
    const writer = openLog(log, 1 << 20, lines);
    const reader = readerOf(log, writer);
    writer.append(transaction(1, 1, [["sda1:2"], ["sda1:3"]]));
    writeFileSync(join(folder, "filler"), Buffer.alloc(100_000));
    let id = 3;
    for (let sequence = 2; sequence < 200; sequence++, id += 10)
      writer.append(
        transaction(
          id,
          sequence,
          Array.from({ length: 10 }, () => ["sda1:2"]),
        ),
      );
    writer.append(transaction(id, 3, [["sdb:2"]], { volume: "sdb", path: "/".repeat(5000) }));
    expect(writer.lastId).toBe(id);
    expect(lines).toEqual([expect.stringMatching(/events are not stored.*ENOSPC/)]);
    const kept = idsOf(reader, "sda1:2");
    expect(kept.length).toBeGreaterThan(1);
    expect(kept.length % 10).toBe(1);

    rmSync(join(folder, "filler"));
    // Nothing more happens: it tries again by itself.
    for (let tries = 0; tries < 400 && lines.length < 2; tries++) await sleep(50);
    expect(lines[1]).toMatch(/events are stored again/);
    const gap = JSON.parse(fileOf(reader, "sda1:77")) as GuestEvent;
    expect(gap).toMatchObject({ id: id - 1, event: "gap", guest: "web", volume: "sda1", transaction: 199 });
    expect(gap.reason).toMatch(/^\d+0 events could not be stored: ENOSPC/);
    expect(JSON.parse(fileOf(reader, "sdb:2"))).toMatchObject({ id, event: "gap", transaction: 3 });
    writer.append(transaction(id + 1, 200, [["sda1:2"]]));
    expect(idsOf(reader, "sda1:2")).toEqual([...kept, id - 1, id + 1]);
    writer.close();

    const again = openLog(log);
    expect([again.lastId, again.lastTransaction("sda1"), again.lastTransaction("sdb")]).toEqual([
      id + 1,
      200,
      3,
    ]);
    again.close();
  });

  test("at the start is survived, too", async () => {
    const folder = newFolder();
    await tmpfs(folder, "size=64k,mode=0700");
    writeFileSync(join(folder, "filler"), "");
    expect(() => appendFileSync(join(folder, "filler"), Buffer.alloc(100_000))).toThrow("ENOSPC");
    const lines: string[] = [];
    const log = join(folder, "web");
    const writer = openLog(log, 1 << 20, lines);
    writer.append(transaction(1, 1, [["sda1:2"]]));
    const reader = readerOf(log, writer);
    expect(reader.segment("current")).toBe(0);
    rmSync(join(folder, "filler"));
    writer.append(transaction(2, 2, [["sda1:2"]]));
    const events = fileOf(reader, undefined)
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as GuestEvent);
    expect(events.map(({ id, event }) => [id, event])).toEqual([
      [1, "gap"],
      [2, "created"],
    ]);
    expect(lines).toHaveLength(2);
    writer.close();
  });
});

describe("the log of all guests", () => {
  test("gets what a kill kept from it", () => {
    const folder = newFolder();
    const open = () => new Logs({ folder, guests: ["web", "db"], log: () => {} });
    const logs = open();
    for (const guest of ["web", "db"]) {
      const events = transaction(1, 1, [["sda1:2"], ["sda1:2"]], { guest });
      logs.guest(guest).append(events);
      logs.everything.append(events);
    }
    // Killed before the second half.
    logs.guest("db").append(transaction(3, 2, [["sda1:2"], ["sda1:2"]], { guest: "db" }));
    logs.close();
    for (let times = 0; times < 2; times++) {
      const again = open();
      const replay = again.replay(undefined);
      const seen = [...replay.lines()].map(({ json }) => JSON.parse(json) as GuestEvent);
      replay.close();
      expect(seen.map(({ guest, id }) => `${guest}${id}`)).toEqual([
        "web1",
        "web2",
        "db1",
        "db2",
        "db3",
        "db4",
      ]);
      const reader = new LogReaders(again.shared);
      expect(idsOf(reader.all)).toEqual([1, 2, 1, 2, 3, 4]);
      expect(reader.guest("none")).toBeUndefined();
      again.close();
    }
  });
});

describe("a subscriber", () => {
  test("that is slow is told how many events it missed, and keeps nobody waiting", async () => {
    const subscribers = new Subscribers();
    const slow = subscribers.subscribe();
    const quick = subscribers.subscribe();
    let seen = 0;
    for (let id = 1; id <= 10_500; id++) {
      subscribers.publish(transaction(id, id, [[]]));
      seen += (await quick.take()).length;
    }
    expect(seen).toBe(10_500);
    const taken = await slow.take();
    expect(taken).toHaveLength(10_001);
    expect(taken.at(-1)).toEqual({ missed: 500 });
    const later = slow.take();
    subscribers.publish(transaction(10_501, 10_501, [[]]));
    expect(await later).toHaveLength(1);
    const never = slow.take();
    slow.close();
    expect(await never).toEqual([]);
    quick.close();
  });
});
