/** Looking for the files that a pattern of images' paths stands for. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { isRemote } from "../../images/remote.js";
import { guestNameOf, type ParsedPattern } from "./image-pattern.js";

/** A file, or a block device, that a pattern stands for. */
export interface FoundImage {
  /** As `up` takes it. */
  readonly image: string;
  readonly path: string;
  /** The name of its guest. */
  readonly name: string;
  /** Another one when it has been written to, "" on storage that may stall. */
  readonly stamp: string;
}

export interface FoundFiles {
  readonly images: readonly FoundImage[];
  /** Directories in which what comes or goes may change that. */
  readonly directories: readonly string[];
}

/**
 * Looks for them. `mount`: the daemon's own mount point, which it never looks into: nobody would answer. Rejects with a
 * system error if a directory cannot be listed that is there.
 */
export async function findImages(pattern: ParsedPattern, mount: string): Promise<FoundFiles> {
  const images: FoundImage[] = [];
  const directories: string[] = [];
  await walk("/", 0, []);
  return { images: images.sort((a, b) => (a.path < b.path ? -1 : 1)), directories };

  async function walk(directory: string, depth: number, stars: readonly string[]): Promise<void> {
    const { text, expression } = pattern.parts[depth]!;
    const isLast = depth === pattern.parts.length - 1;
    const take = async (name: string, found: readonly string[]): Promise<void> => {
      const path = join(directory, name);
      if (path === mount || path.startsWith(`${mount}/`)) return;
      const all = [...stars, ...found];
      if (!isLast) await walk(path, depth + 1, all);
      else await add(path, all);
    };
    if (expression === undefined) {
      if (isLast) directories.push(directory);
      await take(text, []);
      return;
    }
    directories.push(directory);
    for (const name of await namesIn(directory)) {
      const match = expression.exec(name);
      if (match !== null) await take(name, match.slice(1));
    }
  }

  async function add(path: string, stars: readonly string[]): Promise<void> {
    const stats = await stat(path).catch(() => undefined);
    if (stats === undefined || !(stats.isFile() || stats.isBlockDevice())) return;
    const name = guestNameOf(path, pattern.name, stars);
    const stamp = isRemote(path) ? "" : `${stats.ino} ${stats.size} ${stats.mtimeMs}`;
    images.push({ image: `${pattern.before}${path}`, path, name, stamp });
  }
}

/** Nothing, where there is no such directory. */
async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return [];
    throw error;
  }
}
