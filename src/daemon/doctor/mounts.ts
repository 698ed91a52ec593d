/** The table of mounts, as the checks need it. */
import { readText } from "./processes.js";

/** A line of proc_pid_mountinfo(5). */
export interface MountEntry {
  readonly point: string;
  readonly type: string;
  /** Whether mounts that are made in it reach other namespaces. */
  readonly isShared: boolean;
}

/** Those that a process sees, in the order in which they were made. */
export function mounts(pid: number | "self" = "self"): MountEntry[] {
  return (readText(`/proc/${pid}/mountinfo`) ?? "").split("\n").flatMap((line) => {
    const [before = "", after = ""] = line.split(" - ");
    const [, , , , point, , ...optional] = before.split(" ");
    const [type] = after.split(" ");
    if (point === undefined || type === undefined) return [];
    const unescaped = point.replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    return { point: unescaped, type, isShared: optional.some((field) => field.startsWith("shared:")) };
  });
}

/** The mount that an absolute path without links is on. */
export function mountOf(path: string, all: readonly MountEntry[] = mounts()): MountEntry | undefined {
  let found: MountEntry | undefined;
  for (const mount of all) {
    if (isWithin(path, mount.point) && mount.point.length >= (found?.point.length ?? 0)) found = mount;
  }
  return found;
}

/** Whether a path is a folder or in it. */
export function isWithin(path: string, folder: string): boolean {
  return folder === "/" || path === folder || path.startsWith(`${folder}/`);
}
