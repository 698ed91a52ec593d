/** A guest whose disk is at the daemon's tap: what it writes is seen at once, and told by file and byte. */
import { execFileSync } from "node:child_process";
import {
  closeSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { deserialize } from "bson";
import { afterAll, expect, test, vi } from "vitest";
import type { DaemonStatus } from "../src/daemon/status.js";
import type { GuestEvent } from "../src/events/event.js";
import { cleanUp, loopDevice, mount, run, workFolder } from "./support/images-mount.js";
import { host, main, serve } from "./support/images-serve.js";
import { qemuNbd } from "./support/nbd-servers.js";
import { nbdfuse, until } from "./support/nbd-tap.js";
import { RedisServer } from "./support/redis-server.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("streams");

afterAll(cleanUp);

const BLOCK = 4096;

const isEventKey = (field: Buffer): boolean => field.toString() === "event";

const eventsOf = (directory: string): GuestEvent[] =>
  readFileSync(join(directory, ".events"), "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as GuestEvent);

/** Serves a disk that its guest reaches by the tap, and has the kernel mount it there. */
async function guestAtTap(
  name: string,
  partition: boolean,
  isRemote = false,
  options: readonly string[] = [],
) {
  const image = join(folder, `${name}.img`);
  await run("truncate", ["-s", "64M", image]);
  if (partition) execFileSync("sfdisk", ["-q", image], { input: "start=2048, type=83\n" });
  const offset = partition ? 2048 * 512 : 0;
  await run("mke2fs", [
    "-q",
    "-F",
    "-t",
    "ext4",
    "-b",
    `${BLOCK}`,
    "-E",
    `offset=${offset}`,
    image,
    partition ? "62M" : "64M",
  ]);
  const inside = join(folder, `${name}-inside`);
  const leave = await mount(image, inside, `loop,offset=${offset}`);
  mkdirSync(join(inside, "d"));
  writeFileSync(join(inside, "d/old"), Buffer.alloc(16 * BLOCK, "o"));
  leave();
  const socket = join(folder, `${name}.sock`);
  const storage = isRemote ? await overFuse(name, image) : undefined;
  const served = await serve(join(folder, name), { g: storage?.file ?? image }, [
    ...["--tap", `unix:${socket}`],
    ...options,
  ]);
  const disk = await nbdfuse(`nbd+unix:///g?socket=${socket}`, join(folder, `${name}-nbd`));
  const loop = await loopDevice(disk.file, ["--direct-io=on", "--offset", `${offset}`]);
  // What is written over in place leaves no trace in the journal.
  const unmount = await mount(loop.device, inside, "lazytime,commit=600");
  const status = (): DaemonStatus["volumes"][number] | undefined =>
    (
      JSON.parse(
        execFileSync(process.execPath, [main, "status", "--state", `${join(folder, name)}-state`, "--json"], {
          encoding: "utf8",
        }),
      ) as DaemonStatus
    ).volumes[0];
  return {
    inside,
    served,
    tree: served.guest("g"),
    status,
    /** Writes over a file in place, and has that reach the disk. */
    overwrite: (path: string, at: number, bytes: Buffer) => {
      const fd = openSync(join(inside, path), "r+");
      writeSync(fd, bytes, 0, bytes.length, at);
      fdatasyncSync(fd);
      closeSync(fd);
    },
    end: async () => {
      unmount();
      loop.free();
      await disk.end();
      expect(await served.stop()).toBe(0);
      await storage?.end();
    },
  };
}

/** The image as a file of a FUSE file system, which counts as storage that can stall. */
async function overFuse(name: string, image: string) {
  const socket = join(folder, `${name}-storage.sock`);
  await qemuNbd(socket, image, "-f", "raw");
  return nbdfuse(`nbd+unix:///?socket=${socket}`, join(folder, `${name}-storage`));
}

test.each([
  { partition: true, isRemote: false },
  { partition: false, isRemote: false },
  { partition: false, isRemote: true },
])(
  "bytes written over in place are in the tree and told at once (partitions: $partition, storage that can stall: $isRemote)",
  async ({ partition, isRemote }) => {
    const guest = await guestAtTap(`place-${partition}-${isRemote}`, partition, isRemote);
    const { inside, tree, status } = guest;
    writeFileSync(join(inside, "first"), "x");
    execFileSync("sync", ["-f", inside]);
    await until(
      () => status()?.writes?.isReady === true && status()?.hasPaths === true,
      "the map of blocks does not come",
    );
    expect(status()?.capture).toBe("stream");
    const from = eventsOf(tree).length;
    expect(readFileSync(join(tree, "d/old")).every((byte) => byte === 0x6f)).toBe(true);
    const expected = Buffer.alloc(16 * BLOCK, "o");
    for (const n of [3, 7, 8]) {
      guest.overwrite("d/old", n * BLOCK, Buffer.alloc(BLOCK, `${n}`));
      expected.fill(`${n}`, n * BLOCK, (n + 1) * BLOCK);
      await until(() => readFileSync(join(tree, "d/old")).equals(expected), "the bytes are not seen");
    }
    const written = () =>
      eventsOf(tree)
        .slice(from)
        .filter(({ event, path }) => event === "written" && path === "/d/old");
    await until(() => written().length >= 3, "the writes are not told");
    const told = new Set(
      written().flatMap(({ ranges }) =>
        ranges!.flatMap(([at, length]) => Array.from({ length: length / BLOCK }, (_, n) => at / BLOCK + n)),
      ),
    );
    expect([...told].sort((a, b) => a - b)).toEqual([3, 7, 8]);
    for (const { time, sequence, inode, generation, type, new: now } of written()) {
      expect(Math.abs(Date.parse(time) - Date.now())).toBeLessThan(60_000);
      expect(sequence).toBeGreaterThan(0);
      expect([inode! > 10, generation! >= 0, type, now?.size]).toEqual([true, true, "file", 16 * BLOCK]);
    }
    expect(eventsOf(join(tree, "d")).some(({ event }) => event === "written")).toBe(true);
    await guest.end();
  },
);

test("a monitor on Redis gets the bytes that are written over in place, as many as was said", async () => {
  const redis = await RedisServer.start(join(folder, "redis"));
  const guest = await guestAtTap("redis-data", false, false, ["--redis", redis.url, "--redis-data", "6000"]);
  const { status } = guest;
  await until(
    () => status()?.writes?.isReady === true && status()?.hasPaths === true,
    "the map of blocks does not come",
  );
  const client = redis.client();
  const told = new Map<number, Buffer>();
  for (const [block, bytes] of [
    [5, Buffer.alloc(2 * BLOCK, "1")],
    [9, Buffer.alloc(BLOCK, "2")],
  ] as const) {
    guest.overwrite("d/old", block * BLOCK, bytes);
    for (const start = performance.now(); !told.has(block * BLOCK); await sleep(20)) {
      if (performance.now() - start > 60_000) throw new Error("the write is not told");
      for (const [, fields] of await client.xrangeBuffer(`slashcloud:${host}:g`, "-", "+")) {
        const { event, path, data, dataOffset } = deserialize(fields[fields.findIndex(isEventKey) + 1]!, {
          promoteBuffers: true,
        });
        if (event === "written" && path === "/d/old") told.set(Number(dataOffset), data);
      }
    }
  }
  expect([...told.keys()]).toEqual([5 * BLOCK, 9 * BLOCK]);
  expect(told.get(5 * BLOCK)).toEqual(Buffer.alloc(6000, "1"));
  expect(told.get(9 * BLOCK)).toEqual(Buffer.alloc(BLOCK, "2"));
  client.disconnect();
  await guest.end();
  await redis.kill();
});

test("a new file is told with its bytes when its commit comes, after its creation", async () => {
  const guest = await guestAtTap("new", false);
  const { inside, tree, status } = guest;
  writeFileSync(join(inside, "first"), "x");
  execFileSync("sync", ["-f", inside]);
  await until(
    () => status()?.writes?.isReady === true && status()?.hasPaths === true,
    "the map of blocks does not come",
  );
  for (let n = 0; n < 20; n++) {
    writeFileSync(join(inside, `d/new-${n}`), Buffer.alloc(1000 * (n + 1), "n"), { flush: true });
  }
  execFileSync("sync", ["-f", inside]);
  const ofNew = () => eventsOf(tree).filter(({ path }) => path?.startsWith("/d/new-"));
  await until(
    () => ofNew().filter(({ event }) => event === "written").length >= 20,
    "the writes are not told",
  );
  await sleep(100);
  for (let n = 0; n < 20; n++) {
    const kinds = ofNew().filter(({ path }) => path === `/d/new-${n}`);
    expect(kinds[0]?.event).toBe("created");
    const bytes = kinds.filter(({ event }) => event === "written").flatMap(({ ranges }) => ranges ?? []);
    expect(Math.max(...bytes.map(([at, length]) => at + length))).toBe(1000 * (n + 1));
    expect(Math.min(...bytes.map(([at]) => at))).toBe(0);
  }
  const writes = status()!.writes!;
  expect(writes.journal).toBeGreaterThan(0);
  expect(writes.explained + writes.data).toBeGreaterThan(0);
  expect(writes.expired + writes.dropped + writes.lost).toBe(0);
  const text = execFileSync(
    process.execPath,
    [main, "events", "--state", `${guest.served.mountPoint}-state`],
    { encoding: "utf8" },
  );
  expect(text).toMatch(/written {5}\/d\/new-0 .* 1\.0 kB at 0/);
  await guest.end();
});
