/** Finding a path in a guest's own tree, links followed as in the guest. */
import { Attributes, FileType } from "../filesystems/filesystem.js";
import type { Place } from "./place.js";

/** Links that a walk follows: the kernel's MAXSYMLINKS. */
const MAX_LINKS = 40;
/** Components that a walk looks up in all. */
const MAX_LOOKUPS = 4096;
const SLASH = 0x2f;

/** A file in a place. */
export interface Resolved {
  readonly place: Place;
  readonly ino: number;
  /** A FileType. */
  readonly type: number;
}

/**
 * The file that a path from the guest's root leads to; undefined if there is none, or the way there cannot be read.
 * What is mounted on the way counts.
 */
export function resolvePath(root: Place, names: readonly Buffer[]): Resolved | undefined {
  try {
    return walk(root, names);
  } catch (error) {
    // Whatever is bad there is reported when a user comes upon it.
    if (typeof (error as { errno?: number }).errno === "number") return undefined;
    throw error;
  }
}

function walk(root: Place, names: readonly Buffer[]): Resolved | undefined {
  const attributes = new Attributes();
  const ahead = [...names].reverse();
  // The directories from the root to where the walk is.
  const way = [{ place: root, ino: root.fileSystem.rootInode }];
  let links = 0;
  for (let lookups = 0; lookups < MAX_LOOKUPS; lookups++) {
    const here = way[way.length - 1] as { place: Place; ino: number };
    const name = ahead.pop();
    if (name === undefined) return { ...here, type: FileType.DIRECTORY };
    const text = name.toString("latin1");
    if (text === "." || text === "") continue;
    if (text === "..") {
      if (way.length > 1) way.pop();
      continue;
    }
    const found = here.place.fileSystem.lookup(here.ino, name);
    if (found === 0) return undefined;
    const cover = here.place.covers.get(found);
    const place = cover ?? here.place;
    const ino = cover === undefined ? found : cover.fileSystem.rootInode;
    place.fileSystem.stat(ino, attributes);
    const type = attributes.mode & FileType.MASK;
    if (type === FileType.DIRECTORY) way.push({ place, ino });
    else if (type === FileType.LINK) {
      if (++links > MAX_LINKS) return undefined;
      const target = place.fileSystem.readlink(ino);
      if (target[0] === SLASH) way.length = 1;
      for (const component of target.toString("latin1").split("/").reverse())
        ahead.push(Buffer.from(component, "latin1"));
    } else return ahead.length === 0 ? { place, ino, type } : undefined;
  }
  return undefined;
}
