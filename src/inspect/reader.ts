/** Reading a guest's files in bounded form: whatever the guest says of their sizes, this much is read and no more. */
import type { GuestFile, GuestFiles } from "./guest-files.js";

/** Bytes that are read of one guest, all files together. */
const MOST_IN_ALL = 1 << 30;
/** Bytes of a small file, such as those in /etc. */
const SMALL = 256 << 10;
/** Names of a directory that are looked at. */
export const MOST_NAMES = 20_000;

export class Reader {
  readonly #files: GuestFiles;
  #left = MOST_IN_ALL;

  constructor(files: GuestFiles) {
    this.#files = files;
  }

  /** Calls `use` with an open file; undefined if it is not there. Throws what GuestFiles throws. */
  async withFile<T>(path: string, use: (file: GuestFile) => T | Promise<T>): Promise<T | undefined> {
    const file = this.#files.open(path);
    if (file === undefined) return undefined;
    try {
      return await use({
        size: file.size,
        read: (position, length) => this.#counted(path, file.read(position, length)),
        close: () => {},
      });
    } finally {
      file.close();
    }
  }

  /** All of a file; undefined if it is not there. Throws if it has more than `most` bytes. */
  async bytes(path: string, most = SMALL): Promise<Buffer | undefined> {
    return this.withFile(path, ({ size, read }) => {
      if (size > most) throw new Error(`${path} has more than ${most} bytes, which are not read`);
      return read(0, size);
    });
  }

  /** The same as text. */
  async text(path: string, most = SMALL): Promise<string | undefined> {
    return (await this.bytes(path, most))?.toString("utf8");
  }

  /** The first bytes of a file, whatever its size. */
  async head(path: string, length: number): Promise<Buffer | undefined> {
    return this.withFile(path, ({ read }) => read(0, length));
  }

  /** A directory's names, in order; undefined if it is not there. */
  list(path: string): string[] | undefined {
    return this.#files.list(path, MOST_NAMES)?.sort();
  }

  linkTarget(path: string): string | undefined {
    return this.#files.linkTarget(path);
  }

  #counted(path: string, bytes: Buffer): Buffer {
    this.#left -= bytes.length;
    if (this.#left < 0)
      throw new Error(`${path}: more than ${MOST_IN_ALL} bytes were read of this guest: no more are`);
    return bytes;
  }
}
