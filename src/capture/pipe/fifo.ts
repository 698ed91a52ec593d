/** A FIFO as the end that reads has it: never waiting for a writer, nor holding a thread while it has nothing to say. */
import { execFileSync } from "node:child_process";
import { chownSync, closeSync, constants, fstatSync, lstatSync, openSync, type Stats } from "node:fs";
import { Socket } from "node:net";

/** A pipe's place that cannot be used, told in one line. */
export class PipeError extends Error {
  /** The process's exit status if this ends it. */
  readonly exitCode = 1;

  constructor(message: string) {
    super(message);
    this.name = "PipeError";
  }
}

/** Makes it, for its owner alone, if there is nothing; it is given to `owner`'s. Throws PipeError. */
export function ensureFifo(path: string, owner: Pick<Stats, "uid" | "gid">): void {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there?.isFIFO()) return;
  if (there !== undefined)
    throw new PipeError(`${path}: there is something that is no named pipe; name another path`);
  try {
    execFileSync("mkfifo", ["-m", "600", "--", path], { stdio: ["ignore", "ignore", "pipe"] });
    if (process.geteuid?.() === 0) chownSync(path, owner.uid, owner.gid);
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: Buffer };
    throw new PipeError(
      `${path}: no named pipe can be made there: ${(stderr?.toString() || message).trim()}`,
    );
  }
}

/**
 * Opens it for reading: a stream that begins when somebody writes, and ends when the last who wrote has gone. Throws
 * PipeError, and a system error.
 */
export function openFifo(path: string): Socket {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  if (!fstatSync(fd).isFIFO()) {
    closeSync(fd);
    throw new PipeError(`${path}: is no named pipe any more`);
  }
  return new Socket({ fd, readable: true, writable: false });
}
