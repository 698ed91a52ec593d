// Reading a disk through an NBD server, beside reading its file: by the images themselves, as the tree reads them.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { folder, image } from "./images.mjs";

const { openImage } = await import(new URL("../../dist/images/open.js", import.meta.url));

/** Bytes of a read. */
const SIZES = [4096, 16_384, 131_072, 1 << 20];

/** By name, the program that serves an image at a socket. */
const SERVERS = {
  "qemu-nbd": (path, socket) => ["qemu-nbd", "-r", "-t", "-f", "raw", "-k", socket, path],
  nbdkit: (path, socket) => ["nbdkit", "-f", "-r", "-U", socket, "file", path],
};

/** Reads one after the other, all over the disk, for some seconds. Returns reads per second. */
function rate(opened, size, seconds) {
  const target = Buffer.alloc(size);
  const places = Math.floor(opened.size / size);
  let reads = 0;
  const start = performance.now();
  // A step that has no divisor in common with most counts: neighbours are not read one after the other.
  for (let at = 0; performance.now() - start < seconds * 1000; at = (at + 7_919) % places, reads++)
    opened.read(target, 0, size, at * size);
  return (reads / (performance.now() - start)) * 1000;
}

/** Returns by server ("file": none), then by bytes of a read, reads per second. */
export async function nbd(seconds) {
  mkdirSync(folder, { recursive: true });
  const path = image("many");
  const results = { file: rates(path, seconds) };
  for (const [name, command] of Object.entries(SERVERS)) {
    const socket = join(folder, "nbd.sock");
    rmSync(socket, { force: true });
    const [program, ...args] = command(path, socket);
    const child = spawn(program, args, { stdio: "ignore" });
    try {
      while (!existsSync(socket)) await sleep(10);
      results[name] = rates(`nbd+unix:///?socket=${socket}`, seconds);
    } finally {
      child.kill();
    }
  }
  return results;
}

function rates(name, seconds) {
  const opened = openImage(name);
  try {
    // What the host has in its cache: it is the way that is measured, not the disk.
    rate(opened, 1 << 20, 2);
    return Object.fromEntries(SIZES.map((size) => [size, rate(opened, size, seconds)]));
  } finally {
    opened.close();
  }
}

export function report(results) {
  const lines = ["", "### Reads through NBD, one at a time, from the host's cache: reads/s (MB/s)", ""];
  lines.push(
    `| bytes of a read | ${Object.keys(results).join(" | ")} |`,
    `|---|${"---|".repeat(Object.keys(results).length)}`,
  );
  for (const size of SIZES) {
    const cells = Object.values(results).map(
      (of) => `${Math.round(of[size])} (${Math.round((of[size] * size) / 1e6)})`,
    );
    lines.push(`| ${size} | ${cells.join(" | ")} |`);
  }
  return lines.join("\n");
}
