/** Who else has the images open, and how: by the descriptors of processes, and by the table of locks. */
import { statSync } from "node:fs";
import { isNamedElsewhere } from "../../images/named-elsewhere.js";
import { isRemote } from "../../images/remote.js";
import { type Found, fail, ok, warn } from "./finding.js";
import { type OpenFile, readText } from "./processes.js";
import type { Subject, SubjectImage } from "./subject.js";

/** The byte that a QEMU locks which writes to an image (its locks begin at 100, and 1 is the permission to write). */
const WRITES_AT = 101;

export function checkImageUsers(subject: Subject): Found[] {
  return subject.images
    .filter(({ path }) => !isNamedElsewhere(path))
    .flatMap((image) => usersOf(image, subject));
}

function usersOf({ path, format }: SubjectImage, { openFiles, daemon }: Subject): Found[] {
  const remote = isRemote(path);
  const users = openFiles.filter((file) => file.path === path && file.isWritable);
  const found = users.filter(isFirstOf).map((user) => describe(user, path, format, remote));
  const own = new Set(daemon?.pids);
  const locker = remote ? undefined : writerByLock(path, own);
  // QEMU's locks are of open files, for which the kernel names no process.
  const isKnown = locker !== undefined && users.some(({ pid }) => pid === locker || locker < 0);
  if (locker !== undefined && !isKnown) {
    const who = locker > 0 ? `process ${locker}` : "another process";
    found.push(
      format === "raw"
        ? ok(`${path} is locked for writing by ${who}, which keeps nobody from reading it`)
        : inUse(path, format, who),
    );
  }
  return found;
}

function describe(
  { pid, program, isDirect }: OpenFile,
  path: string,
  format: string,
  remote: boolean,
): Found {
  const who = `${program} (process ${pid})`;
  if (format !== "raw") return inUse(path, format, who);
  if (!isDirect) return ok(`${path} is written to by ${who}, through the page cache that is read here`);
  if (!remote)
    return ok(`${path} is written to by ${who} past the page cache (O_DIRECT), which local storage tells of`);
  return warn(
    `${path} is written to by ${who} past the page cache (O_DIRECT), on storage that does not always tell of it`,
    "attach to its QEMU (slashcloud attach --qmp SOCKET), or give the guest cache=writeback",
  );
}

function inUse(path: string, format: string, who: string): Found {
  return fail(
    `${path} is a ${format} disk that ${who} has in use, so it cannot be read past it`,
    "give that QEMU a monitor (-qmp unix:SOCKET,server=on,wait=off), and slashcloud attach --qmp SOCKET NAME",
  );
}

/** Of several descriptors of one process, one is told of. */
function isFirstOf({ pid }: OpenFile, at: number, all: readonly OpenFile[]): boolean {
  return all.findIndex((other) => other.pid === pid) === at;
}

/** The process that has locked the byte of QEMU's that says "I write"; undefined: none has. proc_locks(5). */
function writerByLock(path: string, own: ReadonlySet<number>): number | undefined {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return undefined;
  for (const line of (readText("/proc/locks") ?? "").split("\n")) {
    const [kind, , , pid, file, from, to] = line.replace(/^\d+:\s+/, "").split(/\s+/);
    if (kind !== "OFDLCK" && kind !== "POSIX") continue;
    const [major = "", minor = "", inode] = (file ?? "").split(":");
    const isHere = Number(inode) === stats.ino && deviceOf(major, minor) === stats.dev;
    const last = to === "EOF" ? Number.POSITIVE_INFINITY : Number(to);
    if (!isHere || Number(from) > WRITES_AT || last < WRITES_AT || own.has(Number(pid))) continue;
    return Number(pid);
  }
  return undefined;
}

/** A device's number as stat(2) has it (makedev(3)), from two hexadecimal numbers. */
function deviceOf(major: string, minor: string): number {
  const [high, low] = [Number.parseInt(major, 16), Number.parseInt(minor, 16)];
  return (high & 0xfff) * 256 + (low & 0xff) + (low >>> 8) * 2 ** 20;
}
