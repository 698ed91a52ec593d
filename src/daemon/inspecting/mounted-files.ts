/** A guest's files where a daemon shows them: what its policy hides from this user is not there. */
import { closeSync, constants, fstatSync, opendirSync, openSync, readlinkSync, readSync } from "node:fs";
import type { GuestFile, GuestFiles } from "../../inspect/guest-files.js";

/** To open a pipe would wait for its other end. */
const FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;
const NOT_THERE = new Set(["ENOENT", "ENOTDIR"]);

/** Links in the tree lead nowhere but to the same guest. */
export class MountedFiles implements GuestFiles {
  readonly #root: Buffer;

  /** `root`: the guest's directory. */
  constructor(root: string) {
    this.#root = Buffer.from(root);
  }

  open(path: string): GuestFile | undefined {
    const fd = told(path, () => openSync(this.#path(path), FLAGS));
    if (fd === undefined) return undefined;
    const stats = told(path, () => fstatSync(fd));
    if (!stats?.isFile()) {
      closeSync(fd);
      throw new Error(`${path} is no regular file`);
    }
    return {
      size: stats.size,
      read: (position, length) => {
        const buffer = Buffer.allocUnsafe(length);
        let at = 0;
        while (at < length) {
          const read = told(path, () => readSync(fd, buffer, at, length - at, position + at)) ?? 0;
          if (read === 0) break;
          at += read;
        }
        return buffer.subarray(0, at);
      },
      close: () => closeSync(fd),
    };
  }

  list(path: string, most: number): string[] | undefined {
    const directory = told(path, () => opendirSync(this.#path(path), { encoding: "latin1" }));
    if (directory === undefined) return undefined;
    try {
      const names: string[] = [];
      while (names.length < most) {
        const entry = told(path, () => directory.readSync());
        if (!entry) break;
        names.push(entry.name);
      }
      return names;
    } finally {
      directory.closeSync();
    }
  }

  linkTarget(path: string): string | undefined {
    return told(path, () => readlinkSync(this.#path(path), "latin1"));
  }

  #path(path: string): Buffer {
    return Buffer.concat([this.#root, Buffer.from(path, "latin1")]);
  }
}

/** Undefined for what is not there; has any other error name the guest's path. */
function told<T>(path: string, ask: () => T): T | undefined {
  try {
    return ask();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== undefined && NOT_THERE.has(code)) return undefined;
    throw new Error(`${path}: ${code === "EACCES" ? "permission denied" : message.split(",", 1)[0]}`);
  }
}
