import { Attributes, type Entry, Statistics, type Tree, type TreeVisitor } from "../../cloud/tree.js";
import { ATTEMPTS, RestlessError } from "../attempts.js";
import { deviceNumber } from "../device.js";
import { Errno } from "../errno.js";
import type { Faults } from "../faults.js";
import { isPossibleName, shownName } from "../names.js";
import type { Done, Operations, Stat, StatVfs } from "./binding.js";
import { nameToString, unescapeName } from "./names.js";

/** The attributes that a tree has begin so; others are not asked of it. */
const PREFIX = "user.";
/** XATTR_SIZE_MAX of include/uapi/linux/limits.h, bytes. */
const VALUE_MAX = 65536;
/** The largest number in fuse-native's statfs. */
const U32_MAX = 0xffff_ffff;

/** The node that an open file is bound to. */
interface Handle {
  readonly high: number;
  readonly low: number;
}

/** Answers libfuse's operations, which name files by path, from a tree. */
export class TreeOperations implements Operations {
  readonly #tree: Tree;
  readonly #faults: Faults;
  readonly #entry: Entry = {
    high: 0,
    low: 0,
    generation: 0,
    inoHigh: 0,
    attributes: new Attributes(),
    timeout: 0,
  };
  readonly #statistics = new Statistics();
  readonly #handles = new Map<number, Handle>();
  #lastHandle = 0;

  constructor(tree: Tree, faults: Faults) {
    this.#tree = tree;
    this.#faults = faults;
  }

  getattr(path: string, done: Done<Stat>): void {
    this.#answer("getattr", done, () => {
      this.#walk(path);
      return statOf(this.#entry.attributes);
    });
  }

  statfs(path: string, done: Done<StatVfs>): void {
    this.#answer("statfs", done, () => {
      const { high, low } = this.#walk(path);
      this.#tree.statistics(high, low, this.#statistics);
      return statVfsOf(this.#statistics);
    });
  }

  readdir(path: string, done: Done<string[]>): void {
    this.#answer("readdir", done, () => {
      const { high, low } = this.#walk(path);
      const names: string[] = [];
      const visitor: TreeVisitor = {
        entry: (name, offset, length) => {
          if (isPossibleName(name, offset, length)) {
            names.push(nameToString(name.subarray(offset, offset + length)));
          } else {
            this.#faults.report(`name ${shownName(name, offset, length)} is left out`, "directory");
          }
          return true;
        },
      };
      try {
        this.#tree.list(high, low, 0, visitor);
      } catch (error) {
        // libfuse takes names or an error; the names up to the damage are worth more.
        if (names.length === 0) throw error;
        this.#faults.report(error, `directory ${JSON.stringify(path)} is listed in part`);
      }
      return names;
    });
  }

  readlink(path: string, done: Done<string>): void {
    this.#answer("readlink", done, () => {
      const { high, low } = this.#walk(path);
      return nameToString(this.#tree.readlink(high, low));
    });
  }

  open(path: string, _flags: number, done: Done<number>): void {
    this.#answer("open", done, () => {
      const { high, low } = this.#walk(path);
      this.#lastHandle++;
      this.#handles.set(this.#lastHandle, { high, low });
      return this.#lastHandle;
    });
  }

  release(_path: string, handle: number, done: Done<never>): void {
    this.#handles.delete(handle);
    done(0);
  }

  read(
    _path: string,
    handle: number,
    target: Buffer,
    length: number,
    position: number,
    done: Done<never>,
  ): void {
    let count = 0;
    this.#answer(
      "read",
      (errno) => done(errno < 0 ? errno : count),
      () => {
        const { high, low } = this.#handles.get(handle) as Handle;
        this.#tree.refresh();
        count = this.#tree.read(high, low, position, length, target, 0);
      },
    );
  }

  getxattr(path: string, name: string, _position: number, done: Done<Buffer>): void {
    this.#answer("getxattr", done, () => {
      if (!name.startsWith(PREFIX)) throw new OperationError(Errno.EOPNOTSUPP);
      const { high, low } = this.#walk(path);
      const value = this.#tree.attribute(high, low, Buffer.from(name).toString("latin1"));
      if (value === undefined) throw new OperationError(Errno.ENODATA);
      if (value.length > VALUE_MAX) throw new OperationError(Errno.E2BIG);
      return value;
    });
  }

  listxattr(path: string, done: Done<string[]>): void {
    this.#answer("listxattr", done, () => {
      const { high, low } = this.#walk(path);
      return this.#tree.attributeNames(high, low);
    });
  }

  /** Hands what `operation` returns to `done`, or the errno of what it throws. */
  #answer<T>(what: string, done: Done<T>, operation: () => T): void {
    let value: T | undefined;
    let failure: { readonly error: unknown } | undefined;
    let attempts = 0;
    do {
      failure = attempts++ === ATTEMPTS ? { error: new RestlessError() } : undefined;
      if (failure !== undefined) break;
      try {
        value = operation();
      } catch (error) {
        failure = { error };
      }
    } while (!this.#tree.holds());
    if (failure === undefined) done(0, value);
    else done(-this.#faults.errno(failure.error, what));
  }

  /** The node at a path, with its attributes in #entry. */
  #walk(path: string): Entry {
    const entry = this.#entry;
    this.#tree.refresh();
    this.#tree.stat(0, 1, entry);
    for (const part of path.split("/")) {
      if (part === "") continue;
      const { high, low } = entry;
      if (this.#tree.lookup(high, low, Buffer.from(part), entry)) continue;
      const name = unescapeName(part);
      if (name === undefined || !this.#tree.lookup(high, low, name, entry)) {
        throw new OperationError(Errno.ENOENT);
      }
    }
    return entry;
  }
}

/** An errno that is an answer. */
class OperationError extends Error {
  readonly errno: number;

  constructor(errno: number) {
    super(`errno ${errno}`);
    this.errno = errno;
  }
}

/** ms since 1970, none before: fuse-native divides times as unsigned numbers. */
function milliseconds(seconds: number, nanoseconds: number): number {
  return Math.max(0, seconds * 1000 + Math.floor(nanoseconds / 1_000_000));
}

function statOf(attributes: Attributes): Stat {
  return {
    mode: attributes.mode,
    uid: attributes.uid,
    gid: attributes.gid,
    size: attributes.size,
    nlink: attributes.nlink,
    rdev: deviceNumber(attributes.major, attributes.minor),
    blksize: attributes.blksize,
    blocks: attributes.blocks,
    atime: milliseconds(attributes.atime, attributes.atimeNsec),
    mtime: milliseconds(attributes.mtime, attributes.mtimeNsec),
    ctime: milliseconds(attributes.ctime, attributes.ctimeNsec),
  };
}

/** Counts in blocks so large that they fit in 32 bits. */
function statVfsOf(statistics: Statistics): StatVfs {
  let scale = 1;
  while (statistics.blocks / scale > U32_MAX) scale *= 2;
  const bsize = statistics.blockSize * scale;
  const bavail = Math.floor(statistics.blocksAvailable / scale);
  return {
    bsize,
    frsize: bsize,
    blocks: Math.floor(statistics.blocks / scale),
    bfree: Math.floor(statistics.blocksFree / scale),
    bavail,
    files: Math.min(statistics.files, U32_MAX),
    ffree: Math.min(statistics.filesFree, U32_MAX),
    favail: Math.min(statistics.filesFree, U32_MAX),
    namemax: statistics.nameLength,
  };
}
