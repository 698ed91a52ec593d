/**
 * The tree's interface: what a driver (the kernel's FUSE protocol, libfuse) asks, and nothing of how it is answered.
 *
 * A node is named by two unsigned 32-bit halves of a 64-bit id, so that no BigInt is needed. The root is (0, 1).
 * Ids are the same after a restart. A node is bound to an inode and its generation, never to a path: when the guest
 * has used the inode again for another file, the old id answers ESTALE.
 *
 * Methods throw an error with a numeric `errno` (a positive Linux errno); anything else thrown is a fault of ours,
 * which a driver answers with EIO and logs.
 */
import type { Attributes, Statistics } from "../filesystems/filesystem.js";

export { Attributes, Statistics } from "../filesystems/filesystem.js";

/** A node with its attributes, filled in place and used again. */
export interface Entry {
  /** The node's id. */
  high: number;
  low: number;
  /** For NFS handles: with the id it names one file for ever. */
  generation: number;
  /** Upper half of st_ino; the lower is `attributes.ino`. */
  inoHigh: number;
  attributes: Attributes;
  /** How long the kernel may keep the name and the attributes, ms. */
  timeout: number;
}

/** Takes the entries of a directory one by one, as EntryVisitor does, with st_ino in two halves. */
export interface TreeVisitor {
  entry(
    name: Buffer,
    nameOffset: number,
    nameLength: number,
    inoHigh: number,
    ino: number,
    type: number,
    next: number,
  ): boolean;
}

export interface Tree {
  /** Takes in what has changed since. Drivers call it before each request; must be cheap when nothing has. */
  refresh(): void;
  /**
   * Whether what was answered since the last refresh, errors among it, is of one version. False: the guest has moved on
   * meanwhile, and the request is to be answered again, from `refresh` on. Drivers call it after each request; it must
   * be cheap when nothing was read of an image.
   */
  holds(): boolean;
  /** Fills `out` with the child of that name; false if there is none. */
  lookup(high: number, low: number, name: Buffer, out: Entry): boolean;
  /** Fills `out` with the directory's parent; the root's is the root. */
  parent(high: number, low: number, out: Entry): void;
  /** Fills `out` with the node itself. */
  stat(high: number, low: number, out: Entry): void;
  /** Fills `out` with the node that a visitor was told of by its st_ino. */
  entry(inoHigh: number, ino: number, out: Entry): void;
  /** Visits the directory's entries from `position` on, "." and ".." among them. */
  list(high: number, low: number, position: number, visitor: TreeVisitor): void;
  /** Reads at most `length` bytes into `target`; returns how many there were up to the end of the file. */
  read(
    high: number,
    low: number,
    position: number,
    length: number,
    target: Buffer,
    targetOffset: number,
  ): number;
  /** SEEK_DATA, or SEEK_HOLE with `hole`. -1: ENXIO. */
  seek(high: number, low: number, position: number, hole: boolean): number;
  /** A link's target as the user is to see it: never leading out of its guest. */
  readlink(high: number, low: number): Buffer;
  /** Extended attributes as the user sees them; names are strings of one character a byte. */
  attributeNames(high: number, low: number): string[];
  attribute(high: number, low: number, name: string): Buffer | undefined;
  statistics(high: number, low: number, out: Statistics): void;
  /**
   * The kernel is sent a node, and has it until it has forgotten it as often as it was sent it. Drivers that do not tell
   * have nodes of deleted files mixed up with others, which happens once in thousands of times.
   */
  told(high: number, low: number, generation: number): void;
  forgotten(high: number, low: number, times: number): void;
}
