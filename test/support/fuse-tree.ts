/** A small tree in memory: what drivers are tested with. Made the same way twice, it is the same, ids and all. */
import type { Attributes, Entry, Statistics, Tree, TreeVisitor } from "../../src/cloud/tree.js";

export const DIRECTORY = 0o040000;
export const REGULAR = 0o100000;
export const LINK = 0o120000;

const ENOENT = 2;
const EIO = 5;
const ENOTDIR = 20;
const ESTALE = 116;

/** A tree's failure that is an answer. */
export class TreeError extends Error {
  constructor(readonly errno: number) {
    super(`errno ${errno}`);
  }
}

/** Bytes at a place of a file; what lies between is a hole. */
export interface Extent {
  position: number;
  /** Bytes; what `bytes` is too short for comes from its start again. */
  length: number;
  bytes: Buffer;
}

/** Seconds and nanoseconds. */
export type Time = readonly [number, number];

/** One file, and what is told of it. */
export interface Node {
  high: number;
  low: number;
  generation: number;
  mode: number;
  nlink: number;
  uid: number;
  gid: number;
  major: number;
  minor: number;
  size: number;
  blocks: number;
  blksize: number;
  atime: Time;
  mtime: Time;
  ctime: Time;
  btime: Time;
  /** ms */
  timeout: number;
  parent: Node;
  /** Of a directory, by name (Latin-1, so that each byte is one character). */
  children: Map<string, Node>;
  extents: Extent[];
  target: Buffer;
  attributes: Map<string, Buffer>;
  /** Thrown when the node itself is asked for anything. */
  failure: (() => Error) | undefined;
  /** Thrown when a listing gets so far. */
  failureAfter: number;
}

const NONE: Time = [0, 0];

/** A tree of nodes that are made by hand. */
export class MemoryTree implements Tree {
  readonly root: Node;
  /** Called by refresh: changes made since. */
  onRefresh: () => void = () => {};
  /** Told how many nodes the kernel has: those that it was told of more often than it has forgotten them. */
  onHeld: (count: number) => void = () => {};
  readonly #held = new Map<string, number>();
  readonly #nodes = new Map<number, Node>();
  #last = 0;
  readonly #timeout: number;

  /** `timeout`: how long the kernel may keep names and attributes, ms. */
  constructor(timeout: number) {
    this.#timeout = timeout;
    this.root = this.#make(undefined, DIRECTORY | 0o755);
  }

  #make(parent: Node | undefined, mode: number): Node {
    this.#last++;
    const node = {
      // Ids and inode numbers need all of their 64 bits, but for the root's.
      high: parent === undefined ? 0 : 0x9000_0000 + (this.#last % 7),
      low: this.#last,
      generation: this.#last * 3,
      mode,
      nlink: (mode & 0o170000) === DIRECTORY ? 2 : 1,
      uid: 0,
      gid: 0,
      major: 0,
      minor: 0,
      size: 0,
      blocks: 0,
      blksize: 4096,
      atime: [1_700_000_000, 1] as Time,
      mtime: [1_600_000_000, 123_456_789] as Time,
      ctime: [1_650_000_000, 999_999_999] as Time,
      btime: NONE,
      timeout: this.#timeout,
      children: new Map<string, Node>(),
      extents: [] as Extent[],
      target: Buffer.alloc(0),
      attributes: new Map<string, Buffer>(),
      failure: undefined,
      failureAfter: Number.POSITIVE_INFINITY,
    };
    const made: Node = Object.assign(node, { parent: parent as Node });
    if (parent === undefined) made.parent = made;
    this.#nodes.set(made.low, made);
    return made;
  }

  /** Puts a new node into a directory; `name` is Latin-1. */
  add(parent: Node, name: string, mode: number, more: Partial<Node> = {}): Node {
    const node = Object.assign(this.#make(parent, mode), more);
    parent.children.set(name, node);
    return node;
  }

  directory(parent: Node, name: string, more: Partial<Node> = {}): Node {
    return this.add(parent, name, DIRECTORY | 0o755, more);
  }

  /** A file of bytes without holes. */
  file(parent: Node, name: string, bytes: Buffer | string, more: Partial<Node> = {}): Node {
    const content = Buffer.from(bytes);
    const size = content.length;
    const extents = size === 0 ? [] : [{ position: 0, length: size, bytes: content }];
    return this.add(parent, name, REGULAR | 0o644, { size, blocks: Math.ceil(size / 512), extents, ...more });
  }

  link(parent: Node, name: string, target: string): Node {
    const bytes = Buffer.from(target, "latin1");
    return this.add(parent, name, LINK | 0o777, { size: bytes.length, target: bytes });
  }

  /** The node at a path from the root, of names in Latin-1. */
  at(path: string): Node {
    let node = this.root;
    for (const name of path.split("/").filter((part) => part !== "")) {
      const child = node.children.get(name);
      if (child === undefined) throw new Error(`no ${name} in ${path}`);
      node = child;
    }
    return node;
  }

  #node(high: number, low: number): Node {
    const node = this.#nodes.get(low);
    if (node === undefined || node.high !== high) throw new TreeError(ESTALE);
    if (node.failure !== undefined) throw node.failure();
    return node;
  }

  #directory(high: number, low: number): Node {
    const node = this.#node(high, low);
    if ((node.mode & 0o170000) !== DIRECTORY) throw new TreeError(ENOTDIR);
    return node;
  }

  refresh(): void {
    this.onRefresh();
  }

  holds(): boolean {
    return true;
  }

  lookup(high: number, low: number, name: Buffer, out: Entry): boolean {
    const child = this.#directory(high, low).children.get(name.toString("latin1"));
    if (child === undefined) return false;
    fill(this.#node(child.high, child.low), out);
    return true;
  }

  parent(high: number, low: number, out: Entry): void {
    fill(this.#directory(high, low).parent, out);
  }

  stat(high: number, low: number, out: Entry): void {
    fill(this.#node(high, low), out);
  }

  entry(inoHigh: number, ino: number, out: Entry): void {
    fill(this.#node(inoHigh, ino), out);
  }

  list(high: number, low: number, position: number, visitor: TreeVisitor): void {
    const directory = this.#directory(high, low);
    const entries: [string, Node][] = [[".", directory], ["..", directory.parent], ...directory.children];
    for (let i = position; i < entries.length; i++) {
      if (i >= directory.failureAfter) throw new TreeError(EIO);
      const [name, node] = entries[i] as [string, Node];
      // The name lies somewhere in a block, as in a real directory.
      const block = Buffer.from(`block ${name} block`, "latin1");
      if (!visitor.entry(block, 6, block.length - 12, node.high, node.low, node.mode >> 12, i + 1)) return;
    }
  }

  read(
    high: number,
    low: number,
    position: number,
    length: number,
    target: Buffer,
    targetOffset: number,
  ): number {
    const node = this.#node(high, low);
    const count = Math.max(0, Math.min(length, node.size - position));
    if (!covered(node.extents[0], position, count)) target.fill(0, targetOffset, targetOffset + count);
    for (const extent of node.extents) {
      const start = Math.max(position, extent.position);
      const end = Math.min(position + count, extent.position + extent.length);
      for (let at = start; at < end; ) {
        const from = (at - extent.position) % extent.bytes.length;
        at += extent.bytes.copy(target, targetOffset + at - position, from, from + end - at);
      }
    }
    return count;
  }

  seek(high: number, low: number, position: number, hole: boolean): number {
    const node = this.#node(high, low);
    if (position >= node.size) return -1;
    let at = position;
    for (const extent of node.extents) {
      if (extent.position > at) return hole ? at : extent.position;
      if (at < extent.position + extent.length) {
        if (!hole) return at;
        at = extent.position + extent.length;
      }
    }
    return hole ? at : -1;
  }

  readlink(high: number, low: number): Buffer {
    return this.#node(high, low).target;
  }

  attributeNames(high: number, low: number): string[] {
    return [...this.#node(high, low).attributes.keys()];
  }

  attribute(high: number, low: number, name: string): Buffer | undefined {
    return this.#node(high, low).attributes.get(name);
  }

  told(high: number, low: number, generation: number): void {
    const key = `${high} ${low}`;
    if (this.#nodes.get(low)?.generation !== generation)
      throw new Error(`${key} was told with ${generation}`);
    this.#held.set(key, (this.#held.get(key) ?? 0) + 1);
    this.onHeld(this.#held.size);
  }

  forgotten(high: number, low: number, times: number): void {
    const key = `${high} ${low}`;
    const left = (this.#held.get(key) ?? 0) - times;
    if (left === 0) this.#held.delete(key);
    else this.#held.set(key, left);
    this.onHeld(this.#held.size);
  }

  statistics(high: number, low: number, out: Statistics): void {
    out.blockSize = 1024;
    out.blocks = 5_000_000_000;
    out.blocksFree = 4_900_000_000;
    out.blocksAvailable = 4_800_000_000;
    // Each directory counts its own files, as each guest would.
    out.files = this.#node(high, low).children.size;
    out.filesFree = 7;
    out.nameLength = 255;
  }

  /** Takes a name out of a directory, and its node with it. */
  remove(parent: Node, name: string): void {
    const node = parent.children.get(name);
    if (node === undefined) throw new TreeError(ENOENT);
    parent.children.delete(name);
    this.#nodes.delete(node.low);
  }
}

function covered(extent: Extent | undefined, position: number, count: number): boolean {
  return (
    extent !== undefined && extent.position <= position && position + count <= extent.position + extent.length
  );
}

function fill(node: Node, out: Entry): void {
  out.high = node.high;
  out.low = node.low;
  out.generation = node.generation;
  out.inoHigh = node.high;
  out.timeout = node.timeout;
  const attributes: Attributes = out.attributes;
  attributes.ino = node.low;
  attributes.generation = node.generation;
  attributes.mode = node.mode;
  attributes.nlink = node.nlink;
  attributes.uid = node.uid;
  attributes.gid = node.gid;
  attributes.major = node.major;
  attributes.minor = node.minor;
  attributes.size = node.size;
  attributes.blocks = node.blocks;
  attributes.blksize = node.blksize;
  [attributes.atime, attributes.atimeNsec] = node.atime;
  [attributes.mtime, attributes.mtimeNsec] = node.mtime;
  [attributes.ctime, attributes.ctimeNsec] = node.ctime;
  [attributes.btime, attributes.btimeNsec] = node.btime;
}
