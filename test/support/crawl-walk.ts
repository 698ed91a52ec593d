/** All names of a tree and what stat(2) tells of them, from the kernel and from a map of names. */
import { spawnSync } from "node:child_process";
import { expect } from "vitest";
import { FileType } from "../../src/filesystems/filesystem.js";
import type { InodeIndex } from "../../src/inference/inode-index.js";

/** One line a name, as `find` tells it. */
export function walk(top: string): string[] {
  const { stdout, status, stderr } = spawnSync("find", [top, "-printf", "%i %y %04m %n %U %G %s %T@ %P\\0"], {
    encoding: "latin1",
    maxBuffer: 1 << 30,
  });
  if (status !== 0) throw new Error(stderr);
  // find tells ten decimals.
  return stdout
    .split("\0")
    .slice(0, -1)
    .map((line) => line.replace(/^((?:\S+ ){7}\S+\.\d{9})\d /, "$1 "))
    .sort();
}

/** As find tells types. */
const KINDS: ReadonlyMap<number, string> = new Map([
  [FileType.FIFO, "p"],
  [FileType.CHARACTER, "c"],
  [FileType.DIRECTORY, "d"],
  [FileType.BLOCK, "b"],
  [FileType.REGULAR, "f"],
  [FileType.LINK, "l"],
  [FileType.SOCKET, "s"],
]);

/** The same of the map. */
export function told(index: InodeIndex): string[] {
  const all: string[] = [];
  for (const ino of index.inodes()) {
    const state = index.state(ino);
    if (state === undefined) {
      all.push(`${ino} has no state`);
      continue;
    }
    const { mode, nlink, uid, gid, size, mtime, mtimeNsec } = state;
    const fields = [
      ino,
      KINDS.get(mode & FileType.MASK),
      (mode & 0o7777).toString(8).padStart(4, "0"),
      nlink,
      uid,
      gid,
      size,
      `${mtime}.${String(mtimeNsec).padStart(9, "0")}`,
    ].join(" ");
    const names = index.names(ino);
    if (ino === index.rootInode) all.push(`${fields} `);
    else if (names.length === 0) all.push(`${fields} without a name`);
    for (const { directory, name } of names)
      all.push(`${fields} ${index.pathOf(directory, name)?.toString("latin1").slice(1)}`);
  }
  return all.sort();
}

/** The kernel counts a link's bytes as it shows the target, which is encoded where it cannot decrypt it. */
function comparable(line: string): string {
  return line.replace(/^(\S+ l \S+ \S+ \S+ \S+) \S+ (\S+ encrypted\/)/, "$1 encrypted $2");
}

/** Whether a map has what `walk` has told, and nothing else. */
export function expectSame(index: InodeIndex, expected: readonly string[]): void {
  const ours = told(index).map(comparable);
  const kernels = new Set(expected.map(comparable));
  const known = new Set(ours);
  expect(ours.filter((line) => !kernels.has(line)).slice(0, 20)).toEqual([]);
  expect(expected.filter((line) => !known.has(comparable(line))).slice(0, 20)).toEqual([]);
  expect(ours.length).toBe(expected.length);
}
