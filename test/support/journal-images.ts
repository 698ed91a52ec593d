/**
 * Images of ext file systems as a crash would leave them: copied while the kernel has them mounted and is not writing.
 */
import { execFileSync, spawnSync } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

/** A directory for images, in memory where there is one that is. */
export function imageDirectory(): string {
  return mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "slashcloud-journal-"));
}

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** Makes a file system: `mkfs` is the command's name and its options in one string; `megabytes` its size. */
export function makeImage(path: string, megabytes: number, mkfs: string): void {
  rmSync(path, { force: true });
  const fd = openSync(path, "w");
  ftruncateSync(fd, megabytes << 20);
  closeSync(fd);
  const [command, ...options] = mkfs.split(" ") as [string, ...string[]];
  run(command, "-q", "-F", ...options, path);
}

/** An image that the kernel has mounted. */
export class MountedImage {
  readonly path: string;
  readonly root: string;
  readonly #device: string;
  #mounted = true;

  /** Mounts with `options` (`data=journal`, say). */
  constructor(path: string, options = "") {
    this.path = path;
    this.root = `${path}.mnt`;
    mkdirSync(this.root, { recursive: true });
    this.#device = run("losetup", "--find", "--show", path).trim();
    try {
      run("mount", "-o", options === "" ? "rw" : options, this.#device, this.root);
    } catch (error) {
      run("losetup", "--detach", this.#device);
      throw error;
    }
  }

  /** How many requests the device has taken, by kind, and how many of them are under way. */
  #counters(): string {
    return readFileSync(`/sys/block/${basename(this.#device)}/stat`, "utf8").trim();
  }

  /** Copies the image at a moment at which nothing is written: what is there if the power fails now. */
  crashTo(target: string): void {
    for (let attempt = 0; attempt < 200; attempt++) {
      const before = this.#counters();
      copyFileSync(this.path, target);
      // Field 9: requests in flight.
      if (before === this.#counters() && before.split(/\s+/)[8] === "0") return;
      spawnSync("sleep", ["0.05"]);
    }
    throw new Error(`${this.#device} does not come to rest`);
  }

  close(): void {
    if (!this.#mounted) return;
    this.#mounted = false;
    run("umount", this.root);
    run("losetup", "--detach", this.#device);
  }
}

/**
 * Lets the kernel recover a crash image; returns whether it was willing to mount it. Read-only, as the kernel then
 * writes what recovery writes and no more.
 */
export function recoverByKernel(path: string): boolean {
  try {
    new MountedImage(path, "ro").close();
    return true;
  } catch {
    return false;
  }
}

/** Lets e2fsprogs replay the journal, and do nothing else. */
export function recoverByDebugfs(path: string): void {
  spawnSync("debugfs", ["-w", "-R", "journal_run", path]);
}

/** The journal's blocks on the volume, in their order: debugfs tells them as `(0-11):650-661, (IND):662, …`. */
export function journalBlocks(path: string): Float64Array {
  const text = run("debugfs", "-R", "stat <8>", path);
  const blocks: number[] = [];
  for (const [, from, to, at] of text.matchAll(/\((\d+)(?:-(\d+))?\):(\d+)/g)) {
    for (let index = Number(from); index <= Number(to ?? from); index++) {
      blocks[index] = Number(at) + index - Number(from);
    }
  }
  return Float64Array.from(blocks);
}

/** A pseudo-random number below `limit`, the same in every run. */
export function makeRandom(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

/** What data looks like that a journal must escape. */
export const MAGIC_BYTES = Buffer.from("c03b3998", "hex");

/** Calls fsync on a file or directory. */
export function sync(path: string): void {
  const fd = openSync(path, "r");
  fsyncSync(fd);
  closeSync(fd);
}

function append(path: string, bytes: Buffer): void {
  const fd = openSync(path, "a");
  writeSync(fd, bytes);
  fsyncSync(fd);
  closeSync(fd);
}

/**
 * Writes like an eager application: `rounds` rounds of files and directories that come, grow, shrink, move and go, and
 * an fsync after nearly each. Blocks of metadata are freed again, so that there are revocations, and with
 * data=journal there are blocks that begin with the journal's magic number.
 */
export function busyLoad(root: string, rounds: number, seed: number): void {
  const random = makeRandom(seed);
  const files: string[] = [];
  for (let round = 0; round < rounds; round++) {
    const directory = join(root, `d${round % 7}`);
    mkdirSync(directory, { recursive: true });
    const name = join(directory, `file-${round}-${"x".repeat(random(60))}`);
    switch (random(8)) {
      case 0: {
        // A directory of several blocks that goes again frees metadata.
        const deep = join(directory, `many${round}`);
        mkdirSync(deep);
        for (let n = 0; n < 60; n++) writeFileSync(join(deep, `${n}${"y".repeat(90)}`), "");
        sync(deep);
        for (let n = 0; n < 60; n++) unlinkSync(join(deep, `${n}${"y".repeat(90)}`));
        rmdirSync(deep);
        sync(directory);
        break;
      }
      case 1: {
        const fd = openSync(name, "w");
        for (let n = 0; n < 20; n++) writeSync(fd, MAGIC_BYTES, 0, 4, n * 8192);
        fsyncSync(fd);
        ftruncateSync(fd, 5000);
        fsyncSync(fd);
        closeSync(fd);
        files.push(name);
        break;
      }
      case 2:
        if (files.length > 0) unlinkSync(files.splice(random(files.length), 1)[0] as string);
        break;
      case 3:
        if (files.length > 0) {
          const index = random(files.length);
          renameSync(files[index] as string, name);
          files[index] = name;
          sync(directory);
        }
        break;
      case 4:
        if (files.length > 0) {
          linkSync(files[random(files.length)] as string, name);
          files.push(name);
          sync(directory);
        }
        break;
      case 5:
        symlinkSync("t".repeat(10 + random(100)), name);
        files.push(name);
        break;
      default:
        append(name, Buffer.concat([MAGIC_BYTES, Buffer.alloc(random(30_000), round)]));
        files.push(name);
    }
    if (files.length > 0 && random(2) === 0) {
      const file = files[random(files.length)] as string;
      if (!file.includes("file-") || !existsSync(file)) continue;
      append(file, Buffer.alloc(random(9000), "z"));
    }
  }
}
