/**
 * Folders of sockets among the temporary files, which a process that is killed leaves behind. Each says whose it is, and the
 * next daemon takes away those whose owners have all ended.
 */
import {
  type Dirent,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { markedProcess, processMark, readIfThere } from "./process-mark.js";

/** What they are for. */
export type FolderKind = "feed" | "disks" | "disk";

const NAME = /^slashcloud-(feed|disks|disk)-[A-Za-z0-9]{6}$/;
/** The namespace that processes have their numbers in, and then their marks, a line each. */
const OWNERS = "owners";
const NAMESPACE = "/proc/self/ns/pid";

/** Makes a folder that is this process's. Throws a system error. */
export function makeOwnFolder(kind: FolderKind): string {
  const folder = mkdtempSync(join(tmpdir(), `slashcloud-${kind}-`));
  ownFolder(folder, []);
  return folder;
}

/** Has a folder be this process's, and others', as long as one of them runs. Throws a system error. */
export function ownFolder(folder: string, others: readonly number[]): void {
  const marks = [process.pid, ...others].flatMap((pid) => processMark(pid) ?? []);
  const file = join(folder, OWNERS);
  // Another daemon may look at it meanwhile.
  writeFileSync(`${file}.new`, `${[readlinkSync(NAMESPACE), ...marks].join("\n")}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** Takes away folders whose owners have ended. What cannot be taken away, or tells nothing of its owners, stays. */
export function sweepFolders(): void {
  const top = tmpdir();
  for (const name of namesIn(top)) {
    if (!NAME.test(name)) continue;
    try {
      const folder = join(top, name);
      // Others can make folders there, too.
      if (!isOurs(folder)) continue;
      const [namespace, ...owners] = readIfThere(join(folder, OWNERS))?.split("\n") ?? [];
      // What runs in a container that has the same folder of temporary files is not seen from here.
      if (namespace !== readlinkSync(NAMESPACE)) continue;
      if (owners.some((mark) => markedProcess(mark) !== undefined)) continue;
      takeAway(folder);
    } catch {
      // Another daemon does the same, or the administrator.
    }
  }
}

/** Nothing of what cannot be read: who makes a folder there is told. */
function namesIn(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function isOurs(path: string): boolean {
  const stats = lstatSync(path);
  return stats.isDirectory() && stats.uid === process.geteuid?.();
}

/**
 * Takes a folder of ours away. A folder in it may be another user's, QEMU's, who can put anything there: of that, only what
 * is no folder itself.
 */
function takeAway(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (!entry.isDirectory()) rmSync(path, { force: true });
    else if (isOurs(path)) takeAway(path);
    else {
      for (const inside of readdirSync(path, { withFileTypes: true })) removeFile(path, inside);
      rmdirSync(path);
    }
  }
  rmdirSync(folder);
}

function removeFile(folder: string, entry: Dirent): void {
  if (!entry.isDirectory()) rmSync(join(folder, entry.name), { force: true });
}
