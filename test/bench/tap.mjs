// The tap: fio over NBD against qemu-nbd, the tap, the tap with a recording, and a mirror's target; and the queue alone.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, ftruncateSync, mkdirSync, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import { folder } from "./images.mjs";

const dist = new URL("../../dist/", import.meta.url);
const main = fileURLToPath(new URL("main.js", dist));
const SIZE = 1 << 30;

/** By name, fio's options. */
const LOADS = {
  "4 KiB random writes, one at a time": ["--rw=randwrite", "--bs=4k", "--iodepth=1"],
  "4 KiB random writes, 32 at a time": ["--rw=randwrite", "--bs=4k", "--iodepth=32"],
  "4 KiB random reads, 32 at a time": ["--rw=randread", "--bs=4k", "--iodepth=32"],
  "1 MiB sequential writes, 4 at a time": ["--rw=write", "--bs=1m", "--iodepth=4"],
  "4 KiB appends, each with a flush": ["--rw=write", "--bs=4k", "--iodepth=1", "--fsync=1"],
};

/** By name, the program that serves an image at a socket, and the export's name. */
const SERVERS = {
  "qemu-nbd": (image, socket) => [
    "",
    "qemu-nbd",
    "-f",
    "raw",
    "-t",
    "-k",
    socket,
    "--cache=writeback",
    image,
  ],
  tap: (image, socket) => [
    "disk",
    process.execPath,
    main,
    "tap",
    `disk=${image}`,
    "--listen",
    `unix:${socket}`,
  ],
  "tap, recording": (image, socket, recording) => [...SERVERS.tap(image, socket), "--record", recording],
  "a mirror's target, queue": (_image, socket) => [
    "disk",
    process.execPath,
    fileURLToPath(import.meta.url),
    "--mirror",
    socket,
  ],
  "a mirror's target, queue, without data": (...args) => [
    ...SERVERS["a mirror's target, queue"](...args),
    "ranges",
  ],
};

/** Runs each load for some seconds. Returns by server, then by load: writes per second, MB/s, and ms that 99 % take. */
export async function tap(seconds) {
  mkdirSync(folder, { recursive: true });
  const image = join(folder, "tap.img");
  const socket = join(folder, "tap.sock");
  const recording = join(folder, "tap.rec");
  const results = {};
  for (const [server, command] of Object.entries(SERVERS)) {
    results[server] = {};
    for (const [load, options] of Object.entries(LOADS)) {
      for (const path of [socket, recording]) rmSync(path, { force: true });
      const fd = openSync(image, "w");
      ftruncateSync(fd, SIZE);
      closeSync(fd);
      const [name, program, ...args] = command(image, socket, recording);
      const child = spawn(program, args, { stdio: "ignore" });
      const ended = once(child, "exit");
      try {
        while (!existsSync(socket) && child.exitCode === null) await sleep(20);
        results[server][load] = fio(`nbd+unix:///${name}?socket=${socket}`, options, seconds);
      } finally {
        child.kill("SIGTERM");
        await ended;
      }
    }
  }
  for (const path of [image, socket, recording]) rmSync(path, { force: true });
  return results;
}

function fio(uri, options, seconds) {
  const fixed = ["--name=tap", "--ioengine=nbd", `--uri=${uri}`, "--output-format=json", `--size=${SIZE}`];
  const time = ["--time_based", `--runtime=${seconds}`];
  const said = execFileSync("fio", [...fixed, ...time, ...options], { encoding: "utf8", cwd: folder });
  const { read, write } = JSON.parse(said.slice(said.indexOf("{"))).jobs[0];
  const of = write.total_ios > 0 ? write : read;
  return { rate: of.iops, megabytes: of.bw_bytes / 1e6, p99: of.clat_ns.percentile["99.000000"] / 1e6 };
}

/** Writes of 4 KiB through the queue alone, per second. */
export async function queue(count) {
  const { WriteQueue } = await import(new URL("queue/write-queue.js", dist).href);
  let taken = 0;
  const consume = (batch) => {
    taken += batch.length;
  };
  const writes = new WriteQueue({ pressure: "block", consume });
  const data = Buffer.alloc(4096);
  const start = performance.now();
  for (let sequence = 1; sequence <= count; sequence++) {
    const wait = writes.take({ kind: "write", offset: 0, length: 4096, data, fua: false, sequence, time: 0 });
    if (wait !== undefined) await wait;
  }
  await writes.flush();
  if (taken !== count) throw new Error(`${taken} of ${count} writes came through`);
  return (count / (performance.now() - start)) * 1000;
}

/** The figures as Markdown. */
export function report(results, queued) {
  const servers = Object.keys(results);
  const rows = [
    `| operations/s (MB/s; 99 % within ms) | ${servers.join(" | ")} |`,
    `|---|${servers.map(() => "---|").join("")}`,
  ];
  for (const load of Object.keys(LOADS)) {
    const cells = servers.map((server) => {
      const { rate, megabytes, p99 } = results[server][load];
      return `${Math.round(rate)} (${megabytes.toFixed(1)}; ${p99.toFixed(2)})`;
    });
    rows.push(`| ${load} | ${cells.join(" | ")} |`);
  }
  return `${rows.join("\n")}\n\nThe queue alone: ${Math.round(queued)} writes of 4 KiB per second`;
}

/** A mirror's target with a queue behind it, as a process of its own, until SIGTERM. */
async function mirror(socket, tellsData) {
  const load = (path) => import(new URL(path, dist).href);
  const [{ Export }, { MirrorStore }, { NbdServer }, { WriteQueue }] = await Promise.all([
    load("capture/nbd/export.js"),
    load("capture/nbd/mirror-store.js"),
    load("capture/nbd/server.js"),
    load("queue/write-queue.js"),
  ]);
  const server = new NbdServer({ log: (line) => console.error(line) });
  server.add(
    new Export("disk", "", new MirrorStore(SIZE), new WriteQueue({ consume: () => {} }), { tellsData }),
  );
  await server.listen({ path: socket });
  process.once("SIGTERM", () => process.exit(0));
}

// `node test/bench/tap.mjs [SECONDS]` measures the tap alone.
if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const [, , first, socket, what] = process.argv;
  if (first === "--mirror") await mirror(socket, what !== "ranges");
  else console.log(report(await tap(Number(first ?? 5)), await queue(1_000_000)));
}
