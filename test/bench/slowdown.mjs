// What a capture costs its guest: loads in a guest of QEMU's that is attached to or not, and on an ext4 that the kernel
// has mounted from a disk that it reaches by NBD, from the tap or from qemu-nbd.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { folder } from "./images.mjs";

const main = fileURLToPath(new URL("../../dist/main.js", import.meta.url));
const SIZE = 2 * 1024 ** 3;

/** By name, fio's options. */
const LOADS = {
  "4 KiB random writes, direct": ["--rw=randwrite", "--bs=4k", "--direct=1", "--size=256m"],
  "sequential writes of 1 MiB, direct": ["--rw=write", "--bs=1m", "--direct=1", "--size=512m"],
  "appends of 4 KiB, each with an fsync": [
    "--rw=write",
    "--bs=4k",
    "--fsync=1",
    "--size=256m",
    "--file_append=1",
  ],
  "like a database: 8 KiB, 70 % read, fsync each 16": [
    "--rw=randrw",
    "--rwmixread=70",
    "--bs=8k",
    "--fsync=16",
    "--size=256m",
  ],
};

const at = (name) => join(folder, `slowdown-${name}`);
const run = (program, ...args) =>
  execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

/** Starts a program, which lives until the returned function is called and has ended by then. */
function start(program, ...args) {
  const child = spawn(program, args, { stdio: "ignore" });
  const ended = once(child, "exit");
  const end = async (signal = "SIGTERM") => {
    child.kill(signal);
    await ended;
  };
  end.pid = child.pid;
  return end;
}

async function until(holds) {
  for (const limit = Date.now() + 120_000; !holds(); await sleep(20))
    if (Date.now() > limit) throw new Error("what was started does not answer");
}

function up(...args) {
  mkdirSync(at("cloud"), { recursive: true });
  return start(
    process.execPath,
    main,
    "up",
    "--mount",
    at("cloud"),
    "--host",
    "h",
    "--state",
    at("state"),
    ...args,
  );
}

/** A raw image with an ext4 that a Linux can start from whose first program is the one below. */
function guestImage(image) {
  const root = at("root");
  for (const name of ["bin", "dev", "proc", "sbin", "work"]) mkdirSync(join(root, name), { recursive: true });
  const fio = run("which", "fio").trim();
  const libraries = run("ldd", fio).match(/\/\S+/g);
  for (const file of [fio, ...libraries]) {
    const to = join(root, file === fio ? "bin/fio" : file);
    mkdirSync(dirname(to), { recursive: true });
    copyFileSync(file, to);
  }
  copyFileSync("/bin/busybox", join(root, "bin/busybox"));
  for (const applet of ["sh", "mount", "rm", "sync"]) symlinkSync("busybox", join(root, "bin", applet));
  writeFileSync(join(root, "sbin/init"), INIT, { mode: 0o755 });
  run("truncate", "-s", `${SIZE}`, image);
  run("mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-d", root, image);
  rmSync(root, { recursive: true });
}

const INIT = `#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
[ -c /dev/null ] || mount -t devtmpfs dev /dev
mount -o remount,rw /
echo "guest: ready"
while read -r line; do
  fio --directory=/work $line --minimal
  rm -f /work/*
  sync
  echo "guest: done"
done
`;

/** Debian's kernel for virtual machines, as the tests of whole guests have fetched it. */
function kernel() {
  const cache = "/var/cache/slashcloud-test";
  const files = existsSync(cache) ? readdirSync(cache) : [];
  // Modules of the kernel's are there, too.
  const name = files.find((one) => one.startsWith("linux-image-") && !one.endsWith(".ko"));
  if (name === undefined)
    throw new Error(`no kernel in ${cache}: npx vitest run test/guests.test.ts fetches one`);
  return join(cache, name);
}

/** A guest of QEMU's that runs the loads itself, its disk of a format; `capture`: how slashcloud follows it, if at all. */
async function inGuest(image, format, capture) {
  guestImage(image);
  if (format !== "raw") {
    run("qemu-img", "convert", "-f", "raw", "-O", format, image, `${image}.${format}`);
    renameSync(`${image}.${format}`, image);
  }
  const socket = at("qmp");
  const guest = spawn(
    "qemu-system-x86_64",
    [
      ...["-machine", "q35", "-accel", "tcg,thread=multi", "-m", "512", "-nodefaults", "-display", "none"],
      ...["-serial", "stdio", "-qmp", `unix:${socket},server=on,wait=off`],
      ...["-drive", `file=${image},format=${format},if=none,id=disk,cache=none`],
      ...["-device", "nvme,drive=disk,serial=disk"],
      ...["-kernel", kernel(), "-append", "root=/dev/nvme0n1 console=ttyS0 quiet panic=1"],
    ],
    { stdio: ["pipe", "pipe", "ignore"] },
  );
  const ended = once(guest, "exit");
  let said = "";
  guest.stdout.setEncoding("utf8").on("data", (text) => {
    said += text;
  });
  await until(() => said.includes("guest: ready"));
  let daemon = async () => {};
  if (capture !== undefined) {
    daemon = up();
    await until(() => existsSync(join(at("cloud"), "h")));
    const own = ["--capture", capture, "--state", at("state")];
    run(process.execPath, main, "attach", "--qmp", socket, ...own, "guest");
  }
  return {
    fio: async (options) => {
      said = "";
      guest.stdin.write(`${options.join(" ")}\n`);
      await until(() => said.includes("guest: done"));
      // fio(1), "Terse output", version 3: fields 8 and 49 are operations per second of reads and writes.
      const fields = said.slice(said.indexOf("3;fio")).split(";");
      return Number(fields[7]) + Number(fields[48]);
    },
    end: async () => {
      guest.kill("SIGKILL");
      await ended;
      await daemon();
    },
  };
}

/** An ext4 on a disk that is reached by NBD; `isTapped`: at slashcloud's tap. */
export async function byNbd(image, isTapped) {
  run("truncate", "-s", `${SIZE}`, image);
  run("mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", image);
  const socket = at("nbd");
  const disk = at("disk");
  writeFileSync(disk, "");
  const server = isTapped
    ? up("--tap", `unix:${socket}`, `guest=${image}`)
    : start("qemu-nbd", "-f", "raw", "-t", "-k", socket, "--cache=none", "-x", "guest", image);
  await until(() => existsSync(socket));
  const nbdfuse = start("nbdfuse", disk, `nbd+unix:///guest?socket=${socket}`);
  await until(() => statSync(disk).size > 0);
  const device = run("losetup", "--find", "--show", "--direct-io=on", disk).trim();
  mkdirSync(at("inside"), { recursive: true });
  run("mount", device, at("inside"));
  return {
    inside: at("inside"),
    pid: server.pid,
    fio: async (options) => {
      const said = run("fio", `--directory=${at("inside")}`, "--output-format=json", ...options);
      for (const name of readdirSync(at("inside")))
        if (name !== "lost+found") rmSync(join(at("inside"), name), { force: true });
      const { read, write } = JSON.parse(said.slice(said.indexOf("{"))).jobs[0];
      return read.iops + write.iops;
    },
    end: async () => {
      run("umount", at("inside"));
      run("losetup", "-d", device);
      run("fusermount3", "-u", "-z", disk);
      await nbdfuse();
      await server();
    },
  };
}

const FORMATS = ["raw", "qcow2"];
/** Not followed, and by each way to attach. */
const CAPTURES = [undefined, "mirror", "watch"];
const roadOf = (format, capture) => `a guest on ${format}, ${capture ?? "alone"}`;

const ROADS = {
  ...Object.fromEntries(
    FORMATS.flatMap((format) =>
      CAPTURES.map((capture) => [roadOf(format, capture), (image) => inGuest(image, format, capture)]),
    ),
  ),
  "qemu-nbd": (image) => byNbd(image, false),
  "the tap, events and all": (image) => byNbd(image, true),
};

/** Runs each load for some seconds, several times. Returns by road, then by load, operations per second. */
export async function slowdown(seconds, times = 3) {
  mkdirSync(folder, { recursive: true });
  const image = at("image");
  const results = {};
  for (let time = 0; time < times; time++) {
    for (const [name, road] of Object.entries(ROADS)) {
      for (const left of ["qmp", "nbd", "state", "image"]) rmSync(at(left), { recursive: true, force: true });
      const { fio, end } = await road(image);
      try {
        for (const [load, options] of Object.entries(LOADS)) {
          const fixed = ["--name=load", "--ioengine=psync", "--time_based", `--runtime=${seconds}`];
          results[name] ??= {};
          results[name][load] ??= [];
          results[name][load].push(await fio([...fixed, ...options]));
        }
      } finally {
        await end();
      }
    }
  }
  rmSync(image);
  return results;
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/** The figures as Markdown: a guest of QEMU's, by the format of its disk, and a disk that is reached by NBD. */
export function report(results) {
  const tables = FORMATS.map((format) =>
    tableOf(
      results,
      CAPTURES.map((capture) => roadOf(format, capture)),
      [`a guest of QEMU's (TCG), ${format}`, "attached to: mirror", "attached to: watch"],
    ),
  );
  const byNbd = tableOf(results, ["qemu-nbd", "the tap, events and all"], ["ext4 by qemu-nbd", "by the tap"]);
  return [...tables, byNbd].join("\n\n");
}

/** Of the roads the first is what the others are compared with. */
function tableOf(results, roads, titles) {
  const change = (before, after) => `${((100 * (after - before)) / before).toFixed(0)} %`;
  const rows = Object.keys(LOADS).map((load) => {
    const [before, ...after] = roads.map((road) => median(results[road][load]));
    const others = after.map((value) => `${Math.round(value)} (${change(before, value)})`);
    return `| ${[load, Math.round(before), ...others].join(" | ")} |`;
  });
  return [
    `| operations/s | ${titles.join(" | ")} |`,
    `|---|${titles.map(() => "---|").join("")}`,
    ...rows,
  ].join("\n");
}

// `node test/bench/slowdown.mjs [SECONDS [TIMES]]` measures this alone.
if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href)
  console.log(report(await slowdown(Number(process.argv[2] ?? 5), Number(process.argv[3] ?? 3))));
