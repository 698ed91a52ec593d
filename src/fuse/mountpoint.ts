/** What both drivers ask of a mount point before they mount there. */
import { lstatSync, readdirSync, readFileSync, readlinkSync, realpathSync, type Stats } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

/** The file system type that `findmnt` shows, and by which a mount of ours is known again. */
export const SUBTYPE = "slashcloud";
export const TYPE = `fuse.${SUBTYPE}`;
/** The source that `findmnt` shows. */
export const SOURCE = "slashcloud";

/** Why a mount was not made. `privilege`: another driver may still do. */
export type MountErrorCode = "mountpoint" | "busy" | "privilege" | "missing" | "failed";

/** A mount was not made, for a reason that the user can do something about: one line, and the exit code. */
export class MountError extends Error {
  readonly exitCode = 1;
  readonly code: MountErrorCode;

  constructor(code: MountErrorCode, message: string) {
    super(message);
    this.name = "MountError";
    this.code = code;
  }
}

/** One line of /proc/self/mountinfo. */
export interface MountLine {
  /** `major:minor`, as /sys/class/bdi names it. */
  readonly device: string;
  readonly path: string;
  readonly type: string;
}

/** Dead mounts may lie on each other; no more of them than this are taken away. */
const STACK_MAX = 16;
/** Links that are followed to a mount point. */
const LINKS_MAX = 40;

/** The mount that is visible at a path (absolute, no links), if one is. */
export function mountAt(path: string): MountLine | undefined {
  // The last line is the topmost mount.
  return mountLines().findLast((mount) => mount.path === path);
}

/** Where a file system of ours is mounted, by its `major:minor`: absolute paths without links, the first one first. */
export function mountsOf(device: string): string[] {
  return mountLines()
    .filter((mount) => mount.device === device && mount.type === TYPE)
    .map(({ path }) => path);
}

function mountLines(): MountLine[] {
  // proc(5): id, parent, device, root, mount point, options, optional fields ..., "-", type, source, options
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .flatMap((line) => {
      const fields = line.split(" ");
      const [, , device, , point] = fields;
      const type = fields[fields.indexOf("-", 6) + 1];
      if (device === undefined || point === undefined || type === undefined) return [];
      // Blanks, line ends and backslashes stand there as three octal digits.
      const path = point.replace(/\\([0-7]{3})/g, (_, octal: string) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      );
      return { device, path, type };
    });
}

/**
 * Which of `points`, mount points that perhaps nobody serves, a path leads to; undefined: none of them. Asks nothing of
 * what is mounted there.
 */
export function leadsToOneOf(path: string, points: readonly string[]): string | undefined {
  let at = resolve(path);
  for (let links = 0; links < LINKS_MAX; links++) {
    try {
      at = join(realpathSync(dirname(at)), basename(at));
      if (points.includes(at)) return at;
      at = resolve(dirname(at), readlinkSync(at));
    } catch {
      // No link, or not there.
      return undefined;
    }
  }
  return undefined;
}

/**
 * Makes sure that `path` is an empty directory on which nothing is mounted; a mount of ours that a killed process
 * left there is taken away with `detach`. Returns the path, absolute and without links. Throws MountError.
 */
export function prepareMountPoint(path: string, detach: (path: string) => void): string {
  for (let tries = 0; tries < STACK_MAX; tries++) {
    const point = resolvePoint(path);
    const mounted = mountAt(point);
    const dead = isDead(point);
    if (mounted === undefined) {
      requireEmptyDirectory(point);
      return point;
    }
    if (!dead || mounted.type !== TYPE) {
      const state = dead ? "a dead mount" : "already a mount point";
      throw new MountError(
        "busy",
        `${path} is ${state} (${mounted.type}): unmount it, or choose another directory`,
      );
    }
    detach(point);
  }
  throw new MountError(
    "busy",
    `${path} is a dead mount that does not go away: unmount it, or choose another directory`,
  );
}

function resolvePoint(path: string): string {
  const absolute = resolve(path);
  try {
    return realpathSync(absolute);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOTCONN") return join(realpathSync(dirname(absolute)), basename(absolute));
    throw refusal(path, code);
  }
}

function isDead(point: string): boolean {
  try {
    lstatSync(point);
    return false;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOTCONN") return true;
    throw refusal(point, code);
  }
}

function requireEmptyDirectory(point: string): void {
  let stats: Stats;
  let entries: string[];
  try {
    stats = lstatSync(point);
    entries = stats.isDirectory() ? readdirSync(point) : [];
  } catch (error) {
    throw refusal(point, (error as NodeJS.ErrnoException).code);
  }
  if (!stats.isDirectory()) throw refusal(point, "ENOTDIR");
  if (entries.length > 0) {
    throw new MountError("mountpoint", `mount point ${point} is not empty: choose an empty directory`);
  }
}

/** The error for a mount point that a system call refused with `code`. */
function refusal(path: string, code: string | undefined): MountError {
  if (code === "ENOENT")
    return new MountError(
      "mountpoint",
      `mount point ${path} does not exist: make it first (mkdir -p ${path})`,
    );
  if (code === "ENOTDIR")
    return new MountError("mountpoint", `mount point ${path} is not a directory: choose a directory`);
  if (code === "EACCES" || code === "EPERM")
    return new MountError("mountpoint", `mount point ${path} cannot be reached: no permission`);
  return new MountError("mountpoint", `mount point ${path} cannot be used: ${code}`);
}
