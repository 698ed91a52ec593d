/** Disks of other formats than raw, as they are named on the command line. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createConnection, Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { cleanUp, endWithTests, run, workFolder } from "./support/images-mount.js";
import { main, serve } from "./support/images-serve.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const folder = workFolder("formats");
const raw = join(folder, "disk.img");
const FORMATS = { qcow2: "qcow2", qed: "qed", vmdk: "vmdk", vhdx: "vhdx", vdi: "vdi", vhd: "vpc" } as const;
/** Where slashcloud keeps what it needs for a while. */
const temporary = join(folder, "tmp");
const named = (ending: string): string => join(folder, `disk.${ending}`);

beforeAll(async () => {
  mkdirSync(temporary);
  process.env.TMPDIR = temporary;
  const source = join(folder, "source");
  mkdirSync(join(source, "etc"), { recursive: true });
  writeFileSync(join(source, "etc", "hostname"), "web\n");
  writeFileSync(join(source, "large"), "0123456789\n".repeat(200_000));
  await run("truncate", ["-s", "64M", raw]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-d", source, raw]);
  for (const [ending, format] of Object.entries(FORMATS))
    await run("qemu-img", ["convert", "-f", "raw", "-O", format, raw, named(ending)]);
  await run("qemu-img", [
    "create",
    "-q",
    "-f",
    "qcow2",
    "-b",
    named("qcow2"),
    "-F",
    "qcow2",
    named("top.qcow2"),
  ]);
});
afterAll(cleanUp);

/** Runs slashcloud; returns its output, its error output and its exit code. */
async function slashcloud(
  args: readonly string[],
  path = process.env.PATH,
): Promise<[string, string, number]> {
  const child = spawn(process.execPath, [main, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, PATH: path },
  });
  endWithTests(child);
  let out = "";
  let errors = "";
  child.stdout.setEncoding("latin1").on("data", (text: string) => {
    out += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  const [code] = (await once(child, "close")) as [number];
  return [out, errors, code];
}

/** Processes of qemu-nbd that have a disk of these tests. */
function converters(): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => {
      if (!(pid > 0)) return false;
      try {
        const [program = "", ...args] = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
        return program.endsWith("qemu-nbd") && args.some((arg) => arg.includes(folder));
      } catch {
        return false;
      }
    });
}

const leftOver = (): string[] => readdirSync(temporary);

async function eventually(isSo: () => Promise<boolean> | boolean, what: string): Promise<void> {
  for (const start = performance.now(); !(await isSo()); await sleep(20)) {
    if (performance.now() - start > 90_000) throw new Error(`it never came: ${what}`);
  }
}

/** A QEMU that has a disk, as if its guest ran. */
async function startQemu(image: string): Promise<() => Promise<void>> {
  const monitor = join(folder, "monitor");
  const child = spawn(
    "qemu-system-x86_64",
    [
      ...["-accel", "tcg", "-display", "none", "-nodefaults", "-S"],
      ...["-drive", `file=${image},format=qcow2,if=virtio`, "-qmp", `unix:${monitor},server=on,wait=off`],
    ],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
  endWithTests(child);
  let socket = new Socket();
  // It is there a moment before QEMU listens.
  await eventually(async () => {
    socket = createConnection(monitor);
    return once(socket, "data").then(
      () => true,
      () => false,
    );
  }, "QEMU's monitor");
  return async () => {
    const ended = once(child, "close");
    socket.destroy();
    child.kill();
    await ended;
  };
}

describe("a disk image of another format than raw", () => {
  test.each([...Object.keys(FORMATS), "top.qcow2"])("reads as the raw disk: .%s", async (ending) => {
    const files = (image: string) => [`${image}:/etc/hostname`, `${image}:/large`];
    expect(await slashcloud(["cat", ...files(named(ending))])).toEqual(
      await slashcloud(["cat", ...files(raw)]),
    );
    // A VHD's size is one of a disk with cylinders.
    const volumes = async (image: string) =>
      (await slashcloud(["volumes", image]))[0].replace(/ 67\d{6} /, "");
    expect(await volumes(named(ending))).toBe(await volumes(raw));
  });

  test("is believed to be one if its name or its user says so, not by what a guest may have written", async () => {
    const odd = join(folder, "odd.img");
    copyFileSync(named("qcow2"), odd);
    const [out, errors] = await slashcloud(["volumes", odd]);
    expect(out).toContain("unknown");
    expect(errors).toContain(`read as raw; if it is one, write qcow2:${odd}\n`);
    expect((await slashcloud(["cat", `qcow2:${odd}:/etc/hostname`]))[0]).toBe("web\n");
    const wrong = join(folder, "raw.qcow2");
    copyFileSync(raw, wrong);
    expect((await slashcloud(["cat", `${wrong}:/etc/hostname`]))[0]).toBe("web\n");
    expect((await slashcloud(["volumes", `raw:${named("qcow2")}`]))[0]).toContain("unknown");
  });

  test("that is none is refused in one line", async () => {
    const [, errors, code] = await slashcloud(["volumes", `qcow2:${raw}`]);
    expect(errors).toMatch(
      /^slashcloud: .*disk\.img: qemu-nbd cannot read it as qcow2 \(.*not in qcow2 format\).*\n$/,
    );
    expect(code).toBe(1);
  });

  test("needs qemu-nbd, and says so", async () => {
    const expected =
      /^slashcloud: .*disk\.qcow2: this is a qcow2 disk, which qemu-nbd is needed for; install it .*\n$/;
    const [, errors, code] = await slashcloud(["volumes", named("qcow2")], "/nowhere");
    expect(errors).toMatch(expected);
    expect(code).toBe(1);
    const without = join(folder, "bin");
    mkdirSync(without);
    await run("ln", ["-s", "/usr/bin/setpriv", join(without, "setpriv")]);
    const point = join(folder, "without");
    mkdirSync(point);
    const up = await slashcloud(["up", "--mount", point, "--no-events", `web=${named("qcow2")}`], without);
    expect(up[1]).toMatch(expected);
    expect(up[2]).toBe(1);
  });

  test("that a running QEMU has is refused, and why", async () => {
    const stop = await startQemu(named("qcow2"));
    const expected = /^slashcloud: .*disk\.qcow2: a running QEMU has this qcow2 disk in use, .*\n$/;
    const [, errors, code] = await slashcloud(["ls", `${named("qcow2")}:/`]);
    expect(errors).toMatch(expected);
    expect(code).toBe(1);
    const point = join(folder, "refused");
    mkdirSync(point);
    const up = await slashcloud(["up", "--mount", point, "--no-events", `web=${named("qcow2")}`]);
    expect(up[1]).toMatch(expected);
    expect(up[2]).toBe(1);
    await stop();
    expect(converters()).toEqual([]);
    expect(leftOver()).toEqual([]);
  });
});

describe("a tree of guests with such disks", () => {
  const guests = () => ({ one: named("top.qcow2"), two: named("vmdk"), three: raw });
  const isThere = async (path: string) => {
    const text = await run("cat", [path]).catch(() => "");
    return text === "web\n";
  };

  test("shows them, also after qemu-nbd has died, and leaves nothing behind", async () => {
    const served = await serve(join(folder, "tree"), guests());
    for (const name of Object.keys(guests()))
      await eventually(() => isThere(join(served.guest(name), "etc", "hostname")), name);
    const before = converters();
    expect(before).toHaveLength(2);
    for (const pid of before) process.kill(pid, "SIGKILL");
    await eventually(() => converters().length === 2 && !converters().includes(before[0]!), "new ones");
    const sums = await Promise.all(
      Object.keys(guests()).map((name) =>
        run("sh", ["-c", `md5sum < '${join(served.guest(name), "large")}'`]),
      ),
    );
    expect(new Set(sums).size).toBe(1);
    expect(served.log()).toContain("top.qcow2: qemu-nbd died (SIGKILL) and is started again");
    expect(await served.stop()).toBe(0);
    await eventually(() => converters().length === 0, "their end");
    expect(leftOver()).toEqual([]);
  });

  test("lets go of a disk that a QEMU is started with, and shows it again when that has ended", async () => {
    const served = await serve(join(folder, "yielding"), { one: named("top.qcow2") });
    const file = join(served.guest("one"), "etc", "hostname");
    await eventually(() => isThere(file), "the guest");
    const stop = await startQemu(named("top.qcow2"));
    await eventually(() => converters().length === 0, "qemu-nbd lets go");
    await eventually(
      () => served.log().includes("top.qcow2: a QEMU has started to use this qcow2 disk"),
      "it says so",
    );
    await stop();
    await eventually(() => converters().length === 1, "qemu-nbd, once again");
    await eventually(() => isThere(file), "the guest, once again");
    // While it is opened it is locked, for a moment.
    const snapshot = () => run("qemu-img", ["snapshot", "-c", "now", named("top.qcow2")]).then(() => true);
    await eventually(() => snapshot().catch(() => false), "a snapshot within it");
    const changed = "another program has changed this qcow2 disk: it is opened afresh";
    await eventually(() => served.log().includes(changed), "the change is seen");
    await eventually(() => converters().length === 1, "qemu-nbd begins again");
    expect(await isThere(file)).toBe(true);
    expect(await served.stop()).toBe(0);
    await eventually(() => converters().length === 0, "its end");
  });

  test("that is killed takes them along, and no disk stays locked", async () => {
    const served = await serve(join(folder, "killed"), guests());
    expect(converters()).toHaveLength(2);
    process.kill(served.pid, "SIGKILL");
    await eventually(() => converters().length === 0, "their end");
    const stop = await startQemu(named("top.qcow2"));
    await stop();
    await served.stop();
  });
});
