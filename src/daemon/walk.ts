/** Walking a path in the tree without a mount, links followed as the kernel would. */

import { Attributes, type Entry, type Tree } from "../cloud/tree.js";
import { Errno, FileSystemError, FileType } from "../filesystems/filesystem.js";

export type { Entry, Tree, TreeVisitor } from "../cloud/tree.js";
export { FileType };

/** Links that a walk follows before it is ELOOP: the kernel's MAXSYMLINKS. */
const MAX_LINKS = 40;
const SLASH = 0x2f;

/** An entry of its own, for the caller to keep. */
export function newEntry(): Entry {
  return { high: 0, low: 1, generation: 0, inoHigh: 0, attributes: new Attributes(), timeout: 0 };
}

/** Whether the entry is of that type (a FileType). */
export function isType(entry: Entry, type: number): boolean {
  return (entry.attributes.mode & FileType.MASK) === type;
}

/**
 * Walks `path` from a directory on; with `followLast`, a link at its end is followed too. Throws FileSystemError:
 * ENOENT, ENOTDIR, ELOOP, or what the tree says.
 */
export function walk(
  tree: Tree,
  from: { high: number; low: number },
  path: Buffer,
  followLast: boolean,
): Entry {
  const ahead = componentsOf(path).reverse();
  const entry = newEntry();
  tree.stat(from.high, from.low, entry);
  let links = 0;
  for (;;) {
    const name = ahead.pop();
    if (name === undefined) return entry;
    const { high, low } = entry;
    if (!isType(entry, FileType.DIRECTORY)) throw new FileSystemError(Errno.ENOTDIR, "not a directory");
    const text = name.toString("latin1");
    if (text === ".") continue;
    if (text === "..") {
      tree.parent(high, low, entry);
      continue;
    }
    if (!tree.lookup(high, low, name, entry))
      throw new FileSystemError(Errno.ENOENT, "no such file or directory");
    if (!isType(entry, FileType.LINK) || (ahead.length === 0 && !followLast)) continue;
    if (++links > MAX_LINKS) throw new FileSystemError(Errno.ELOOP, "too many levels of symbolic links");
    // Targets in the tree are relative: see links.ts.
    for (const component of componentsOf(tree.readlink(entry.high, entry.low)).reverse())
      ahead.push(component);
    tree.stat(high, low, entry);
  }
}

function componentsOf(path: Buffer): Buffer[] {
  const components: Buffer[] = [];
  for (let at = 0; at < path.length; ) {
    const slash = path.indexOf(SLASH, at);
    const end = slash < 0 ? path.length : slash;
    if (end > at) components.push(path.subarray(at, end));
    at = end + 1;
  }
  return components;
}
