/** What a daemon that is killed leaves behind: no process, and no folder once another one starts. */
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test, vi } from "vitest";
import { guestImage, Machine } from "./support/guest-machine.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { main, type Served, serve } from "./support/images-serve.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("left");
/** Where the daemons of this test have their temporary files. */
const temporary = mkdtempSync(join(folder, "t"));
const before = process.env.TMPDIR;
process.env.TMPDIR = temporary;

afterAll(() => {
  if (before === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = before;
  cleanUp();
});

const LIMIT = 90_000;

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const limit = performance.now() + LIMIT; !holds(); await sleep(20))
    if (performance.now() > limit) throw new Error(`never: ${what}`);
}

const nameOf = (pid: number): string => readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");

const isRunning = (pid: number): boolean => {
  try {
    return !/^State:\t[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
};

/** All processes that one has started, and those that they have. */
function below(pid: number): number[] {
  const tasks = readdirSync(`/proc/${pid}/task`);
  const children = tasks.flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").trim().split(" "),
  );
  return children.flatMap((text) => (text === "" ? [] : [Number(text), ...below(Number(text))]));
}

async function daemon(name: string): Promise<Served> {
  const raw = join(folder, `${name}.img`);
  await run("truncate", ["-s", "16M", raw]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", raw]);
  await run("qemu-img", ["convert", "-O", "qcow2", raw, join(folder, `${name}.qcow2`)]);
  const images = { raw, other: join(folder, `${name}.qcow2`) };
  // Only a raw disk can be at the tap: so one is told by a pipe.
  return serve(join(folder, name), images, ["--pipe", `raw=${join(folder, `${name}.pipe`)}`]);
}

const folders = (): string[] => readdirSync(temporary).filter((name) => name.startsWith("slashcloud-"));

test("its processes end, and the next daemon takes its folders away, and no other's", async () => {
  const living = await daemon("living");
  const kept = folders();
  expect(kept.map((name) => name.replace(/-\w{6}$/, "")).sort()).toEqual([
    "slashcloud-disks",
    "slashcloud-feed",
  ]);
  const killed = await daemon("killed");
  const left = folders().filter((name) => !kept.includes(name));
  expect(left).toHaveLength(2);
  const processes = below(killed.pid);
  for (const program of ["server.js", "tap.js", "qemu-nbd"])
    expect(
      processes.filter((pid) => nameOf(pid).includes(program)),
      program,
    ).toHaveLength(1);
  process.kill(killed.pid, "SIGKILL");
  for (const pid of processes) await until(`${pid} ends`, () => !isRunning(pid));
  expect(folders().sort()).toEqual([...kept, ...left].sort());

  // A folder of QEMU's user is in one of an attached guest.
  const [feed] = left.filter((name) => name.includes("feed"));
  const qemu = join(temporary, feed as string, "guest-abcdef/qemu");
  mkdirSync(qemu, { recursive: true });
  writeFileSync(join(qemu, "disks.sock"), "");
  chownSync(qemu, 65534, 65534);
  // Folders of which nobody knows whose they are, another user's, and one of a container.
  const strangers = [
    "slashcloud-feed-aaaaaa",
    "slashcloud-disks-bbbbbb",
    "slashcloud-disk-cccccc",
    "slashcloud-disk-dddddd",
  ];
  for (const name of strangers) mkdirSync(join(temporary, name));
  const [, others, containers, empty] = strangers.map((name) => join(temporary, name));
  writeFileSync(join(others as string, "owners"), `${readlinkSync("/proc/self/ns/pid")}\n1 1\n`);
  chownSync(others as string, 65534, 65534);
  writeFileSync(join(containers as string, "owners"), "pid:[1]\n1 1\n");
  writeFileSync(join(empty as string, "owners"), "");

  const next = await daemon("next");
  for (const name of left) expect(existsSync(join(temporary, name)), name).toBe(false);
  for (const name of [...kept, ...strangers]) expect(existsSync(join(temporary, name)), name).toBe(true);
  expect(existsSync(join(living.guest("other"), "lost+found"))).toBe(true);
  expect(await next.stop()).toBe(0);
  expect(await living.stop()).toBe(0);
  expect(folders().sort()).toEqual([...strangers].sort());
});

test("who is attached to a running guest lets go of it, and its watchdog ends", async () => {
  const place = join(folder, "attached");
  mkdirSync(place);
  const monitor = join(place, "web.qmp");
  const machine = await Machine.qemu(await guestImage(place), monitor, "none");
  await machine.started();
  const killed = await serve(join(place, "cloud"), {});
  const command = ["attach", "--qmp", monitor, "--state", `${killed.mountPoint}-state`];
  await run(process.execPath, [main, ...command]);
  const processes = below(killed.pid);
  for (const program of ["server.js", "tap.js", "watchdog.js"])
    expect(
      processes.filter((pid) => nameOf(pid).includes(program)),
      program,
    ).toHaveLength(1);
  process.kill(killed.pid, "SIGKILL");
  for (const pid of processes) await until(`${pid} ends`, () => !isRunning(pid));
  await machine.does("lines 1");
  // Nothing of it is left in QEMU: it can be attached to again.
  const next = await serve(join(place, "next"), {});
  await run(process.execPath, [main, ...command.slice(0, -1), `${next.mountPoint}-state`]);
  expect(existsSync(join(next.guest("web"), "var/log/app.log"))).toBe(true);
  expect(await next.stop()).toBe(0);
  await machine.pullPlug();
});
