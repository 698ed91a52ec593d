/** The npm package fuse-native: what is used of it, and how it is loaded. */
import { MountError } from "../mountpoint.js";

/** Answers a request: 0 or a count, or a negative errno. */
export type Done<T> = (result: number, value?: T) => void;

/** struct stat as fuse-native takes it; times in ms. */
export interface Stat {
  mode: number;
  uid: number;
  gid: number;
  size: number;
  nlink: number;
  rdev: number;
  blksize: number;
  blocks: number;
  atime: number;
  mtime: number;
  ctime: number;
}

/** struct statvfs as fuse-native takes it. */
export interface StatVfs {
  bsize: number;
  frsize: number;
  blocks: number;
  bfree: number;
  bavail: number;
  files: number;
  ffree: number;
  favail: number;
  namemax: number;
}

/** The operations that are answered; libfuse answers all others with ENOSYS. */
export interface Operations {
  getattr(path: string, done: Done<Stat>): void;
  statfs(path: string, done: Done<StatVfs>): void;
  readdir(path: string, done: Done<string[]>): void;
  readlink(path: string, done: Done<string>): void;
  open(path: string, flags: number, done: Done<number>): void;
  release(path: string, handle: number, done: Done<never>): void;
  read(
    path: string,
    handle: number,
    target: Buffer,
    length: number,
    position: number,
    done: Done<never>,
  ): void;
  getxattr(path: string, name: string, position: number, done: Done<Buffer>): void;
  /** Names are strings of one character a byte. */
  listxattr(path: string, done: Done<string[]>): void;
}

/** What goes into libfuse's `-o`; fuse-native has no key for `ro` and others, which go in behind `fsname`. */
export interface MountOptions {
  fsname: string;
  subtype: string;
  allowOther: boolean;
  defaultPermissions: boolean;
  /** false: an operation may take as long as it takes. */
  timeout: false;
}

/** Hands an answer to the native side: a count or negative errno, and the buffer that is given back to it. */
type Signal = (result: number, buffer: ArrayBufferLike) => void;

interface FuseInstance {
  mount(done: (error: Error | null) => void): void;
  unmount(done: (error: Error | null) => void): void;
}

type FuseClass = new (path: string, operations: Operations, options: MountOptions) => FuseInstance;

const ERANGE = 34;

/** Loads fuse-native. Throws MountError with what to install. */
export async function loadFuse(): Promise<FuseClass> {
  // No literal: the package is optional, and has no types.
  const name: string = "fuse-native";
  try {
    const loaded = (await import(name)) as { default: FuseClass };
    return withinBounds(loaded.default);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ERR_MODULE_NOT_FOUND") {
      throw new MountError("missing", "the npm package fuse-native is missing: npm install fuse-native");
    }
    if (/libfuse\.so/.test(message)) {
      throw new MountError("missing", `libfuse 2 cannot be loaded (${message}): apt install libfuse2`);
    }
    throw new MountError("missing", `fuse-native cannot be loaded: ${message.split("\n")[0]}`);
  }
}

/**
 * fuse-native 2.2.6 returns an attribute's full length also where the caller's buffer is shorter, and libfuse then
 * reads past that buffer. This answers ERANGE, as getxattr(2) says.
 */
function withinBounds(Fuse: FuseClass): FuseClass {
  function answer(signal: Signal, target: Buffer, result: number, value: Buffer): void {
    if (result < 0) signal(result, target.buffer);
    else if (target.length === 0) signal(value.length, target.buffer);
    else signal(value.length > target.length ? -ERANGE : value.copy(target), target.buffer);
  }
  return class extends Fuse {
    readonly #operations: Operations;

    constructor(path: string, operations: Operations, options: MountOptions) {
      super(path, operations, options);
      this.#operations = operations;
    }

    _op_getxattr(signal: Signal, path: string, name: string, target: Buffer, position: number): void {
      this.#operations.getxattr(path, name, position, (result, value) =>
        answer(signal, target, result, value ?? Buffer.alloc(0)),
      );
    }

    _op_listxattr(signal: Signal, path: string, target: Buffer): void {
      this.#operations.listxattr(path, (result, names) =>
        answer(
          signal,
          target,
          result,
          Buffer.from((names ?? []).map((name) => `${name}\0`).join(""), "latin1"),
        ),
      );
    }
  };
}
