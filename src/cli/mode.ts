/** A file's type and permissions as ls writes them. */
import { FileType } from "../daemon/walk.js";

const LETTERS: ReadonlyMap<number, string> = new Map([
  [FileType.FIFO, "p"],
  [FileType.CHARACTER, "c"],
  [FileType.DIRECTORY, "d"],
  [FileType.BLOCK, "b"],
  [FileType.REGULAR, "-"],
  [FileType.LINK, "l"],
  [FileType.SOCKET, "s"],
]);

const NAMES: ReadonlyMap<number, string> = new Map([
  [FileType.FIFO, "fifo"],
  [FileType.CHARACTER, "character device"],
  [FileType.DIRECTORY, "directory"],
  [FileType.BLOCK, "block device"],
  [FileType.REGULAR, "regular file"],
  [FileType.LINK, "symbolic link"],
  [FileType.SOCKET, "socket"],
]);

/** `drwxr-xr-x` */
export function modeText(mode: number): string {
  const bit = (mask: number, letter: string): string => ((mode & mask) !== 0 ? letter : "-");
  const special = (execute: number, mask: number, letter: string): string => {
    if ((mode & mask) === 0) return bit(execute, "x");
    return (mode & execute) !== 0 ? letter : letter.toUpperCase();
  };
  return [
    LETTERS.get(mode & FileType.MASK) ?? "?",
    bit(0o400, "r"),
    bit(0o200, "w"),
    special(0o100, 0o4000, "s"),
    bit(0o040, "r"),
    bit(0o020, "w"),
    special(0o010, 0o2000, "s"),
    bit(0o004, "r"),
    bit(0o002, "w"),
    special(0o001, 0o1000, "t"),
  ].join("");
}

/** `regular file` */
export function typeName(mode: number): string {
  return NAMES.get(mode & FileType.MASK) ?? "unknown";
}

/** Seconds and nanoseconds as `2026-01-31 12:00:00.123456789 +0000`; also beyond what a Date can be. */
export function timeText(seconds: number, nanoseconds: number): string {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return `@${seconds}.${String(nanoseconds).padStart(9, "0")}`;
  const [day, time] = date.toISOString().split("T") as [string, string];
  return `${day} ${time.slice(0, 8)}.${String(nanoseconds).padStart(9, "0")} +0000`;
}
