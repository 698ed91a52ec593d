/**
 * What a QEMU has open. A monitor may name any file as that of a disk, one that QEMU itself could not read, or one that is
 * another where QEMU looks at the file system from elsewhere. What it has open it may read, and its guest with it.
 */
import type { BigIntStats } from "node:fs";
import { readdir, readFile, readlink, realpath, stat } from "node:fs/promises";

/** Flag of a socket that is listened at, in /proc/net/unix. */
const LISTENING = 0x10000;

/** Whether a process that listens at a unix socket has a file open. False also if this process may not know. */
export async function isOpenBehind(socket: string, path: string): Promise<boolean> {
  try {
    const file = await stat(path, { bigint: true });
    const names = await socketLinks(socket);
    for (const process of await readdir("/proc")) {
      if (!/^\d+$/.test(process)) continue;
      const descriptors = await descriptorsOf(process);
      const links = await Promise.all(descriptors.map((one) => readlink(one).catch(() => "")));
      if (!links.some((link) => names.has(link))) continue;
      for (const descriptor of descriptors) {
        const open = await stat(descriptor, { bigint: true }).catch(() => undefined);
        if (open !== undefined && isSame(open, file)) return true;
      }
    }
  } catch {
    // It is not known.
  }
  return false;
}

/** What the descriptors of a socket that is listened at lead to: `socket:[12345]`. */
async function socketLinks(path: string): Promise<Set<string>> {
  const names = new Set([path, await realpath(path)]);
  const links = new Set<string>();
  for (const line of (await readFile("/proc/net/unix", "utf8")).split("\n")) {
    // Num RefCount Protocol Flags Type St Inode Path, of which the last may have blanks.
    const parts = /^\S+ \S+ \S+ ([0-9A-F]+) \S+ \S+ +(\d+) (.*)$/.exec(line);
    if (parts === null || !names.has(parts[3]!)) continue;
    if ((Number.parseInt(parts[1]!, 16) & LISTENING) !== 0) links.add(`socket:[${parts[2]}]`);
  }
  return links;
}

async function descriptorsOf(process: string): Promise<string[]> {
  const folder = `/proc/${process}/fd`;
  return (await readdir(folder).catch(() => [])).map((name) => `${folder}/${name}`);
}

function isSame(one: BigIntStats, other: BigIntStats): boolean {
  if (one.isBlockDevice() && other.isBlockDevice()) return one.rdev === other.rdev;
  return one.dev === other.dev && one.ino === other.ino;
}
