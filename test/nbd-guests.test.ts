/** Guests whose disks an NBD server offers, in a tree: while they write, and while the server hangs or is started again. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { isRemote } from "../src/images/remote.js";
import { guestImage, Machine, pressReset } from "./support/guest-machine.js";
import { cleanUp, endWithTests, loopDevice, mount, run, workFolder } from "./support/images-mount.js";
import { host, serve } from "./support/images-serve.js";
import { nbdkit, qemuNbd } from "./support/nbd-servers.js";
import { nbdfuse } from "./support/nbd-tap.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const folder = workFolder("nbd-guests");

afterAll(cleanUp);

/** Runs a program; returns what it printed and its exit code. */
async function output(command: string, ...args: string[]): Promise<string> {
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, LC_ALL: "C" },
  });
  endWithTests(child);
  return outputOf(child);
}

async function outputOf(child: ChildProcess): Promise<string> {
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding("utf8").on("data", (more) => {
      text += more;
    });
  const [code] = await once(child, "close");
  return `${text}exit ${code}`;
}

async function eventually(
  isSo: () => Promise<boolean> | boolean,
  what: string,
  limit = 90_000,
): Promise<void> {
  for (const start = performance.now(); !(await isSo()); await sleep(20)) {
    if (performance.now() - start > limit) throw new Error(`it never came: ${what}`);
  }
}

async function makeImage(name: string, format = "raw"): Promise<string> {
  const raw = join(folder, `${name}.img`);
  const source = join(folder, `${name}-source`);
  for (const directory of ["etc", "var", "cold"]) mkdirSync(join(source, directory), { recursive: true });
  for (let file = 0; file < 200; file++)
    writeFileSync(join(source, "cold", `file ${file}`), `needle ${file} of ${name}\n`.repeat(400));
  writeFileSync(join(source, "etc", "hostname"), `${name}\n`);
  writeFileSync(join(source, "var", "log"), "first\n");
  await run("truncate", ["-s", "64M", raw]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "4096", "-d", source, raw]);
  if (format === "raw") return raw;
  const image = join(folder, `${name}.${format}`);
  await run("qemu-img", ["convert", "-f", "raw", "-O", format, raw, image]);
  return image;
}

/** Appends a line to a file, durably. */
function writeDurably(path: string, line: string): void {
  appendFileSync(path, `${line}\n`);
  const fd = openSync(path, "r");
  fsyncSync(fd);
  closeSync(fd);
}

/** Has QEMU's monitor carry out commands, one after the other. */
async function monitorDoes(path: string, ...commands: readonly object[]): Promise<void> {
  const monitor = createConnection(path);
  await once(monitor, "connect");
  const answers = createInterface(monitor)[Symbol.asyncIterator]();
  for (const command of [undefined, { execute: "qmp_capabilities" }, ...commands]) {
    if (command !== undefined) monitor.write(`${JSON.stringify(command)}\n`);
    for (;;) {
      const { value } = await answers.next();
      const answer = JSON.parse(value as string) as { event?: string; error?: { desc: string } };
      if (answer.error !== undefined) throw new Error(answer.error.desc);
      if (answer.event === undefined) break;
    }
  }
  monitor.destroy();
}

const url = (socket: string): string => `nbd+unix:///?socket=${socket}`;
const listing = async (tree: string): Promise<string> =>
  (await output("find", tree, "-printf", "%y %m %n %s %T@ %P\n")).split("\n").sort().join("\n");
const contents = (tree: string): Promise<string> =>
  output("sh", "-c", `cd '${tree}' && find . -type f -print0 | sort -z | xargs -0 sha256sum`);

describe("a guest whose disk comes by NBD", () => {
  let near: string;
  beforeAll(async () => {
    near = await makeImage("near");
  });

  test("is remote, and asked of by its URL", () => {
    expect(isRemote("nbd+unix:///x?socket=/run/x")).toBe(true);
    expect(isRemote("nbd://localhost/x")).toBe(true);
  });

  test.each([
    ["a raw disk of qemu-nbd's", "raw"],
    ["a qcow2 disk of qemu-nbd's", "qcow2"],
  ])("is as its kernel has it while it writes through the same server: %s", async (_, format) => {
    const image = await makeImage(`live-${format}`, format);
    const socket = join(folder, `live-${format}.sock`);
    const server = await qemuNbd(socket, image, "-f", format, "--cache=writeback");
    const { file, end } = await nbdfuse(url(socket), join(folder, `live-${format}-fuse`));
    const { device, free } = await loopDevice(file, ["--direct-io=on"]);
    const inside = join(folder, `live-${format}-inside`);
    const unmount = await mount(device, inside, "commit=1");
    const served = await serve(join(folder, `live-${format}-tree`), { far: url(socket), near });
    const tree = served.guest("far");
    await eventually(async () => (await output("ls", tree)).includes("etc"), "the guest's root");
    const [log, shown] = [join(inside, "var", "log"), join(tree, "var", "log")];
    for (let round = 0; round < 40; round++) {
      const [name, gone] = [join(inside, "cold", `new ${round}`), join(inside, "cold", `file ${round}`)];
      writeDurably(name, `stamp ${round} `.repeat(5000));
      await output("rm", gone);
      await output("mv", join(inside, "cold", `file ${round + 100}`), join(inside, "var", `moved ${round}`));
      writeDurably(log, `line ${round}`);
      const expected = `${round === 0 ? "" : `line ${round - 1}\n`}line ${round}\n`;
      await eventually(
        async () => (await output("tail", "-n", "2", shown)).includes(expected),
        expected,
        5000,
      );
      expect(await output("tail", "-c", "20", join(tree, "cold", `new ${round}`))).toContain(
        `stamp ${round} `,
      );
      expect(await output("cat", join(tree, "cold", `file ${round}`))).toContain("No such file");
    }
    const events = await output("cat", join(tree, ".events"));
    expect(events).toContain('"path":"/var/log"');
    await output("sync", "-f", log);
    await eventually(async () => (await listing(inside)) === (await listing(tree)), "the same").catch(
      () => {},
    );
    expect(await listing(tree)).toBe(await listing(inside));
    expect(await contents(tree)).toBe(await contents(inside));
    expect(await output("ls", join(served.mountPoint, host))).toBe("far\nnear\nexit 0");
    expect(await served.stop()).toBe(0);
    unmount();
    free();
    await end();
    await server.kill();
  });

  test("fails its readers when the server hangs, holds up nobody else, and is read again when it goes on", async () => {
    const image = await makeImage("hanging");
    const socket = join(folder, "hanging.sock");
    const server = await qemuNbd(socket, image, "-r", "-f", "raw");
    const served = await serve(join(folder, "hanging-tree"), { far: url(socket), near });
    const [farTree, nearTree] = [served.guest("far"), served.guest("near")];
    await eventually(
      async () => (await output("cat", join(farTree, "etc", "hostname"))) === "hanging\nexit 0",
      "it",
    );
    server.stall();
    const begun = performance.now();
    const readers = Array.from({ length: 10 }, (_, at) => output("cat", join(farTree, "cold", `file ${at}`)));
    expect((await output("grep", "-rc", "needle", nearTree)).split("file ").length).toBe(201);
    expect(await output("ls", join(served.mountPoint, host))).toBe("far\nnear\nexit 0");
    for (const reader of readers) expect(await reader).toMatch(/Input\/output error\nexit 1$/);
    expect(performance.now() - begun).toBeLessThan(30_000);
    // From now on nobody waits.
    const late = performance.now();
    for (let at = 20; at < 30; at++)
      expect(await output("cat", join(farTree, "cold", `file ${at}`))).toMatch(
        /Input\/output error\nexit 1$/,
      );
    expect(performance.now() - late).toBeLessThan(9000);
    expect(await output("cat", join(nearTree, "etc", "hostname"))).toBe("near\nexit 0");
    expect(served.log()).toContain("cannot be read for the time being: the NBD server has not answered");
    server.goOn();
    await eventually(
      async () => (await output("grep", "-c", "needle", join(farTree, "cold", "file 25"))) === "400\nexit 0",
      "the file, again",
    );
    // Whoever follows the guest looks for itself.
    await eventually(async () => served.log().includes("far/sda: can be read again"), "the follower, again");
    expect(await contents(farTree)).toBe(await contents(join(folder, "hanging-source")));
    expect(await served.stop()).toBe(0);
    await server.kill();
  });

  test("answers again when the server was killed and started again, and has what was written meanwhile", async () => {
    const image = await makeImage("killed");
    const socket = join(folder, "killed.sock");
    let server = await nbdkit(socket, image);
    const served = await serve(join(folder, "killed-tree"), { far: url(socket), near });
    const tree = served.guest("far");
    await eventually(
      async () => (await output("cat", join(tree, "etc", "hostname"))) === "killed\nexit 0",
      "it",
    );
    // For a moment: whoever reads waits for the server.
    await server.kill();
    const waiting = output("cat", join(tree, "cold", "file 7"));
    await sleep(500);
    server = await nbdkit(socket, image);
    expect(await waiting).toContain("needle 7 of killed\nexit 0");
    // For longer than anyone waits.
    await server.kill();
    expect(await output("cat", join(tree, "cold", "file 8"))).toMatch(/Input\/output error\nexit 1$/);
    const { device, free } = await loopDevice(image);
    const unmount = await mount(device, join(folder, "killed-inside"), "commit=1");
    writeDurably(join(folder, "killed-inside", "var", "log"), "meanwhile");
    unmount();
    free();
    server = await nbdkit(socket, image);
    await eventually(
      async () => (await output("cat", join(tree, "var", "log"))).includes("meanwhile"),
      "the line",
    );
    expect(await output("cat", join(tree, "cold", "file 8"))).toContain("needle 8 of killed\nexit 0");
    expect(await served.stop()).toBe(0);
    await server.kill();
  });

  test("whose server is not there yet is shown when it is", async () => {
    const image = await makeImage("later");
    const socket = join(folder, "later.sock");
    const served = await serve(join(folder, "later-tree"), { far: url(socket), near });
    expect(await output("ls", served.guest("far"))).toMatch(/Input\/output error\nexit 2$/);
    expect(await output("cat", join(served.guest("near"), "etc", "hostname"))).toBe("near\nexit 0");
    expect(served.log()).toContain("far: cannot be opened, and is tried again: nbd+unix:///?socket=");
    const server = await qemuNbd(socket, image, "-r", "-f", "raw");
    await eventually(
      async () => (await output("cat", join(served.guest("far"), "etc", "hostname"))) === "later\nexit 0",
      "its file",
    );
    expect(await served.stop()).toBe(0);
    await server.kill();
  });

  test("is read while QEMU runs it from a qcow2 disk, through QEMU's own export, over a reset and a new QEMU", async () => {
    const place = join(folder, "qemu");
    mkdirSync(place);
    const image = join(place, "guest.qcow2");
    await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", await guestImage(place), image]);
    const [monitor, socket] = [join(place, "monitor"), join(place, "nbd.sock")];
    const start = async (): Promise<Machine> => {
      for (const path of [monitor, socket]) rmSync(path, { force: true });
      const machine = await Machine.pc([`file=${image},format=qcow2`], [monitor]);
      const answers = async () =>
        existsSync(monitor) &&
        (await monitorDoes(monitor).then(
          () => true,
          () => false,
        ));
      await eventually(answers, "the monitor");
      await monitorDoes(
        monitor,
        { execute: "nbd-server-start", arguments: { addr: { type: "unix", data: { path: socket } } } },
        { execute: "nbd-server-add", arguments: { device: "disk0" } },
      );
      await machine.started();
      return machine;
    };
    let machine = await start();
    const served = await serve(join(place, "cloud"), { g: `nbd+unix:///disk0?socket=${socket}`, near });
    const log = join(served.guest("g"), "var/log/app.log");
    const tail = spawn("tail", ["-F", "-n", "+1", "-s", "0.1", log], { stdio: ["ignore", "pipe", "ignore"] });
    endWithTests(tail);
    let seen = "";
    tail.stdout.setEncoding("utf8").on("data", (text: string) => {
      seen += text;
    });
    const lines = (count: number): string =>
      Array.from({ length: count }, (_, line) => `${line + 1} a line of the log\n`).join("");
    const logged = async (count: number): Promise<void> => {
      await eventually(() => seen.length >= lines(count).length, `${count} lines`);
      expect(seen).toBe(lines(count));
    };
    await logged(await machine.does("lines 20"));
    await machine.does("work first");
    await machine.does("rotate");
    await logged(await machine.does("lines 20"));
    await pressReset(monitor);
    await machine.started();
    await logged(await machine.does("lines 10"));
    await machine.pullPlug();
    machine = await start();
    await logged(await machine.does("lines 10"));
    const events = await output("cat", join(served.guest("g"), ".events"));
    expect(events).toContain('"path":"/srv/first/outer"');
    machine.tell("off");
    await machine.ended();
    // At rest, it is what the kernel has.
    const server = await qemuNbd(socket, image, "-r", "-f", "qcow2", "-x", "disk0");
    const raw = join(place, "at-rest.img");
    await run("qemu-img", ["convert", "-U", "-f", "qcow2", "-O", "raw", image, raw]);
    const unmount = await mount(raw, join(place, "kernel"), "ro,loop");
    const kernel = await listing(join(place, "kernel"));
    await eventually(async () => (await listing(served.guest("g"))) === kernel, "the same").catch(() => {});
    expect(await listing(served.guest("g"))).toBe(kernel);
    expect(await contents(served.guest("g"))).toBe(await contents(join(place, "kernel")));
    unmount();
    expect(await served.stop()).toBe(0);
    await server.kill();
  }, 300_000);
});
