/** What a link in a guest says to the host: its target, rooted in the guest's own tree (see links.ts). */
import { Attributes, Errno, FileSystemError, FileType } from "../filesystems/filesystem.js";
import { CloudDirectory } from "./directory.js";
import { type GuestTree, rootedTarget } from "./links.js";
import { Place } from "./place.js";
import { Grant } from "./policy/grant.js";

/** A directory, link or other file of a guest, or a directory of the tree's own within a guest. */
interface Node {
  readonly shown: Place | CloudDirectory;
  /** The inode in the place; 0 in a directory of the tree's own. */
  readonly ino: number;
}

/** Does a target need to know where its link lies? One without ".." that is not absolute leads only further down. */
function dependsOnPlace(target: Buffer): boolean {
  return target[0] === 0x2f || target.includes("..");
}

/**
 * The text for the link with that inode. Throws ESTALE when it is not known in which directory the link was found: the
 * kernel then looks the path up again, by which it becomes known.
 */
export function linkTarget(place: Place, ino: number): Buffer {
  const target = place.fileSystem.readlink(ino);
  if (!dependsOnPlace(target)) return target;
  const directory = place.parentShown(ino);
  const depth = directory === undefined ? undefined : place.depth(directory);
  if (directory === undefined || depth === undefined) {
    throw new FileSystemError(Errno.ESTALE, `link ${ino} has not been looked up`);
  }
  return rootedTarget(target, { shown: place, ino: directory }, depth, new PlaceTree(place.top));
}

class PlaceTree implements GuestTree<Node> {
  readonly root: Node;
  readonly #attributes = new Attributes();

  constructor(top: Place) {
    this.root = { shown: top, ino: top.fileSystem.rootInode };
  }

  parent(directory: Node): Node {
    const { shown, ino } = directory;
    if (shown instanceof CloudDirectory) return rootOf(shown.parent ?? shown);
    if (ino !== shown.fileSystem.rootInode) return { shown, ino: shown.fileSystem.parent(ino) };
    const { parent } = shown;
    if (parent instanceof CloudDirectory) return rootOf(parent);
    return { shown: parent.place, ino: parent.place.fileSystem.parent(parent.covered) };
  }

  child(directory: Node, name: Buffer): Node | undefined {
    const { shown, ino } = directory;
    if (shown instanceof CloudDirectory) {
      const child = shown.child(name.toString("latin1"));
      return child === undefined ? undefined : rootOf(child);
    }
    const found = shown.fileSystem.lookup(ino, name);
    if (found === 0) return undefined;
    const cover = shown.covers.get(found);
    if (cover !== undefined) return cover.access?.isHidden === true ? undefined : rootOf(cover);
    return this.#grant(shown, ino, name, found) === Grant.HIDE ? undefined : { shown, ino: found };
  }

  /** What links hide of names, they are not to tell either. */
  #grant({ access, fileSystem }: Place, directory: number, name: Buffer, ino: number): Grant {
    if (access === undefined) return Grant.SHOW;
    fileSystem.stat(ino, this.#attributes);
    return access.ofName(directory, name, ino, this.#attributes, false);
  }

  kind(node: Node): "directory" | "link" | "other" {
    if (node.shown instanceof CloudDirectory) return "directory";
    node.shown.fileSystem.stat(node.ino, this.#attributes);
    const type = this.#attributes.mode & FileType.MASK;
    if (type === FileType.DIRECTORY) return "directory";
    // Where a link leads whose contents are not shown is not told by others.
    const { access } = node.shown;
    const isShown = access === undefined || access.ofInode(node.ino, this.#attributes) === Grant.SHOW;
    return type === FileType.LINK && isShown ? "link" : "other";
  }

  readlink(link: Node): Buffer {
    return (link.shown as Place).fileSystem.readlink(link.ino);
  }
}

function rootOf(shown: Place | CloudDirectory): Node {
  return { shown, ino: shown instanceof Place ? shown.fileSystem.rootInode : 0 };
}
