/** Events as users see them: `.events` in the tree, while a guest writes. */
import { execFileSync, spawn } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test, vi } from "vitest";
import type { GuestEvent } from "../src/events/event.js";
import { cleanUp, mount, onEnd, run, workFolder } from "./support/images-mount.js";
import { host, main, type Served, serve } from "./support/images-serve.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("events");

afterAll(cleanUp);

interface Guest {
  readonly image: string;
  /** The guest's own view. */
  readonly inside: string;
  unmount: () => void;
}

async function makeGuest(name: string, make: string[] = ["-t", "ext4"]): Promise<Guest> {
  const image = join(folder, `${name}.img`);
  await run("truncate", ["-s", "64M", image]);
  await run("mke2fs", ["-q", "-F", ...make, image]);
  const inside = join(folder, `${name}-inside`);
  const unmount = await mount(image, inside, "loop");
  writeFileSync(join(inside, "first"), "");
  sync(inside);
  return { image, inside, unmount };
}

function sync(top: string): void {
  execFileSync("sync", ["-f", top]);
}

function eventsOf(directory: string, name = ".events"): GuestEvent[] {
  return readFileSync(join(directory, name), "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as GuestEvent);
}

/** Waits until a directory's last event is about a path. */
async function until(directory: string, path: string, limit = 60_000): Promise<GuestEvent[]> {
  const end = performance.now() + limit;
  for (;;) {
    const events = eventsOf(directory);
    if (events.some((event) => event.path === path)) return events;
    if (performance.now() > end) throw new Error(`no event of ${path}: ${JSON.stringify(events)}`);
    await sleep(10);
  }
}

/** Has an event made of which one can see that all before it are there. */
let marks = 0;
async function mark(guest: Guest, tree: string): Promise<string> {
  const name = `mark-${++marks}`;
  writeFileSync(join(guest.inside, name), "");
  sync(guest.inside);
  await until(tree, `/${name}`);
  return `/${name}`;
}

const inShort = ({ event, path, from }: GuestEvent): string =>
  from === undefined ? `${event} ${path}` : `${event} ${from} -> ${path}`;

test("each kind of change is one event with its paths and values, in the guest's order", async () => {
  const guest = await makeGuest("kinds");
  const { image, inside } = guest;
  const served = await serve(join(folder, "kinds"), { g: image });
  const tree = served.guest("g");
  await mark(guest, tree);
  const seen = eventsOf(tree).length;
  const step = async (action: () => void): Promise<GuestEvent[]> => {
    const before = eventsOf(tree).length;
    action();
    sync(inside);
    const end = performance.now() + 5000;
    while (eventsOf(tree).length === before && performance.now() < end) await sleep(10);
    await sleep(30);
    return eventsOf(tree).slice(before);
  };
  const own = (events: GuestEvent[]): string[] =>
    events.filter(({ path }) => path !== "/" && path !== "/a" && path !== "/b").map(inShort);

  expect((await step(() => mkdirSync(join(inside, "a")))).map(inShort)).toContain("created /a");
  expect((await step(() => mkdirSync(join(inside, "b")))).map(inShort)).toContain("created /b");
  const created = await step(() => writeFileSync(join(inside, "a/log"), "hello\n", { mode: 0o640 }));
  expect(own(created)).toEqual(["created /a/log"]);
  const inode = lstatSync(join(inside, "a/log")).ino;
  expect(created.find(({ path }) => path === "/a/log")).toMatchObject({
    host,
    guest: "g",
    volume: "sda",
    type: "file",
    inode,
    new: { size: 6, mode: "0640", uid: 0, gid: 0, nlink: 1 },
  });
  const [content] = await step(() => appendFileSync(join(inside, "a/log"), "world\n"));
  expect(content).toMatchObject({
    event: "content",
    path: "/a/log",
    range: [6, 12],
    old: { size: 6 },
    new: { size: 12 },
  });
  const [attributes] = await step(() => chmodSync(join(inside, "a/log"), 0o600));
  expect(attributes).toMatchObject({ event: "attributes", old: { mode: "0640" }, new: { mode: "0600" } });
  const [xattr] = await step(() =>
    execFileSync("setfattr", ["-n", "user.colour", "-v", "blue", join(inside, "a/log")]),
  );
  expect(xattr).toMatchObject({ event: "xattr", path: "/a/log", new: { xattrs: { "user.colour": "blue" } } });
  expect(own(await step(() => linkSync(join(inside, "a/log"), join(inside, "b/other"))))).toEqual([
    "linked /b/other",
  ]);
  expect(own(await step(() => rmSync(join(inside, "b/other"))))).toEqual(["unlinked /b/other"]);
  expect(own(await step(() => renameSync(join(inside, "a/log"), join(inside, "b/log.1"))))).toEqual([
    "renamed /a/log -> /b/log.1",
  ]);
  const [symlink] = (await step(() => symlinkSync("../b/log.1", join(inside, "a/link")))).filter(
    ({ event }) => event === "symlink",
  );
  expect(symlink).toMatchObject({ path: "/a/link", new: { target: "../b/log.1" } });
  expect(own(await step(() => renameSync(join(inside, "a"), join(inside, "b/c"))))).toEqual([
    "renamed /a -> /b/c",
  ]);
  const gone = await step(() => {
    rmSync(join(inside, "b/c/link"));
    rmdirSync(join(inside, "b/c"));
  });
  expect(own(gone)).toEqual(["deleted /b/c/link", "deleted /b/c"]);

  const events = eventsOf(tree);
  expect(events.map(({ id }) => id)).toEqual(events.map((_, index) => index + 1));
  expect(seen).toBeGreaterThan(0);
  guest.unmount();
  expect(await served.stop()).toBe(0);
});

test("a directory's events are those at and below it, also through mount points, and above the guests all", async () => {
  const [web, db] = [await makeGuest("web"), await makeGuest("db")];
  const data = await makeGuest("data");
  const uuid = execFileSync("blkid", ["-s", "UUID", "-o", "value", data.image], { encoding: "utf8" }).trim();
  for (const name of ["etc", "srv/deep/data", "var/log"])
    mkdirSync(join(web.inside, name), { recursive: true });
  writeFileSync(join(web.inside, "etc/fstab"), `/dev/sda / ext4\nUUID=${uuid} /srv/deep/data ext4\n`);
  sync(web.inside);
  const served = await serve(join(folder, "scopes"), { web: `${web.image},${data.image}`, db: db.image });
  const tree = served.guest("web");
  const statusOf = () =>
    JSON.parse(
      execFileSync(process.execPath, [main, "status", "--state", `${served.mountPoint}-state`, "--json"], {
        encoding: "utf8",
      }),
    ) as { volumes: { guest: string; volume: string; state: string; reopened: number; hasPaths: boolean }[] };
  // What is above a mount point is known once the volume there has a map of its names.
  await expect
    .poll(() => statusOf().volumes.every(({ hasPaths }) => hasPaths), { timeout: 30_000 })
    .toBe(true);
  writeFileSync(join(web.inside, "var/log/syslog"), "x");
  sync(web.inside);
  writeFileSync(join(data.inside, "file"), "x");
  sync(data.inside);
  writeFileSync(join(db.inside, "table"), "x");
  sync(db.inside);
  await until(tree, "/var/log/syslog");
  await until(tree, "/srv/deep/data/file");
  await until(served.guest("db"), "/table");
  const at = (directory: string): string[] =>
    eventsOf(directory)
      .filter(({ event }) => event === "created")
      .map(({ guest, path }) => `${guest}:${path}`)
      .sort();
  const syslog = "web:/var/log/syslog";
  const file = "web:/srv/deep/data/file";
  expect(at(join(tree, "var"))).toEqual([syslog]);
  expect(at(join(tree, "var/log"))).toEqual([syslog]);
  expect(at(join(tree, "srv"))).toEqual([file]);
  expect(at(join(tree, "srv/deep"))).toEqual([file]);
  expect(at(join(tree, "srv/deep/data"))).toEqual([file]);
  expect(at(join(tree, ".volumes/sdb"))).toEqual([file]);
  expect(at(join(tree, "etc"))).toEqual([]);
  expect(at(tree)).toEqual([file, syslog]);
  expect(at(served.guest("db"))).toEqual(["db:/table"]);
  expect(at(join(served.mountPoint, host))).toEqual(["db:/table", file, syslog]);
  expect(at(served.mountPoint)).toEqual(["db:/table", file, syslog]);
  const status = statusOf();
  expect(
    status.volumes.map(({ guest, volume, state, hasPaths }) => [guest, volume, state, hasPaths]),
  ).toEqual([
    ["web", "sda", "followed", true],
    ["web", "sdb", "followed", true],
    ["db", "sda", "followed", true],
  ]);
  for (const directory of [tree, join(tree, "var"), served.mountPoint])
    expect(readdirSync(directory)).not.toContain(".events");
  for (const { unmount } of [web, data, db]) unmount();
  expect(await served.stop()).toBe(0);
});

test("tail -F prints each event once while the log rotates; the former one is .events.1", async () => {
  const guest = await makeGuest("rotates");
  const options = ["--events-size", "16K", "--list-events"];
  const served = await serve(join(folder, "rotates"), { g: guest.image }, options);
  const tree = served.guest("g");
  await mark(guest, tree);
  mkdirSync(join(guest.inside, "d"));
  sync(guest.inside);
  await until(tree, "/d");
  expect(readdirSync(tree)).toContain(".events");
  const tail = spawn("tail", ["-n", "+1", "-s", "0.05", "-F", join(tree, "d/.events")], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  onEnd(() => tail.kill());
  let printed = "";
  tail.stdout.setEncoding("utf8").on("data", (text: string) => {
    printed += text;
  });
  const inodes = new Set<number>();
  for (let n = 0; n < 120; n++) {
    writeFileSync(join(guest.inside, "d", `file-${n}`), "");
    sync(guest.inside);
    await until(join(tree, "d"), `/d/file-${n}`);
    inodes.add(lstatSync(join(tree, "d/.events")).ino);
    await sleep(20);
  }
  expect(inodes.size).toBeGreaterThan(2);
  await sleep(300);
  const paths = printed
    .split("\n")
    .filter((line) => line.includes('"created"'))
    .map((line) => (JSON.parse(line) as GuestEvent).path);
  expect(paths).toEqual(["/d", ...Array.from({ length: 120 }, (_, n) => `/d/file-${n}`)]);
  const [before] = eventsOf(join(tree, "d")).slice(0, 1);
  const former = eventsOf(join(tree, "d"), ".events.1");
  expect((before?.id ?? 0) - (former.at(-1)?.id ?? 0)).toBeGreaterThan(0);
  expect((before?.id ?? 0) - (former.at(-1)?.id ?? 0)).toBeLessThan(4);
  tail.kill();
  guest.unmount();
  expect(await served.stop()).toBe(0);
});

/** Ends the daemon: both of its processes. */
async function end(served: Served, signal: "SIGTERM" | "SIGKILL", mountPoint: string): Promise<void> {
  if (signal === "SIGTERM") {
    await served.stop();
    return;
  }
  const own = execFileSync("ps", ["-o", "pid=", "--ppid", `${served.pid}`, "--pid", `${served.pid}`]);
  for (const pid of own.toString().trim().split(/\s+/).map(Number)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended with the other one.
    }
  }
  await sleep(300);
  for (const limit = performance.now() + 5000; performance.now() < limit; await sleep(50)) {
    try {
      lstatSync(join(mountPoint, "nothing"));
    } catch (error) {
      // The mount is being cut off.
      if ((error as NodeJS.ErrnoException).code !== "ECONNABORTED") return;
    }
  }
}

test.each(["SIGTERM", "SIGKILL"] as const)(
  "after a restart (%s) no event is lost or told twice",
  async (signal) => {
    const guest = await makeGuest(`restart-${signal}`);
    const mountPoint = join(folder, `restart-${signal}`);
    let served = await serve(mountPoint, { g: guest.image });
    await mark(guest, served.guest("g"));
    for (let round = 0; round < 3; round++) {
      writeFileSync(join(guest.inside, `while-running-${round}`), "");
      sync(guest.inside);
      await until(served.guest("g"), `/while-running-${round}`);
      await end(served, signal, mountPoint);
      writeFileSync(join(guest.inside, `while-away-${round}`), "");
      execFileSync("sync", ["-d", join(guest.inside, `while-away-${round}`)]);
      served = await serve(mountPoint, { g: guest.image });
      await until(served.guest("g"), `/while-away-${round}`);
    }
    const events = eventsOf(served.guest("g"));
    expect(events.map(({ id }) => id)).toEqual(events.map((_, index) => index + 1));
    const created = events.filter(({ event, path }) => event === "created" && path?.startsWith("/while"));
    expect(created.map(({ path }) => path)).toEqual(
      [0, 1, 2].flatMap((round) => [`/while-running-${round}`, `/while-away-${round}`]),
    );
    guest.unmount();
    await served.stop();
  },
);

test("what a guest does while a daemon is away that had seen nothing of it before is told", async () => {
  const guest = await makeGuest("unseen");
  const mountPoint = join(folder, "unseen");
  let served = await serve(mountPoint, { g: guest.image });
  await end(served, "SIGKILL", mountPoint);
  writeFileSync(join(guest.inside, "while-away"), "");
  sync(guest.inside);
  served = await serve(mountPoint, { g: guest.image });
  // There may have been no map of names before: then it is told by its name.
  const isTold = () =>
    eventsOf(served.guest("g")).some(({ name, path }) => name === "while-away" || path === "/while-away");
  await expect.poll(isTold, { timeout: 20_000 }).toBe(true);
  guest.unmount();
  await served.stop();
});

test.each(["SIGTERM", "SIGKILL"] as const)(
  "after a restart (%s) in the midst of fast commits no event is lost or told twice",
  async (signal) => {
    const guest = await makeGuest(`fast-${signal}`, ["-t", "ext4", "-O", "fast_commit"]);
    const mountPoint = join(folder, `fast-${signal}`);
    let served = await serve(mountPoint, { g: guest.image });
    await mark(guest, served.guest("g"));
    const expected: string[] = [];
    /** A new file, and one more name of an older one; what is fsynced is a fast commit. */
    const work = (name: string): void => {
      linkSync(join(guest.inside, "first"), join(guest.inside, `linked-${name}`));
      writeFileSync(join(guest.inside, name), name);
      execFileSync("sync", [join(guest.inside, name)]);
      expected.push(`linked /linked-${name}`, `created /${name}`);
    };
    // The rest of the transaction: while nobody watches, or later. Fast commits after it are written over those before.
    for (const isFinished of [false, true, true, false]) {
      const round = expected.length;
      work(`${round}-running`);
      work(`${round}-still`);
      await until(served.guest("g"), `/${round}-still`);
      await end(served, signal, mountPoint);
      work(`${round}-away`);
      if (isFinished) {
        execFileSync("sync", [guest.inside]);
        work(`${round}-after`);
      }
      served = await serve(mountPoint, { g: guest.image });
      await until(served.guest("g"), expected.at(-1)?.split(" ").at(-1) as string);
    }
    const events = eventsOf(served.guest("g"));
    expect(events.map(({ id }) => id)).toEqual(events.map((_, index) => index + 1));
    expect(events.filter(({ event }) => event === "gap")).toEqual([]);
    expect(events.filter(({ part }) => part !== undefined).length).toBeGreaterThan(10);
    const told = events.filter(({ event, path }) => event !== "content" && !path?.startsWith("/mark"));
    expect(told.map(inShort).slice(-expected.length).sort()).toEqual([...expected].sort());
    guest.unmount();
    await served.stop();
  },
);
