import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { isRemote, storageNow } from "../src/images/remote.js";
import {
  cleanUp,
  endWithTests,
  loopDevice,
  mount,
  onEnd,
  run,
  unmountNow,
  workFolder,
} from "./support/images-mount.js";
import { host, main, serve } from "./support/images-serve.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const folder = workFolder("stall");
const dist = dirname(main);

/** A guest that is at work: an image, and where its kernel has it mounted. */
interface Guest {
  readonly image: string;
  readonly inside: string;
}

async function makeGuest(name: string): Promise<Guest> {
  const image = join(folder, `${name}.img`);
  const source = join(folder, `${name}-source`);
  for (const directory of ["etc", "var", "cold"]) mkdirSync(join(source, directory), { recursive: true });
  for (let file = 0; file < 300; file++)
    writeFileSync(join(source, "cold", `file ${file}`), `needle ${file} of ${name}\n`.repeat(400));
  writeFileSync(join(source, "etc", "hostname"), `${name}\n`);
  writeFileSync(join(source, "var", "log"), "first\n");
  await run("truncate", ["-s", "64M", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "4096", "-d", source, image]);
  const { device } = await loopDevice(image);
  const inside = join(folder, `${name}-inside`);
  await mount(device, inside, "commit=1");
  return { image, inside };
}

/** Storage that serves an image; it can be stopped. */
interface Storage {
  readonly image: string;
  stall(): void;
  goOn(): void;
}

async function startStorage(name: string, image: string): Promise<Storage> {
  const point = join(folder, name);
  mkdirSync(point);
  const script = join(import.meta.dirname, "support/storage.mjs");
  const child = spawn(process.execPath, [script, dist, image, point], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onEnd(() => unmountNow(point));
  endWithTests(child);
  await once(child.stdout, "data");
  return {
    image: join(point, "disk.img"),
    stall: () => void child.kill("SIGSTOP"),
    goOn: () => void child.kill("SIGCONT"),
  };
}

/** A program that runs; `output` resolves with what it printed and its exit code. */
interface Running {
  readonly child: ChildProcess;
  readonly output: Promise<string>;
  hasEnded: boolean;
}

function start(command: string, ...args: string[]): Running {
  return startWith([], command, ...args);
}

/** The descriptors are the program's from 3 on. */
function startWith(descriptors: readonly number[], command: string, ...args: string[]): Running {
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe", ...descriptors],
    env: { ...process.env, LC_ALL: "C" },
  });
  endWithTests(child);
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding("utf8").on("data", (more) => {
      text += more;
    });
  const running: Running = {
    child,
    hasEnded: false,
    output: once(child, "close").then(([code]) => {
      running.hasEnded = true;
      return `${text}exit ${code}`;
    }),
  };
  return running;
}

const output = (command: string, ...args: string[]): Promise<string> => start(command, ...args).output;

async function eventually<T>(read: () => Promise<T | undefined> | T | undefined, limit = 60_000): Promise<T> {
  const until = performance.now() + limit;
  for (;;) {
    const value = await read();
    if (value !== undefined) return value;
    if (performance.now() > until) throw new Error("it never came");
    await sleep(20);
  }
}

/** Appends a line to a guest's file, durably. */
function writeInside({ inside }: Guest, line: string): void {
  const path = join(inside, "var", "log");
  appendFileSync(path, `${line}\n`);
  const fd = openSync(path, "r");
  fsyncSync(fd);
  closeSync(fd);
}

/** Has a guest write until an event of its says so: what happens while its journal is first read is told as a gap. */
function isTold(guest: Guest, events: string): Promise<true> {
  let written = 0;
  return eventually(async () => {
    writeInside(guest, `line ${written++}`);
    await sleep(200);
    return (await output("cat", events)).includes('"path":"/var/log"') ? true : undefined;
  });
}

/** Waits until a file has a line. */
function appears(path: string, line: string): Promise<true> {
  return eventually(async () => ((await output("cat", path)).includes(line) ? true : undefined));
}

function isMounted(path: string): boolean {
  return readFileSync("/proc/self/mountinfo", "utf8").includes(` ${path} `);
}

let near: Guest;
let far: Guest;
let storage: Storage;

beforeAll(async () => {
  [near, far] = await Promise.all([makeGuest("near"), makeGuest("far")]);
  storage = await startStorage("storage", far.image);
});

afterAll(() => {
  storage.goOn();
  cleanUp();
});

const images = () => ({ near: near.image, far: storage.image });

/** All that lies below a folder, with numbers and contents. */
async function everything(tree: string): Promise<string> {
  const listing = await output("find", tree, "-printf", "%i %y %m %n %s %T@ %P\n");
  return `${listing.split("\n").sort().join("\n")}\n${await output("grep", "-rc", "needle", tree)}`;
}

describe("a guest on storage across a network", () => {
  test("looks as it does on a local disk, goes on as its guest does, and tells its events", async () => {
    const local = await serve(join(folder, "local"), { near: near.image, far: far.image });
    const expected = (await everything(local.guest("far"))).replaceAll(local.mountPoint, "");
    expect(expected).toContain("file 299");
    await local.stop();
    const served = await serve(join(folder, "remote"), images());
    await eventually(async () =>
      (await output("ls", served.guest("far"))).includes("etc") ? true : undefined,
    );
    expect((await everything(served.guest("far"))).replaceAll(served.mountPoint, "")).toBe(expected);
    expect(await output("ls", join(served.mountPoint, host))).toBe("far\nnear\nexit 0");
    writeInside(far, "from afar");
    await appears(join(served.guest("far"), "var", "log"), "from afar");
    for (const events of [
      served.guest("far"),
      join(served.guest("far"), "var"),
      join(served.mountPoint, host),
    ])
      await isTold(far, join(events, ".events"));
    expect(await output("cat", join(served.volume("far"), "etc", "hostname"))).toBe("far\nexit 0");
    expect(await served.stop()).toBe(0);
  });
});

describe("storage that stalls", () => {
  test("fails its guest's readers after a while, holds up nobody else, and is read again when it answers", async () => {
    const served = await serve(join(folder, "stalled"), images());
    const [nearTree, farTree] = [served.guest("near"), served.guest("far")];
    expect(await output("cat", join(farTree, "etc", "hostname"))).toBe("far\nexit 0");
    const tail = start("tail", "-n", "+1", "-F", join(nearTree, "var", "log"));
    let followed = "";
    tail.child.stdout?.on("data", (text) => {
      followed += text;
    });
    storage.stall();
    const readers = Array.from({ length: 20 }, (_, at) => start("cat", join(farTree, "cold", `file ${at}`)));
    const starting = serve(join(folder, "started"), images());
    const impatient = start("ls", "-l", join(farTree, "var"));
    await sleep(200);
    impatient.child.kill("SIGINT");
    await impatient.output;

    expect((await output("grep", "-rc", "needle", nearTree)).split("file ").length).toBe(301);
    expect(await output("ls", join(served.mountPoint, host))).toBe("far\nnear\nexit 0");
    writeInside(near, "while the other one stalls");
    await eventually(() => (followed.includes("while the other one stalls") ? true : undefined));
    await isTold(near, join(nearTree, ".events"));
    expect(readers.map(({ hasEnded }) => hasEnded)).not.toContain(true);

    const started = await starting;
    expect(await output("cat", join(started.guest("near"), "etc", "hostname"))).toBe("near\nexit 0");
    expect(await output("ls", join(started.mountPoint, host))).toBe("far\nnear\nexit 0");
    const listing = start("ls", started.guest("far"));
    expect(await output("ls", "-R", join(started.guest("near"), "etc"))).toContain("hostname");
    expect(listing.hasEnded).toBe(false);

    for (const { output: text } of readers) expect(await text).toMatch(/Input\/output error\nexit 1$/);
    expect(await listing.output).toMatch(/Input\/output error\nexit 2$/);
    expect(served.log()).toContain("far: its storage has not answered");
    expect(await output("cat", join(farTree, "etc", "hostname"))).toMatch(/Input\/output error\nexit 1$/);
    expect(await output("cat", join(nearTree, "etc", "hostname"))).toBe("near\nexit 0");

    expect(await started.stop()).toBe(0);
    expect(isMounted(started.mountPoint)).toBe(false);
    storage.goOn();
    await appears(join(farTree, "etc", "hostname"), "far\nexit 0");
    expect(await output("grep", "-rc", "needle", join(farTree, "cold", "file 3"))).toBe("400\nexit 0");
    writeInside(far, "afterwards");
    await appears(join(farTree, "var", "log"), "afterwards");
    expect(await served.stop()).toBe(0);
  });

  test("is read on by those who had files open when the server was replaced", async () => {
    const served = await serve(join(folder, "replaced"), images());
    const path = join(served.guest("far"), "cold", "file 5");
    await appears(path, "needle 5 of far");
    const file = openSync(path, "r");
    onEnd(() => closeSync(file));
    const children = readFileSync(`/proc/${served.pid}/task/${served.pid}/children`, "utf8")
      .trim()
      .split(" ");
    storage.stall();
    for (const pid of children) process.kill(Number(pid), "SIGKILL");
    await appears(join(served.guest("near"), "etc", "hostname"), "near");
    const reader = startWith([file], "sh", "-c", "cat <&3");
    expect(await output("cat", join(served.guest("near"), "etc", "hostname"))).toBe("near\nexit 0");
    storage.goOn();
    expect(await reader.output).toContain("needle 5 of far\nexit 0");
    expect(await output("cat", path)).toContain("needle 5 of far");
    expect(await served.stop()).toBe(0);
  });

  test("is told by where an image lies, without a word from the storage", async () => {
    const link = join(folder, "link");
    symlinkSync(dirname(storage.image), link);
    const { device } = await loopDevice(storage.image, ["--read-only"]);
    storage.stall();
    try {
      expect(isRemote(storage.image)).toBe(true);
      expect(isRemote(join(link, "disk.img"))).toBe(true);
      expect(isRemote(device)).toBe(true);
      expect(isRemote(near.image)).toBe(false);
      expect(isRemote(join(folder, "nothing", "there"))).toBe(false);
      // Asked together, in any order, they are told apart as well.
      const images = [near.image, storage.image, join(link, "disk.img"), device, join(folder, "nothing")];
      for (const order of [images, images.toReversed(), [...images, ...images]]) {
        const storageIsRemote = storageNow();
        expect(order.map(storageIsRemote)).toEqual(order.map(isRemote));
      }
    } finally {
      storage.goOn();
    }
  });

  test("that lacks an image fails its guest's readers, and the log says why", async () => {
    const missing = join(dirname(storage.image), "missing.img");
    const served = await serve(join(folder, "missing"), { near: near.image, far: missing });
    expect(await output("ls", served.guest("far"))).toMatch(/Input\/output error\nexit 2$/);
    expect(await output("cat", join(served.guest("near"), "etc", "hostname"))).toBe("near\nexit 0");
    expect(served.log()).toContain(`far: cannot be opened, and is tried again: ${missing}: no such image`);
    expect(await served.stop()).toBe(0);
  });
});
