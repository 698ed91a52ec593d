/** What the daemon may use of the host. */
import { freemem } from "node:os";
import { type Found, ok, warn } from "./finding.js";
import { readText } from "./processes.js";
import type { Subject } from "./subject.js";

/** Descriptors that a disk takes, about: its image, its logs and maps; and those of the daemon itself. */
const FILES_PER_DISK = 8;
const FILES = 256;
/** MB that are to be free or the daemon's already: a guest of a million files takes some 200. */
const MEMORY = 256;

export function checkLimits({ daemon, images }: Subject): Found[] {
  const who = daemon === undefined ? "self" : daemon.status.pid;
  const limits = readText(`/proc/${who}/limits`) ?? readText("/proc/self/limits") ?? "";
  const [, files = "0"] = /^Max open files\s+(\d+|unlimited)/m.exec(limits) ?? [];
  const [, space = "unlimited"] = /^Max address space\s+(\d+|unlimited)/m.exec(limits) ?? [];
  const needed = FILES + FILES_PER_DISK * images.length;
  const found: Found[] = [];
  found.push(
    files === "unlimited" || Number(files) >= needed
      ? ok(`${files} files may be open`)
      : warn(
          `only ${files} files may be open, and ${images.length} disks take up to ${needed}`,
          "LimitNOFILE=65536 in the service, or ulimit -n 65536",
        ),
  );
  if (space !== "unlimited")
    found.push(
      warn(
        `the address space is limited to ${space} bytes, which Node cannot live with for long`,
        "ulimit -v unlimited",
      ),
    );
  const free = Math.min(available(), cgroupRoom(who)) / 2 ** 20;
  found.push(
    free >= MEMORY
      ? ok(`${Math.round(free)} MB of memory can be had`)
      : warn(
          `only ${Math.round(free)} MB of memory can be had`,
          `a guest of a million files takes some 200 MB: free some, or raise the service's MemoryMax`,
        ),
  );
  return found;
}

function available(): number {
  const [, kib] = /^MemAvailable:\s+(\d+) kB$/m.exec(readText("/proc/meminfo") ?? "") ?? [];
  return kib === undefined ? freemem() : Number(kib) * 1024;
}

/** Bytes that its control group (version 2) still allows. */
function cgroupRoom(who: number | "self"): number {
  const [, group = ""] = /^0::(.*)$/m.exec(readText(`/proc/${who}/cgroup`) ?? "") ?? [];
  const folder = `/sys/fs/cgroup${group}`;
  const most = Number(readText(`${folder}/memory.max`) ?? Number.NaN);
  const used = Number(readText(`${folder}/memory.current`) ?? Number.NaN);
  return Number.isNaN(most) || Number.isNaN(used) ? Number.POSITIVE_INFINITY : most - used;
}
