/**
 * QEMU's locks on images: whether some program writes to one, or is about to. A disk that is read without a lock of its
 * own keeps nobody from starting a guest with it, and is let go of when somebody does.
 */
import { readFileSync, statSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";

/** ms between looks. */
const LOOK_EVERY = 300;
/** The byte that QEMU locks in a file that it writes to: 100 + the bit for writing (block/file-posix.c of QEMU 7.2). */
const WRITES = 101;

/** What happened to an image: a program writes to it, or has written in between. */
export type ImageUse = "in use" | "changed";

interface Watched {
  readonly path: string;
  /** As /proc/locks names it. */
  readonly file: string;
  readonly changed: number;
  readonly used: (how: ImageUse) => void;
}

export class QemuLocks {
  readonly #watched = new Set<Watched>();
  #timer: NodeJS.Timeout | undefined;

  /**
   * Calls `used` once, when some program uses the image, or has changed it since it was as `changed` says (see changedAt).
   * Returns what ends that. Throws a system error.
   */
  watch(path: string, changed: number, used: (how: ImageUse) => void): () => void {
    const watched = { path, file: fileOf(path), changed, used };
    this.#watched.add(watched);
    this.#next();
    return () => this.#watched.delete(watched);
  }

  #next(): void {
    if (this.#watched.size === 0 || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => void this.#look(), LOOK_EVERY).unref();
  }

  async #look(): Promise<void> {
    const locks = await readFile("/proc/locks", "utf8").catch(() => "");
    const written = lockedForWriting(locks);
    for (const watched of [...this.#watched]) {
      const how = written.has(watched.file) ? "in use" : (await hasChanged(watched)) ? "changed" : undefined;
      if (how !== undefined && this.#watched.delete(watched)) watched.used(how);
    }
    this.#timer = undefined;
    this.#next();
  }
}

/** When a file was changed last, ms. Throws a system error. */
export function changedAt(path: string): number {
  return statSync(path).mtimeMs;
}

/** By a program that was faster than we look: one that resizes it, or makes a snapshot in it. */
async function hasChanged({ path, changed }: Watched): Promise<boolean> {
  return stat(path).then(
    ({ mtimeMs }) => mtimeMs !== changed,
    () => false,
  );
}

/**
 * Whether some program has the image locked for writing. It is not to be seen where a file system has another number for
 * itself than it tells (btrfs, overlays): there the image's times tell of the first write.
 */
export function isWritten(path: string): boolean {
  try {
    return lockedForWriting(readFileSync("/proc/locks", "utf8")).has(fileOf(path));
  } catch {
    // One that is not there is nobody's; whoever opens it tells.
    return false;
  }
}

/** Such files, as proc_locks(5) names them. */
function lockedForWriting(locks: string): Set<string> {
  const files = new Set<string>();
  for (const line of locks.split("\n")) {
    const parts = / OFDLCK +\S+ +\S+ +\S+ +([0-9a-f]+:[0-9a-f]+:\d+) (\d+) (\d+|EOF)$/.exec(line);
    if (parts === null) continue;
    const end = parts[3] === "EOF" ? Number.POSITIVE_INFINITY : Number(parts[3]);
    if (Number(parts[2]) <= WRITES && end >= WRITES) files.add(parts[1] as string);
  }
  return files;
}

function fileOf(path: string): string {
  const { dev, ino } = statSync(path, { bigint: true });
  // gnu_dev_major and gnu_dev_minor of the C library.
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n);
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n);
  return `${major.toString(16).padStart(2, "0")}:${minor.toString(16).padStart(2, "0")}:${ino}`;
}
