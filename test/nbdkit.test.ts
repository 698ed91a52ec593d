/** Disks that nbdkit offers: compressed ones, and those on web servers. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { parseLocation } from "../src/cli/location.js";
import { layersOf } from "../src/daemon/image-layers.js";
import { parseImage, resolveImage } from "../src/daemon/image-name.js";
import { compareWalks, type Walk, walkKernel, walkOurs } from "./oracle/compare.js";
import { makeImage } from "./support/images.js";
import { cleanUp, endWithTests, mount, run, workFolder } from "./support/images-mount.js";
import { main, serve } from "./support/images-serve.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const folder = workFolder("nbdkit");
const at = (name: string): string => join(folder, name);
const temporary = at("tmp");
const raw = at("disk.img");
let web: string;
let expected: Walk;

beforeAll(async () => {
  mkdirSync(temporary);
  process.env.TMPDIR = temporary;
  const { image } = await makeImage(
    {
      name: "nbdkit",
      size: "24M",
      mke2fs: ["-t", "ext4", "-b", "1024", "-U", "random", "-J", "size=1"],
      fill: ["--block", "1024", "--only", "names", "contents", "links", "small", "attributes"],
    },
    at("made"),
  );
  copyFileSync(image, raw);
  await run("xz", ["-k0", "--block-size=1MiB", raw]);
  await run("gzip", ["-k1", raw]);
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, at("disk.qcow2")]);
  await run("xz", ["-k0", "--block-size=1MiB", at("disk.qcow2")]);
  const unmount = await mount(raw, at("kernel"), "ro,loop");
  expected = await walkKernel(at("kernel"));
  unmount();
  const server = spawn(process.execPath, [join(import.meta.dirname, "support/web-server.mjs"), folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  endWithTests(server);
  const [port] = await once(server.stdout, "data");
  web = `http://127.0.0.1:${String(port).trim()}`;
});
afterAll(cleanUp);

interface Ended {
  readonly out: string;
  readonly errors: string;
  readonly code: number;
}

async function slashcloud(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  const child = spawn(process.execPath, [main, ...args], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
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
  return { out, errors, code };
}

/** Processes of these tests: their sockets, or disks, are in the folder. */
function offerers(): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => {
      if (!(pid > 0)) return false;
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
        return /(^|\/)(nbdkit|qemu-nbd)$/.test(words[0] ?? "") && words.some((word) => word.includes(folder));
      } catch {
        return false;
      }
    });
}

async function eventually(isSo: () => Promise<boolean> | boolean, what: string): Promise<void> {
  for (const start = performance.now(); !(await isSo()); await sleep(20)) {
    if (performance.now() - start > 90_000) throw new Error(`it never came: ${what}`);
  }
}

/** Each way to name the disk. */
const images = (): Record<string, string> => ({
  xz: at("disk.img.xz"),
  gz: at("disk.img.gz"),
  "qcow2.xz": at("disk.qcow2.xz"),
  http: `${web}/disk.img`,
  "http-qcow2": `${web}/disk.qcow2`,
  "http-xz": `${web}/disk.img.xz`,
  words: `nbdkit:--filter=xz file ${at("disk.img.xz")}`,
});

describe("a command", () => {
  test("reads a disk wherever nbdkit has it from, and leaves nothing behind", async () => {
    const list = (await slashcloud(["ls", "-R", `${raw}:/`])).out;
    expect(list.length).toBeGreaterThan(1000);
    const all = {
      ...images(),
      relative: "disk.img.xz",
      "relative-words": "nbdkit:--filter=xz file disk.img.xz",
    };
    for (const [name, image] of Object.entries(all)) {
      const { out, errors, code } = await slashcloud(["ls", "-R", `${image}:/`]);
      expect([name, errors, code]).toEqual([name, "", 0]);
      expect(out === list, name).toBe(true);
    }
    for (const args of [["volumes"], ["df"], ["map"], ["inspect"], ["crawl"]]) {
      const { errors, code } = await slashcloud([...args, at("disk.img.xz")]);
      expect([args[0], errors.replace(/^slashcloud: .* is no.*\n/gm, ""), code]).toEqual([args[0], "", 0]);
    }
    await eventually(() => offerers().length === 0, "the end of all programs");
    expect(readdirSync(temporary)).toEqual([]);
  });

  test("reads what a server of the user's own offers", async () => {
    for (const words of [
      ["--filter=xz", "file", at("disk.img.xz")],
      ["--filter=gzip", "file", at("disk.img.gz")],
      ["curl", `${web}/disk.img`],
    ]) {
      const socket = at("own.sock");
      rmSync(socket, { force: true });
      const server = spawn("nbdkit", ["-f", "-r", "-U", socket, ...words], { stdio: "inherit" });
      endWithTests(server);
      await eventually(() => readdirSync(folder).includes("own.sock"), "its socket");
      const { out, errors } = await slashcloud(["ls", `nbd+unix:///?socket=${socket}:/`]);
      expect([out.includes("lost+found"), errors]).toEqual([true, ""]);
      const served = await serve(at("own"), { web: `nbd+unix:///?socket=${socket}` });
      await same(served.volume("web"), served.guest("web"));
      expect(await served.stop()).toBe(0);
      const ended = once(server, "close");
      server.kill();
      await ended;
    }
  });

  test("says in one line what is wrong", async () => {
    writeFileSync(at("no.img.xz"), "this is no such file");
    const without = at("bin");
    mkdirSync(without, { recursive: true });
    const cases: [string[], RegExp, Record<string, string>?][] = [
      [
        [at("disk.img.xz")],
        /disk\.img\.xz: nbdkit is needed to read it; install it \(Debian: nbdkit\)/,
        { PATH: without },
      ],
      [[`${web}/nothing.img`], /nothing\.img: nbdkit cannot read it \(.*404.*\)/],
      [["http://127.0.0.1:1/x.img"], /x\.img: nbdkit cannot read it \(.*connect.*\)/i],
      [[`xz:${at("no.img.xz")}`], /no\.img\.xz: nbdkit cannot read it \(.*not an xz file.*\)/],
      [["nbdkit:nosuch x"], /nbdkit has no plugin "nosuch"/],
      [["nbdkit:--filter=nosuch file x"], /nbdkit has no filter "nosuch"/],
      [["nbdkit:sh ./program"], /the plugin sh runs programs; start nbdkit yourself/],
      [["nbdkit:--run=id file x"], /only --filter=NAME can be given/],
      [["nbdkit:/tmp/plugin.so"], /the name of nbdkit's plugin is missing/],
      [["nbdkit:file x --run=id"], /an option stands after the plugin's name/],
      [['nbdkit:file "x'], /a quotation mark has no other/],
      [["nbdkit:"], /or there is nothing/],
      [[`qcow2:${web}/disk.img`], /qemu-nbd cannot read it as qcow2/],
      [[`vmdk:${web}/disk.img`], /a vmdk disk is read from files of this host alone/],
    ];
    for (const [args, problem, env] of cases) {
      const { errors, code } = await slashcloud(["volumes", ...args], env);
      expect(errors).toMatch(problem);
      expect(errors).toMatch(/^slashcloud: [^\n]*\n$/);
      expect(code).toBe(1);
    }
    await eventually(() => offerers().length === 0, "the end of all programs");
    expect(readdirSync(temporary)).toEqual([]);
  });

  test("reads no file of the host's for a disk that somebody else wrote", async () => {
    await run("qemu-img", ["create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", at("far.qcow2")]);
    const { out, errors, code } = await slashcloud(["ls", `${web}/far.qcow2:/`]);
    expect([out, code]).toEqual(["", 1]);
    expect(errors).toContain(
      "far.qcow2: it lies on another image, which is followed for files of this host alone",
    );
    expect((await slashcloud(["ls", `${at("far.qcow2")}:/`])).code).toBe(0);
  });
});

async function same(volume: string, guest: string): Promise<void> {
  await eventually(
    () =>
      run("ls", [volume]).then(
        () => true,
        () => false,
      ),
    volume,
  );
  const { differences, compared } = compareWalks(expected, await walkOurs(volume, guest));
  expect(differences.slice(0, 10)).toEqual([]);
  expect(compared).toBeGreaterThan(100);
}

describe("a tree of guests with such disks", () => {
  test("is what the kernel shows, also after nbdkit has died, and takes all along when it ends", async () => {
    const served = await serve(at("cloud"), images());
    for (const name of Object.keys(images())) await same(served.volume(name), served.guest(name));
    const before = offerers();
    // One for each guest, and a qemu-nbd for two.
    expect(before.length).toBe(Object.keys(images()).length + 2);
    for (const pid of before) process.kill(pid, "SIGKILL");
    await eventually(
      () => offerers().length === before.length && offerers().every((pid) => !before.includes(pid)),
      "new ones",
    );
    for (const name of ["xz", "qcow2.xz", "http-qcow2"]) await same(served.volume(name), served.guest(name));
    expect(served.log()).toContain("disk.img.xz: nbdkit died (SIGKILL) and is started again");
    expect(await served.stop()).toBe(0);
    await eventually(() => offerers().length === 0, "their end");
    expect(readdirSync(temporary)).toEqual([]);
  });

  test("that is killed takes them along", async () => {
    const served = await serve(at("killed"), { xz: at("disk.img.xz") });
    expect(offerers().length).toBe(1);
    process.kill(served.pid, "SIGKILL");
    await eventually(() => offerers().length === 0, "their end");
    await served.stop();
  });
});

describe("names", () => {
  test("of nbdkit's words are taken apart without a shell", () => {
    const words = (image: string) => layersOf(parseImage(image), () => {}).nbdkit;
    expect(words(`nbdkit:file "/srv/a b.img" x='$(id) "y"'`)).toEqual([
      "file",
      "/srv/a b.img",
      'x=$(id) "y"',
    ]);
    expect(words("nbdkit: --filter=xz  file\tfile=/srv/a;id")).toEqual([
      "--filter=xz",
      "file",
      "file=/srv/a;id",
    ]);
    expect(resolveImage(`nbdkit:file "${raw}" a='b c'`)).toBe(`nbdkit:file ${raw} "a=b c"`);
  });

  test("have a path within the guest after them", () => {
    for (const [text, image, path] of [
      ["nbdkit:curl http://h:80/a.img:/etc/passwd", "nbdkit:curl http://h:80/a.img", "/etc/passwd"],
      ["nbdkit:file /srv/a.img", "nbdkit:file /srv/a.img", "/"],
      ["https://h:8443/a.img:/etc", "https://h:8443/a.img", "/etc"],
      ["qcow2:https://h/a:/etc", "qcow2:https://h/a", "/etc"],
      ["xz:/srv/a:/etc", "xz:/srv/a", "/etc"],
    ] as const)
      expect(parseLocation(text)).toEqual({ image, path: Buffer.from(path) });
  });
});
