/** A place in the tree where a volume is shown: a guest's root, a mount point of the guest's, `.volumes/<name>`. */
import type { FileSystem } from "../filesystems/filesystem.js";
import type { CloudDirectory } from "./directory.js";
import { InodeSet } from "./inode-set.js";

/** How many links' directories are remembered a place; a forgotten one is asked for again. */
const MOST_LINKS = 65536;

/** Where a place hangs in another one. */
export interface Hook {
  readonly place: Place;
  /** The directory that is covered. */
  readonly covered: number;
}

export class Place {
  /** Unique in the tree, the same after a restart; see ids.ts. */
  readonly id: number;
  /** Replaced when the volume is opened afresh. */
  fileSystem: FileSystem;
  /** The inodes that somebody was told of, who may still hold what he was told. */
  readonly told = new InodeSet();
  /** Where ".." of its root leads: a directory of the tree's own, or the parent of a covered directory. */
  readonly parent: CloudDirectory | Hook;
  /** The `.volumes` of the guest whose root this is. */
  volumes: CloudDirectory | undefined;
  /** Where the guest's absolute links begin: its root, or, if it has none, its directory. */
  top: Place | CloudDirectory;
  /** How long the kernel may keep names and attributes, ms. */
  timeout: number;
  /** Places that cover directories of this one, by the directory's inode. */
  readonly covers = new Map<number, Place>();
  /** The directory in which a link was seen last. */
  readonly #linkDirectories = new Map<number, number>();

  constructor(
    id: number,
    fileSystem: FileSystem,
    parent: CloudDirectory | Hook,
    top: Place | CloudDirectory | undefined,
    timeout: number,
  ) {
    this.id = id;
    this.fileSystem = fileSystem;
    this.parent = parent;
    this.top = top ?? this;
    this.timeout = timeout;
  }

  /** Notes in which directory a link was found; for one with several names, `depth` tells the directory to keep. */
  noteLink(link: number, directory: number, names: number, depth: (directory: number) => number): void {
    const links = this.#linkDirectories;
    const known = links.get(link);
    if (known === directory) return;
    // One text serves all names of a link, and is safe only if it climbs no higher than the least deep of them allows.
    if (known !== undefined && names > 1 && depth(known) <= depth(directory)) return;
    if (links.size >= MOST_LINKS) links.delete(links.keys().next().value as number);
    links.set(link, directory);
  }

  linkDirectory(link: number): number | undefined {
    return this.#linkDirectories.get(link);
  }
}
