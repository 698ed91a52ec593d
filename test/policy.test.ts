/** Who may see what: a daemon with a policy, and all roads to what it hides. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { deserialize } from "bson";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { forgedHandles, handlesOf, openHandles } from "./support/handles.js";
import { cleanUp, mount, run, workFolder } from "./support/images-mount.js";
import { host, main, type Served, serve } from "./support/images-serve.js";
import { qemuNbd } from "./support/nbd-servers.js";
import { RedisServer } from "./support/redis-server.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const folder = workFolder("policy");
/** ESTALE, of which Node has no name. */
const STALE = "Unknown system error -116";
const ROOT_UUID = "5a5a0001-0000-4000-8000-000000000001";
const DATA_UUID = "5a5a0002-0000-4000-8000-000000000002";

afterAll(cleanUp);

const RULES = `
policy:
  - {guest: w*, path: [/etc/shadow*, /secret, "*.pem"], access: hide}
  - {path: /srv/top, access: hide}
  - {path: /meta/public, access: show}
  - {path: /meta, access: metadata}
ownership: {guest: web, user: 4321, group: "1234", umask: "027"}
`;

interface Guest {
  readonly images: string;
  /** Where the guest's own kernel has its root. */
  readonly inside: string;
  readonly unmount: () => void;
}

async function makeDisk(name: string, uuid: string): Promise<string> {
  const image = join(folder, `${name}.img`);
  await run("truncate", ["-s", "64M", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-U", uuid, image]);
  return image;
}

/** A guest that is at work: its second volume is at /srv. */
async function makeGuest(name: string): Promise<Guest> {
  const first = await makeDisk(`${name}-root`, ROOT_UUID);
  const second = await makeDisk(`${name}-data`, DATA_UUID);
  const data = join(folder, `${name}-data`);
  const unmountData = await mount(second, data, "loop");
  mkdirSync(join(data, "top/deep"), { recursive: true });
  writeFileSync(join(data, "top/deep/one"), "hidden on the second disk\n");
  writeFileSync(join(data, "open"), "open\n");
  unmountData();
  const inside = join(folder, `${name}-inside`);
  const unmountFirst = await mount(first, inside, "loop");
  for (const directory of [
    "old/moving/below",
    "etc",
    "secret/deep/er",
    "pub/sub",
    "meta/public",
    "srv",
    "home/u",
    "var/log",
  ])
    mkdirSync(join(inside, directory), { recursive: true });
  const files: Record<string, string> = {
    "etc/fstab": `UUID=${ROOT_UUID} / ext4 defaults 0 1\nUUID=${DATA_UUID} /srv ext4 defaults 0 2\n`,
    "old/moving/below/file": "moving\n",
    "etc/shadow": "root:secret hash\n",
    "etc/shadow-": "root:old hash\n",
    "etc/passwd": "root:x:0:0::/root:/bin/sh\n",
    "secret/key": "the key\n",
    "secret/deep/er/file": "deep\n",
    "pub/plain": "plain\n",
    "pub/twice": "twice\n",
    "pub/sub/below": "below\n",
    "meta/data": "only attributes\n",
    "meta/public/readme": "all of it\n",
    "home/u/server.pem": "a key in a home\n",
    "home/u/notes": "notes\n",
  };
  for (const [path, text] of Object.entries(files)) writeFileSync(join(inside, path), text);
  linkSync(join(inside, "secret/key"), join(inside, "pub/hardlink"));
  linkSync(join(inside, "pub/twice"), join(inside, "pub/sub/twice"));
  linkSync(join(inside, "pub/plain"), join(inside, "meta/plain"));
  symlinkSync("/secret/key", join(inside, "pub/symlink"));
  symlinkSync("../secret/deep/../key", join(inside, "pub/winding"));
  symlinkSync("data", join(inside, "meta/link"));
  symlinkSync("deep", join(inside, "secret/alias"));
  symlinkSync("../secret/alias/er/../file", join(inside, "pub/telling"));
  execFileSync("chmod", ["0664", join(inside, "pub/twice")]);
  unmountFirst();
  // Of files that have changed lately, what the kernel has is dropped again anyway.
  await run("debugfs", ["-w", "-R", "set_inode_field /old/moving/below/file ctime 20200101", first]);
  const unmount = await mount(first, inside, "loop");
  return { images: `${first},${second}`, inside, unmount };
}

function sync(inside: string): void {
  execFileSync("sync", ["-f", inside]);
}

/** What reading gives: the text, or the error's name. */
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? "?";
  }
}

function names(path: string): string[] | string {
  try {
    return readdirSync(path).sort();
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? "?";
  }
}

/** Waits until it is so. */
async function eventually<T>(value: () => T, wanted: T): Promise<void> {
  const end = performance.now() + 60_000;
  while (JSON.stringify(value()) !== JSON.stringify(wanted) && performance.now() < end) await sleep(10);
  expect(value()).toEqual(wanted);
}

let marks = 0;

/** Waits until what a guest has done so far has been told. What it does before there is a map of its names may never be. */
async function markIn(inside: string, tree: string): Promise<void> {
  for (let tries = 0; tries < 20; tries++) {
    const name = `mark-${++marks}`;
    writeFileSync(join(inside, name), "");
    sync(inside);
    const end = performance.now() + 2000;
    for (; performance.now() < end; await sleep(20)) {
      if (read(join(tree, ".events")).includes(`"/${name}"`)) return;
    }
  }
  throw new Error("no events are told");
}

function writePolicy(name: string, text: string): string {
  const path = join(folder, `${name}.yaml`);
  writeFileSync(path, text);
  return path;
}

interface Told {
  readonly event: string;
  readonly path?: string;
  readonly from?: string;
  readonly inode?: number;
}

describe("a guest with a policy", () => {
  let guest: Guest;
  let served: Served;
  let tree: string;
  let redis: RedisServer;
  const published: { channel: string; document: Record<string, unknown> }[] = [];

  /** All that has been told so far, by the guest's own log. */
  const told = (): Told[] =>
    readFileSync(join(tree, ".events"), "utf8")
      .split("\n")
      .flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Told]));

  /** Waits until the events of what has been done so far have been told. */
  const mark = () => markIn(guest.inside, tree);

  beforeAll(async () => {
    guest = await makeGuest("web");
    redis = await RedisServer.start(join(folder, "redis"));
    const subscriber = new Redis(redis.url);
    await subscriber.psubscribe("*");
    subscriber.on("pmessageBuffer", (_pattern: Buffer, channel: Buffer, message: Buffer) => {
      published.push({ channel: channel.toString(), document: deserialize(message) });
    });
    const options = ["--policy", writePolicy("web", RULES), "--redis", redis.url, "--redis-data", "4K"];
    served = await serve(join(folder, "web-cloud"), { web: guest.images }, options);
    tree = served.guest("web");
    await mark();
    return async () => {
      subscriber.disconnect();
      await served.stop();
      guest.unmount();
      redis.kill();
    };
  });

  test("listings have no hidden names", () => {
    expect(names(tree)).not.toContain("secret");
    expect(names(join(tree, "etc"))).toEqual(["fstab", "passwd"]);
    expect(names(join(tree, "home/u"))).toEqual(["notes"]);
    expect(names(join(tree, "srv"))).toEqual(["lost+found", "open"]);
    expect(names(join(tree, ".volumes/sdb"))).toEqual(["lost+found", "open"]);
    expect(names(join(tree, ".volumes/sda/etc"))).toEqual(["fstab", "passwd"]);
    expect(
      execFileSync("find", [tree, "-name", "*.pem", "-o", "-name", "*hadow*"], { encoding: "utf8" }),
    ).toBe("");
  });

  test("hidden names lead nowhere, on any road", () => {
    for (const path of [
      "etc/shadow",
      "etc/shadow-",
      "secret",
      "secret/key",
      "secret/deep/er/file",
      "secret/.events",
      "home/u/server.pem",
      "srv/top",
      "srv/top/deep/one",
      ".volumes/sda/secret/key",
      ".volumes/sda/etc/shadow",
      ".volumes/sdb/top/deep/one",
      "pub/symlink",
      "pub/winding",
      "pub/../etc/../secret/key",
    ])
      expect([path, read(join(tree, path))]).toEqual([path, "ENOENT"]);
    expect(read(join(tree, "etc/passwd"))).toMatch(/^root:x/);
    expect(read(join(tree, "srv/open"))).toBe("open\n");
  });

  test("links do not tell where hidden links lead", () => {
    expect(readlinkSync(join(tree, "pub/telling"))).not.toContain("deep");
    expect(read(join(tree, "pub/telling"))).toBe("ENOENT");
  });

  test("a file with a hidden name is hidden by all its names, and one without by none", () => {
    expect(read(join(tree, "pub/hardlink"))).toBe("ENOENT");
    expect(names(join(tree, "pub"))).toEqual(["plain", "sub", "symlink", "telling", "twice", "winding"]);
    expect(read(join(tree, "pub/twice"))).toBe("twice\n");
    expect(read(join(tree, "pub/sub/twice"))).toBe("twice\n");
  });

  test("of what is metadata only, attributes are shown, and no contents, by no name", () => {
    expect(names(join(tree, "meta"))).toEqual(["data", "link", "plain", "public"]);
    expect(statSync(join(tree, "meta/data")).size).toBe(16);
    expect(read(join(tree, "meta/data"))).toBe("EACCES");
    expect(read(join(tree, "meta/link"))).toBe("EACCES");
    expect(read(join(tree, ".volumes/sda/meta/data"))).toBe("EACCES");
    expect(read(join(tree, "meta/plain"))).toBe("EACCES");
    expect(read(join(tree, "pub/plain"))).toBe("EACCES");
    expect(read(join(tree, "meta/public/readme"))).toBe("all of it\n");
  });

  test("handles of hidden files are stale, however they were made", () => {
    const hidden = ["etc/shadow", "secret/key", "secret/deep/er/file", "secret", "secret/deep/er"];
    const files = ["etc/passwd", "pub/twice", "meta/data", ...hidden].map((path) => join(guest.inside, path));
    for (const place of [tree, join(tree, ".volumes/sda")]) {
      const [passwd, twice, metadata, ...others] = openHandles(tree, forgedHandles(place, files));
      expect(passwd).toMatch(/^root:x/);
      expect(twice).toBe("twice\n");
      expect(metadata).toBe("Permission denied");
      expect(others).toEqual(hidden.map(() => "Stale file handle"));
    }
  });

  test("files are shown as those of the user and group, with fewer permissions", () => {
    const { uid, gid, mode } = statSync(join(tree, "pub/twice"));
    expect([uid, gid, mode & 0o7777]).toEqual([4321, 1234, 0o640]);
    const directory = statSync(join(tree, "pub"));
    expect([directory.uid, directory.gid, directory.mode & 0o7777]).toEqual([4321, 1234, 0o750]);
  });

  test("what is moved into hiding is gone, also for those who have it open, and comes back", async () => {
    const { inside } = guest;
    expect(read(join(tree, "old/moving/below/file"))).toBe("moving\n");
    const handle = handlesOf([join(tree, "old/moving/below/file")]);
    const fd = openSync(join(tree, "old/moving/below/file"), "r");
    const shell = spawn("sh", ["-c", 'while read -r line; do cat file 2>&1 || :; echo "done"; done'], {
      cwd: join(tree, "old/moving/below"),
      stdio: ["pipe", "pipe", "inherit"],
    });
    let said = "";
    shell.stdout.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    const inDirectory = async (): Promise<string> => {
      said = "";
      shell.stdin.write("\n");
      await eventually(() => said.endsWith("done\n"), true);
      return said.slice(0, -"done\n".length);
    };
    const readOpen = (): string => {
      try {
        const bytes = Buffer.alloc(100);
        return bytes.toString("utf8", 0, readSync(fd, bytes, 0, bytes.length, 0));
      } catch (error) {
        return (error as NodeJS.ErrnoException).code ?? "?";
      }
    };
    try {
      expect(await inDirectory()).toBe("moving\n");
      expect(readOpen()).toBe("moving\n");
      renameSync(join(inside, "old/moving"), join(inside, "secret/moved"));
      sync(inside);
      await eventually(() => read(join(tree, "old/moving/below/file")), "ENOENT");
      await eventually(readOpen, STALE);
      await expect.poll(inDirectory, { timeout: 10_000 }).toMatch(/No such file|Stale/);
      await eventually(() => openHandles(tree, handle), ["Stale file handle"]);
      expect(read(join(tree, "secret/moved/below/file"))).toBe("ENOENT");
      renameSync(join(inside, "secret/moved"), join(inside, "pub/back"));
      sync(inside);
      await eventually(() => read(join(tree, "pub/back/below/file")), "moving\n");
      await eventually(() => openHandles(tree, handle), ["moving\n"]);
    } finally {
      closeSync(fd);
      shell.stdin.end();
      shell.kill();
    }
    await mark();
    const of = told().filter(
      ({ path, from }) => `${path}${from}`.includes("moving") || `${path}`.includes("back"),
    );
    expect(of.map(({ event, path }) => `${event} ${path}`)).toEqual([
      "deleted /old/moving",
      "created /pub/back",
    ]);
  });

  test("a hard link in a hidden directory hides the file, until it is removed", async () => {
    const { inside } = guest;
    writeFileSync(join(inside, "pub/linked"), "linked\n");
    sync(inside);
    await eventually(() => read(join(tree, "pub/linked")), "linked\n");
    expect(names(join(tree, "pub"))).toContain("linked");
    linkSync(join(inside, "pub/linked"), join(inside, "secret/linked"));
    sync(inside);
    await eventually(() => read(join(tree, "pub/linked")), "ENOENT");
    await eventually(() => names(join(tree, "pub")).includes("linked"), false);
    unlinkSync(join(inside, "secret/linked"));
    sync(inside);
    await eventually(() => read(join(tree, "pub/linked")), "linked\n");
    await eventually(() => names(join(tree, "pub")).includes("linked"), true);
    await mark();
    const of = told().filter(({ path }) => path?.includes("linked"));
    expect(of.map(({ event, path }) => `${event} ${path}`)).toEqual([
      "created /pub/linked",
      "deleted /pub/linked",
      "created /pub/linked",
    ]);
  });

  test("a hidden file that is deleted and held open in the guest is not shown", async () => {
    const { inside } = guest;
    writeFileSync(join(inside, "secret/held"), "held\n");
    const handle = forgedHandles(tree, [join(inside, "secret/held")]);
    const fd = openSync(join(inside, "secret/held"), "r");
    rmSync(join(inside, "secret/held"));
    sync(inside);
    await mark();
    expect(openHandles(tree, handle)).toEqual(["Stale file handle"]);
    closeSync(fd);
  });

  test("events tell of nothing that is hidden, on any road, and of no contents that are not shown", async () => {
    const { inside } = guest;
    writeFileSync(join(inside, "secret/born"), "born in hiding\n");
    writeFileSync(join(inside, "etc/shadow.new"), "hash of the new password\n");
    renameSync(join(inside, "etc/shadow.new"), join(inside, "etc/shadow"));
    writeFileSync(join(inside, "meta/written"), "contents of metadata\n");
    writeFileSync(join(inside, "pub/written"), "contents of what is shown\n");
    symlinkSync("where it leads", join(inside, "meta/leads"));
    renameSync(join(inside, "secret/born"), join(inside, "secret/grown"));
    linkSync(join(inside, "secret/grown"), join(inside, "secret/twin"));
    sync(inside);
    await mark();
    await eventually(() => published.some(({ channel }) => channel.endsWith(`/mark-${marks}`)), true);
    const state = join(folder, "web-cloud-state");
    const control = await controlEvents(join(state, "control.sock"));
    const command = spawnSync(
      process.execPath,
      [main, "events", "--json", "--state", state, "--since", "1h"],
      {
        encoding: "utf8",
      },
    );
    expect(command.stdout).toContain("/pub/written");
    const stream = new Redis(redis.url);
    const entries = await stream.xrangeBuffer(`slashcloud:${host}:web`, "-", "+");
    stream.disconnect();
    const stored = execFileSync("find", [join(state, "events"), "-type", "f", "-exec", "cat", "{}", "+"]);
    const roads: Record<string, string> = {
      top: read(join(served.mountPoint, ".events")),
      host: read(join(served.mountPoint, host, ".events")),
      guest: read(join(tree, ".events")),
      directory: read(join(tree, "pub/.events")),
      volume: read(join(tree, ".volumes/sda/.events")),
      control,
      command: command.stdout,
      channels: JSON.stringify(published),
      stored: stored.toString(),
      stream: entries.flatMap(([, fields]) => fields.map((field) => field.toString("latin1"))).join("\n"),
    };
    expect(roads.channels).toContain("/pub/written");
    expect(roads.stream).toContain("/pub/written");
    for (const [road, text] of Object.entries(roads)) {
      for (const hidden of [
        "/secret",
        "shadow",
        "born",
        "grown",
        "twin",
        "contents of metadata",
        "where it leads",
      ])
        expect([road, hidden, text.includes(hidden)]).toEqual([road, hidden, false]);
    }
    const data = published.find(({ channel }) => channel.endsWith(":/pub/written"))?.document.data;
    expect(`${data ?? ""}`.length).toBeGreaterThan(0);
    const withheld = published.filter(({ channel }) => channel.endsWith(":/meta/written"));
    expect(withheld.length).toBeGreaterThan(0);
    for (const { document } of withheld) expect(document.data).toBeUndefined();
  });

  test("a server that was killed is followed by one that hides the same", async () => {
    const handle = forgedHandles(tree, [join(guest.inside, "secret/key")]);
    const fd = openSync(join(tree, "pub/twice"), "r");
    const server = execFileSync("pgrep", ["-P", `${served.pid}`, "-f", "server.js"], { encoding: "utf8" });
    process.kill(Number(server.split("\n")[0]), "SIGKILL");
    expect(read(join(tree, "pub/hardlink"))).toBe("ENOENT");
    expect(read(join(tree, "etc/shadow"))).toBe("ENOENT");
    expect(openHandles(tree, handle)).toEqual(["Stale file handle"]);
    expect(readFileSync(fd, "utf8")).toBe("twice\n");
    expect(statSync(join(tree, "pub/twice")).uid).toBe(4321);
    closeSync(fd);
  });
});

describe("another policy", () => {
  test("holds for what the kernel and readers had before, without a new mount", async () => {
    const { images, inside, unmount } = await makeGuest("later");
    const path = writePolicy("later", "policy: []\n");
    const served = await serve(join(folder, "later-cloud"), { web: images }, ["--policy", path]);
    const tree = served.guest("web");
    expect(read(join(tree, "secret/deep/er/file"))).toBe("deep\n");
    expect(read(join(tree, "pub/hardlink"))).toBe("the key\n");
    expect(names(join(tree, "pub"))).toContain("hardlink");
    const handles = handlesOf(
      ["secret/key", "secret/deep/er/file", "secret", "secret/.events"].map((one) => join(tree, one)),
    );
    await markIn(inside, tree);
    writeFileSync(join(inside, "secret/told"), "before the rule\n");
    sync(inside);
    await eventually(() => read(join(tree, ".events")).includes("/secret/told"), true);
    const lines = read(join(tree, ".events")).split("\n").length;
    const fd = openSync(join(tree, "secret/key"), "r");
    const bytes = Buffer.alloc(100);
    expect(readSync(fd, bytes, 0, 100, 0)).toBe(8);
    writeFileSync(path, RULES);
    process.kill(served.pid, "SIGUSR2");
    await eventually(() => served.log().includes("another server has taken over"), true);
    await eventually(() => read(join(tree, "secret/deep/er/file")), "ENOENT");
    await eventually(() => read(join(tree, "pub/hardlink")), "ENOENT");
    expect(names(join(tree, "pub"))).not.toContain("hardlink");
    await eventually(() => {
      try {
        return readSync(fd, bytes, 0, 100, 0);
      } catch (error) {
        return (error as NodeJS.ErrnoException).code;
      }
    }, STALE);
    await eventually(
      () => openHandles(tree, handles),
      handles.map(() => "Stale file handle"),
    );
    // What was told before the rule is taken back, and all else is left.
    for (const events of [read(join(tree, ".events")), read(join(served.mountPoint, ".events"))]) {
      expect(events).not.toContain("secret");
      expect(events.split("\n").length).toBeGreaterThanOrEqual(lines);
      for (const line of events.split("\n")) if (line !== "") JSON.parse(line);
    }
    expect(statSync(join(tree, "etc")).uid).toBe(4321);
    // One that makes no sense changes nothing.
    writeFileSync(path, "policy:\n  - {path: /etc, access: sometimes}\n");
    process.kill(served.pid, "SIGUSR2");
    await eventually(
      () => /later.yaml:2: policy\[0\].access: one of show, metadata, hide/.test(served.log()),
      true,
    );
    expect(read(join(tree, "etc/shadow"))).toBe("ENOENT");
    closeSync(fd);
    expect(inside).toBeTruthy();
    await served.stop();
    unmount();
  });

  test("names of what is wrong with it come with file, line and key", () => {
    const wrong: readonly [string, RegExp][] = [
      [
        "policy:\n  - path: etc/shadow\n    access: hide\n",
        /:2: policy\[0\]\.path: etc\/shadow: a path begins with/,
      ],
      ["policy:\n  - path: /a\n    acess: hide\n", /:\d: policy\[0\]/],
      ["ownership:\n  umask: 27\n", /:2: ownership\.umask: octal digits in quotes/],
      ["ownership: {user: nobody-of-that-name}\n", /ownership: this host has no user nobody-of-that-name/],
      ["policy: [\n", /:\d: /],
      ["polcy: []\n", /:1: polcy: /],
    ];
    for (const [index, [text, message]] of wrong.entries()) {
      const path = writePolicy(`wrong-${index}`, text);
      const { status, stderr } = spawnSync(process.execPath, [main, "up", "--policy", path, "x=/dev/null"], {
        encoding: "utf8",
      });
      expect([text, status]).toEqual([text, 1]);
      expect(stderr.trim().split("\n")).toHaveLength(1);
      expect(stderr).toMatch(message);
    }
  });
});

describe.each([
  { by: "a thread of its own, as its storage may stall", driver: "kernel" },
  { by: "libfuse", driver: "libfuse" },
])("a guest that is served by $by", ({ driver }) => {
  test("is shown without what is hidden, now and later", async () => {
    const { images, inside, unmount } = await makeGuest(driver);
    const socket = join(folder, `${driver}.sock`);
    const [root = ""] = images.split(",");
    const server = driver === "kernel" ? await qemuNbd(socket, root, "-r", "-f", "raw") : undefined;
    const image = server === undefined ? root : `nbd+unix:///?socket=${socket}`;
    const options = ["--driver", driver, "--policy", writePolicy(driver, RULES)];
    const served = await serve(join(folder, `${driver}-cloud`), { web: image }, options);
    const tree = served.guest("web");
    try {
      await eventually(
        () => names(join(tree, "pub")),
        ["plain", "sub", "symlink", "telling", "twice", "winding"],
      );
      expect(names(join(tree, "etc"))).toEqual(["fstab", "passwd"]);
      expect(read(join(tree, "pub/hardlink"))).toBe("ENOENT");
      expect(read(join(tree, ".volumes/sda/secret/key"))).toBe("ENOENT");
      expect(read(join(tree, "pub/plain"))).toBe("EACCES");
      expect(read(join(tree, "pub/twice"))).toBe("twice\n");
      expect(statSync(join(tree, "pub/twice")).gid).toBe(1234);
      renameSync(join(inside, "pub/sub"), join(inside, "secret/sub"));
      writeFileSync(join(inside, "pub/later"), "later\n");
      sync(inside);
      await eventually(() => read(join(tree, "pub/later")), "later\n");
      await eventually(() => names(join(tree, "pub")), ["later", "plain", "symlink", "telling", "winding"]);
      expect(read(join(tree, "pub/sub/below"))).toBe("ENOENT");
      expect(read(join(tree, "pub/twice"))).toBe("ENOENT");
      await markIn(inside, tree);
      expect(read(join(tree, ".events"))).not.toContain("secret");
    } finally {
      await served.stop();
      await server?.kill();
      unmount();
    }
  });
});

/** All stored events, from the control socket. */
function controlEvents(socketPath: string): Promise<string> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path: "/v1/events?since=1h" }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
      });
      response.on("end", () => resolve(text));
    })
      .on("error", reject)
      .end();
  });
}
