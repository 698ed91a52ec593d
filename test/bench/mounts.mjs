// The three ways to look at an image that are compared. Each mounts it at a folder and returns what unmounts it.
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { folder } from "./images.mjs";

const main = join(import.meta.dirname, "../../dist/main.js");
const open = new Set();

function run(program, ...args) {
  execFileSync(program, args, { stdio: ["ignore", "ignore", "pipe"] });
}

/** Whatever is still mounted or running is ended with this process. */
export function endAll() {
  for (const end of [...open].reverse()) {
    try {
      end();
    } catch {
      // It had ended by itself.
    }
  }
}
process.on("exit", endAll);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

function opened(end) {
  const once = () => {
    if (open.delete(once)) end();
  };
  open.add(once);
  return once;
}

async function kernel(image) {
  const point = join(folder, "kernel");
  mkdirSync(point, { recursive: true });
  run("mount", "-o", "ro,loop,noatime", image, point);
  return { path: point, pid: 0, end: opened(() => run("umount", point)) };
}

/** Serves guests (`NAME=IMAGE`) below `path`; returns when the tree answers. */
export async function serving(guests, more = []) {
  const point = join(folder, "cloud");
  const state = join(folder, "state");
  rmSync(state, { recursive: true, force: true });
  mkdirSync(point, { recursive: true });
  const options = ["--mount", point, "--host", "bench", "--state", state, ...more];
  const child = spawn(process.execPath, [main, "up", ...options, ...guests], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const closed = new Promise((resolve) => child.once("close", resolve));
  const stop = opened(() => {
    child.kill("SIGKILL");
    run("umount", "-l", point);
  });
  await new Promise((resolve, reject) => {
    child.stdout.once("data", resolve);
    child.once("close", () => reject(new Error("slashcloud did not start")));
  });
  return {
    path: join(point, "bench"),
    pid: child.pid,
    end: async () => {
      open.delete(stop);
      child.kill("SIGTERM");
      await closed;
    },
  };
}

/** Returns when the tree answers. */
export async function slashcloud(image) {
  const served = await serving([`g=${image}`]);
  return { ...served, path: join(served.path, "g") };
}

async function fuse2fs(image) {
  const point = join(folder, "fuse2fs");
  mkdirSync(point, { recursive: true });
  run("fuse2fs", "-o", "ro", image, point);
  return { path: point, pid: 0, end: opened(() => run("fusermount", "-u", point)) };
}

/** A disk that QEMU reads, as a file in a directory of nbdfuse's, mounted by the kernel. */
export async function nbdfuseLoop(image) {
  const [socket, file, point] = ["nbdfuse.sock", "nbdfuse-file", "nbdfuse"].map((name) => join(folder, name));
  rmSync(socket, { force: true });
  rmSync(file, { force: true });
  writeFileSync(file, "");
  mkdirSync(point, { recursive: true });
  const options = { stdio: ["ignore", "ignore", "inherit"] };
  const server = spawn("qemu-nbd", ["-r", "-t", "-e", "16", "-k", socket, image], options);
  while (!existsSync(socket)) await sleep(10);
  const fuse = spawn("nbdfuse", ["-r", file, `nbd+unix:///?socket=${socket}`], options);
  while (statSync(file).size === 0) await sleep(10);
  run("mount", "-o", "ro,loop,noatime", file, point);
  const end = opened(() => {
    run("umount", point);
    run("umount", file);
    server.kill("SIGKILL");
  });
  const closed = new Promise((resolve) => fuse.once("close", resolve));
  return {
    path: point,
    pid: 0,
    end: async () => {
      end();
      await closed;
    },
  };
}

export async function ntfs3g(image) {
  const point = join(folder, "ntfs3g");
  mkdirSync(point, { recursive: true });
  run("ntfs-3g", "-o", "ro", image, point);
  return { path: point, pid: 0, end: opened(() => run("umount", point)) };
}

export const mounts = { kernel, slashcloud, fuse2fs };

/** A process and all that it has started. */
function family(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
  return [pid, ...children.flatMap(family)];
}

/** Resident memory of a process and of those that it has started, MB; the program, which they share, counts once. */
export function residentMegabytes(pid) {
  let own = 0;
  let shared = 0;
  for (const id of family(pid)) {
    const rollup = readFileSync(`/proc/${id}/smaps_rollup`, "utf8");
    const kilobytes = (kind) =>
      [...rollup.matchAll(new RegExp(`^${kind}_(?:Clean|Dirty):\\s+(\\d+)`, "gm"))].reduce(
        (sum, [, n]) => sum + Number(n),
        0,
      );
    own += kilobytes("Private");
    shared = Math.max(shared, kilobytes("Shared"));
  }
  return (own + shared) / 1024;
}

/** Processor time of a process and of those that it has started, s. */
function processorSeconds(pid) {
  // utime and stime, in ticks of 10 ms (proc(5)); the name before them may have spaces in it.
  const ticks = (id) => {
    const fields = readFileSync(`/proc/${id}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    return Number(fields[11]) + Number(fields[12]);
  };
  return family(pid).reduce((sum, id) => sum + ticks(id), 0) / 100;
}

/** Percent of one core that a process and those that it has started take over so many seconds. */
export async function processorShare(pid, seconds) {
  const before = processorSeconds(pid);
  const start = performance.now();
  await sleep(seconds * 1000);
  return ((processorSeconds(pid) - before) * 100_000) / (performance.now() - start);
}

/**
 * Waits until a daemon has done what it begins with (it reads all directories, for the paths of events) and takes no more
 * than `share` percent of a core.
 */
export async function atRest(pid, share = 5) {
  for (let tries = 0; tries < 90 && (await processorShare(pid, 2)) > share; tries++);
}
