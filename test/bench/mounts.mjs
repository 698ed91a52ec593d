// The three ways to look at an image that are compared. Each mounts it at a folder and returns what unmounts it.
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
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

/** Returns when the tree answers. */
export async function slashcloud(image) {
  const point = join(folder, "cloud");
  mkdirSync(point, { recursive: true });
  const child = spawn(process.execPath, [main, "up", "--mount", point, "--host", "bench", `g=${image}`], {
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
    path: join(point, "bench/g"),
    pid: child.pid,
    end: async () => {
      open.delete(stop);
      child.kill("SIGTERM");
      await closed;
    },
  };
}

async function fuse2fs(image) {
  const point = join(folder, "fuse2fs");
  mkdirSync(point, { recursive: true });
  run("fuse2fs", "-o", "ro", image, point);
  return { path: point, pid: 0, end: opened(() => run("fusermount", "-u", point)) };
}

export const mounts = { kernel, slashcloud, fuse2fs };

/** Resident memory of a process and its children, MB. */
export function residentMegabytes(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean);
  const own = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;
  return children.reduce((sum, child) => sum + residentMegabytes(child), own);
}
