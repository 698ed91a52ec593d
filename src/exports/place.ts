/** Putting files in place: whole or not at all. */

import {
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { ExportError } from "./tree.js";

/** A file's text; undefined if there is none. */
export function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw refused(error, path);
  }
}

/**
 * Gives a file this text. Another file takes its place at once, with the former's mode and owner, or 0644; a link stays
 * one. `check` is given the new file's path before that; if it throws, the former file stays. Throws ExportError.
 */
export async function place(
  path: string,
  text: string,
  check?: (path: string) => Promise<void>,
): Promise<void> {
  let target = path;
  let temporary = "";
  try {
    mkdirSync(dirname(path), { recursive: true });
    const former = statSync(path, { throwIfNoEntry: false });
    if (former !== undefined) target = realpathSync(path);
    temporary = `${target}.new-${process.pid}`;
    writeFileSync(temporary, text, { mode: 0o644, flag: "wx" });
    if (former !== undefined) {
      chmodSync(temporary, former.mode & 0o7777);
      chownSync(temporary, former.uid, former.gid);
    }
    await check?.(temporary);
    renameSync(temporary, target);
  } catch (error) {
    if (temporary !== "") rmSync(temporary, { force: true });
    throw error instanceof ExportError ? error : refused(error, path);
  }
}

function refused(error: unknown, path: string): ExportError {
  const { code, message } = error as NodeJS.ErrnoException;
  const why = code === "EACCES" || code === "EPERM" ? "no right to; run it as root" : message;
  return new ExportError(`${path} cannot be read or written: ${why}`, 1);
}
