/** A guest's files in a tree that is open in this process, without a mount. */
import { Errno, FileSystemError } from "../../filesystems/filesystem.js";
import type { GuestFile, GuestFiles } from "../../inspect/guest-files.js";
import { type Entry, FileType, isType, type Tree, walk } from "../walk.js";

const DOTS: ReadonlySet<string> = new Set([".", ".."]);

export class TreeFiles implements GuestFiles {
  readonly #tree: Tree;
  readonly #root: { high: number; low: number };

  /** `root`: the guest's. */
  constructor(tree: Tree, root: { high: number; low: number }) {
    this.#tree = tree;
    this.#root = { high: root.high, low: root.low };
  }

  open(path: string): GuestFile | undefined {
    const entry = this.#walk(path, true);
    if (entry === undefined) return undefined;
    if (!isType(entry, FileType.REGULAR)) throw new Error(`${path} is no regular file`);
    const { high, low, attributes } = entry;
    return {
      size: attributes.size,
      read: (position, length) => this.#read(path, high, low, position, length),
      close: () => {},
    };
  }

  list(path: string, most: number): string[] | undefined {
    const directory = this.#walk(path, true);
    if (directory === undefined) return undefined;
    if (!isType(directory, FileType.DIRECTORY)) throw new Error(`${path} is no directory`);
    const names: string[] = [];
    let position = 0;
    let taken = 0;
    do {
      taken = 0;
      told(path, () =>
        this.#tree.list(directory.high, directory.low, position, {
          entry: (buffer, offset, length, _inoHigh, _ino, _type, next) => {
            position = next;
            taken++;
            const name = buffer.toString("latin1", offset, offset + length);
            if (!DOTS.has(name)) names.push(name);
            return names.length < most;
          },
        }),
      );
    } while (taken > 0 && names.length < most);
    return names;
  }

  linkTarget(path: string): string | undefined {
    const entry = this.#walk(path, false);
    if (entry === undefined || !isType(entry, FileType.LINK)) return undefined;
    return told(path, () => this.#tree.readlink(entry.high, entry.low)).toString("latin1");
  }

  #walk(path: string, followLast: boolean): Entry | undefined {
    try {
      return walk(this.#tree, this.#root, Buffer.from(path, "latin1"), followLast);
    } catch (error) {
      if (error instanceof FileSystemError && (error.errno === Errno.ENOENT || error.errno === Errno.ENOTDIR))
        return undefined;
      throw new Error(`${path}: ${(error as Error).message}`);
    }
  }

  #read(path: string, high: number, low: number, position: number, length: number): Buffer {
    const buffer = Buffer.allocUnsafe(length);
    let at = 0;
    while (at < length) {
      const read = told(path, () => this.#tree.read(high, low, position + at, length - at, buffer, at));
      if (read === 0) break;
      at += read;
    }
    return buffer.subarray(0, at);
  }
}

/** Has an error name the path. */
function told<T>(path: string, ask: () => T): T {
  try {
    return ask();
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`);
  }
}
