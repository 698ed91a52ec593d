/** Writing to standard output and error, whole and in order. */
import { writeSync } from "node:fs";
import { writeLog } from "../daemon/log/writer.js";

/**
 * Writes bytes to standard output, waiting where a pipe is full. A reader that went away ends the process quietly, and what
 * cannot be written at all (a full disk) with one line and exit code 1: here, as no caller is to take it for an error of the
 * file that it shows.
 */
export function write(bytes: Buffer | string): void {
  const buffer = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
  for (let at = 0; at < buffer.length; ) {
    try {
      at += writeSync(1, buffer, at);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EPIPE") process.exit(0);
      if (code !== "EAGAIN") {
        complain(`standard output cannot be written (${WHY[code ?? ""] ?? (error as Error).message})`);
        process.exit(1);
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}

/** What keeps a file from being written, as users know it. */
const WHY: Readonly<Record<string, string>> = {
  ENOSPC: "no space left on device",
  EDQUOT: "the quota is used up",
  EFBIG: "the file would be too large",
  EIO: "input/output error",
  EBADF: "it is closed",
};

/** A line to standard error; without a level it is an error. */
export const complain: typeof writeLog = (line, about) => writeLog(line, { level: "error", ...about });

/** A name for a terminal: control characters and bytes that are not UTF-8 as "?", as ls does; elsewhere as it is. */
export function printable(name: Buffer): Buffer {
  if (!process.stdout.isTTY) return name;
  return Buffer.from(name.toString("utf8").replace(/[\p{Cc}\ufffd]/gu, "?"));
}
