/** Writes that a patched QEMU tells through a pipe, in the process that takes them for the daemon. */
import { spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  existsSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gunzipSync } from "node:zlib";
import { afterAll, expect, test, vi } from "vitest";
import { FeedClient } from "../src/capture/feed/feed-client.js";
import type { FeedDisk } from "../src/capture/feed/frames.js";
import { ownRecords } from "../src/capture/pipe/own-records.js";
import type { PipeForm, PipePlace } from "../src/capture/pipe/pipe-capture.js";
import { ByteStream } from "../src/capture/recording/byte-stream.js";
import type { TapKeeper } from "../src/daemon/tap-keeper.js";
import type { QueueLimits } from "../src/queue/write-queue.js";
import type { WriteRecord } from "../src/queue/write-record.js";
import { cleanUp, endWithTests, onEnd, workFolder } from "./support/images-mount.js";
import { main, serve } from "./support/images-serve.js";
import { until } from "./support/nbd-tap.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("pipe");

afterAll(cleanUp);

/** The built one, which starts a process that Node can run. */
const { TapKeeper: Built } = (await import(
  new URL("../dist/daemon/tap-keeper.js", import.meta.url).href
)) as {
  TapKeeper: typeof TapKeeper;
};

const fixture = (name: string) =>
  gunzipSync(readFileSync(join(import.meta.dirname, "../fixtures/qemu-writes", name)));
const stream = fixture("stream.gz");
const image = join(folder, "disk.img");
writeFileSync(image, fixture("end.img.gz"));
const SIZE = lstatSync(image).size;
const other = join(folder, "other.img");
writeFileSync(other, Buffer.alloc(4096));

interface Scene {
  readonly keeper: TapKeeper;
  readonly told: WriteRecord[];
  readonly log: string[];
  /** The disks whose writes are told just now. */
  disks: readonly FeedDisk[];
  end(): Promise<void>;
}

/** The process of the tap, with a disk whose writes come through a pipe, and somebody who listens. */
async function scene(
  place: PipePlace,
  form: PipeForm = "own",
  { limits = {} as Partial<QueueLimits>, work = () => {} } = {},
): Promise<Scene> {
  const log: string[] = [];
  const keeper = new Built({
    listen: [],
    disks: [],
    pipes: [{ name: "g/sda", guest: "g", disk: 0, path: image, place, form }],
    limits,
    unknownLife: 300_000,
    log: (line) => log.push(line),
    gone: () => {},
    moved: () => {},
  });
  const forget = onEnd(() => void keeper.stop());
  await keeper.start();
  const told: WriteRecord[] = [];
  let hasBegun = false;
  const it: Scene = {
    keeper,
    told,
    log,
    disks: [],
    end: async () => {
      client.stop();
      await keeper.stop();
      forget();
    },
  };
  const client = new FeedClient({
    path: keeper.feed as string,
    log: (line) => log.push(line),
    disks: (disks) => {
      hasBegun = true;
      it.disks = disks.filter(({ guest }) => guest === "g");
    },
    written: (disk, records) => {
      expect(disk).toMatchObject({ guest: "g", disk: 0, size: SIZE, capture: "pipe" });
      told.push(...records);
      work();
    },
  });
  await until(() => hasBegun, "the feed does not begin");
  return it;
}

/** A QEMU that says so much, and ends: a process that writes it to a pipe; `done` is there when it has. */
function writer(path: string, bytes: Buffer): { readonly done: string } {
  const source = join(folder, `source-${++writers}`);
  const done = `${source}-done`;
  writeFileSync(source, bytes);
  const child = spawn("sh", ["-c", 'cat < "$1" > "$2"; : > "$3"', "sh", source, path, done]);
  endWithTests(child);
  return { done };
}
let writers = 0;

const digest = (records: readonly WriteRecord[]) =>
  records.map(({ kind, offset, length, sequence, fua }) => `${kind} ${sequence} ${offset}+${length} ${fua}`);

/** What the fixture tells, as it was recorded. */
const expected: string[] = [];
// What QEMU missed while nobody read lies in the gap before, and becomes one with it in the queue.
for await (const record of ownRecords(new ByteStream(Readable.from([stream])), {
  diskSize: SIZE,
  tellsData: false,
}))
  if (record.kind === "gap" && record.sequence > 0)
    expected.splice(-1, 1, ...digest([{ ...record, offset: 0, length: SIZE }]));
  else expected.push(...digest([record]));

test.each([
  ["a named pipe", { fifo: join(folder, "fifo") }],
  ["a socket", { socket: join(folder, "socket") }],
])(
  "what QEMU tells through %s is told on, while it is there; the next one is heard, too",
  async (_, place) => {
    const it = await scene(place);
    const path = "fifo" in place ? place.fifo : place.socket;
    expect(lstatSync(path).mode & 0o777).toBe(0o600);
    expect(it.disks).toEqual([]);
    /** Returns what ends it. */
    const say = (bytes: Buffer): (() => void) => {
      if ("socket" in place) {
        const socket = connect(path);
        socket.write(bytes);
        return () => socket.destroy();
      }
      const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
      expect(writeSync(fd, bytes)).toBe(bytes.length);
      return () => closeSync(fd);
    };
    // Its first stream alone, up to the middle of a record: it was killed there.
    const torn = stream.subarray(0, 5000);
    const end = say(torn);
    await until(() => it.told.length > 3, "nothing is told");
    expect(it.disks.length).toBe(1);
    end();
    await until(() => it.disks.length === 0, "it is there for ever");
    const first = digest(it.told);
    expect(first).toEqual(expected.slice(0, first.length));
    it.told.length = 0;
    if ("fifo" in place) writer(path, stream);
    else connect(path).end(stream);
    await until(() => it.told.length >= expected.length, "not all is told");
    expect(digest(it.told)).toEqual(expected);
    await until(() => it.disks.length === 0, "it is there for ever");
    expect(it.log).toEqual([]);
    await it.end();
  },
);

test("what makes no sense is one line; the pipe is opened anew, and the next stream is told", async () => {
  const path = join(folder, "damaged");
  const it = await scene({ fifo: path });
  const damaged = Buffer.from(stream);
  damaged[60_000]! ^= 1;
  for (let times = 0; times < 3; times++) {
    const { done } = writer(path, damaged);
    await until(() => existsSync(done), "its writer is not let go");
  }
  await until(() => it.disks.length === 0, "it is there for ever");
  expect(it.log).toEqual([
    expect.stringMatching(/damaged: the record after \d+ is damaged; it is opened anew$/),
  ]);
  it.told.length = 0;
  writer(path, stream);
  await until(() => it.told.length >= expected.length, "not all is told");
  expect(digest(it.told)).toEqual(expected);
  await it.end();
});

test("a pipe that was taken away is made again", async () => {
  const path = join(folder, "again");
  const it = await scene({ fifo: path });
  const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  writeSync(fd, stream, 0, 5000);
  rmSync(path);
  closeSync(fd);
  await until(() => existsSync(path), "it is not made again");
  it.told.length = 0;
  writer(path, stream);
  await until(() => it.told.length >= expected.length, "not all is told");
  await it.end();
});

test.each(["own", "gamma-ray"] as const)(
  "whoever works on the writes may hang: the writer (%s) does not wait; what was lost is a gap",
  async (form) => {
    const path = join(folder, `hang-${form}`);
    const hang = new Int32Array(new SharedArrayBuffer(4));
    let done = "";
    let isFree = false;
    const limits = { outstandingWrites: 64, flushTimeout: 1 };
    const work = () => {
      // This thread stands still, at its first work, for as long as the writer is not done.
      for (let times = 0; !isFree && times < 600; times++) {
        isFree = existsSync(done);
        if (!isFree) Atomics.wait(hang, 0, 0, 50);
      }
    };
    const it = await scene({ fifo: path }, form, { limits, work });
    const sectors = Buffer.alloc(12 + 4096, "g");
    const bytes = Array.from({ length: form === "own" ? 8 : 8000 }, (_, i) => {
      sectors.writeBigInt64LE(BigInt(8 * (i % 4000)), 0);
      sectors.writeInt32LE(8, 8);
      return form === "own" ? stream : Buffer.from(sectors);
    });
    done = writer(path, Buffer.concat(bytes)).done;
    await until(() => it.told.length > 0, "nothing is told");
    expect(isFree, "its writer waits").toBe(true);
    await until(() => it.disks.length === 0, "it is there for ever");
    const gaps = it.told.filter(({ kind, sequence }) => kind === "gap" && sequence > 0);
    expect(gaps.length).toBeGreaterThan(0);
    await it.end();
  },
);

test("slashcloud up takes a pipe for each disk, and says in one line what is wrong with one", async () => {
  const refuse = (args: string[], line: RegExp, code: number) => {
    const { status, stderr } = spawnSync(
      process.execPath,
      [main, "up", "--mount", join(folder, "no"), ...args],
      {
        encoding: "utf8",
      },
    );
    expect(stderr).toMatch(line);
    expect(stderr.trim().split("\n").length).toBe(1);
    expect(status).toBe(code);
  };
  refuse(
    ["--pipe", "web=/tmp/x", `g=${image}`],
    /web=\/tmp\/x: no guest has that disk; write NAME=PATH or g\/sda=PATH/,
    2,
  );
  refuse(
    ["--pipe", "g=/tmp/x", `g=${image},${other}`],
    /which disk is meant\? Write g\/sda=PATH or g\/sdb=PATH/,
    2,
  );
  refuse(["--pipe", "g=unix:", `g=${image}`], /write the path of a named pipe, or unix:PATH/, 2);
  const twice = ["--pipe", "g/sda=/tmp/x", "--pipe", "g/sdb=/tmp/x", `g=${image},${other}`];
  refuse(twice, /\/tmp\/x: is named for g\/sda and for g\/sdb; each disk needs its own/, 2);
  refuse(["--pipe", `g=${image}`, `g=${image}`], /disk.img: there is something that is no named pipe/, 1);
  refuse(["--pipe", `g=${folder}/none/x`, `g=${image}`], /none\/x: no named pipe can be made there/, 1);
  const path = join(folder, "up.pipe");
  const served = await serve(join(folder, "cloud"), { g: image }, ["--pipe", `g=${path}`]);
  const { done } = writer(path, stream);
  await until(() => existsSync(done), "its writer waits");
  expect(readdirSync(served.guest("g"))).toContain("log");
  expect(served.log()).toBe("");
  expect(await served.stop()).toBe(0);
});
