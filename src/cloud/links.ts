/**
 * Rooting of a guest's symbolic links. The kernel of the host follows the text that we give it, component by component,
 * from the link's directory on; ".." of the guest's root is the host's directory above it there, and the root itself in
 * the guest. So a text may never climb above the guest's root, whatever other links lie on its way.
 *
 * What holds for every text given out: all its ".." stand at its start, and there are at most as many as the link's
 * directory lies deep. A walk over it climbs through real directories first, at most to the guest's root, and only
 * descends from there. A link that it meets on the way down is answered by such a text of its own. A guest that changes
 * names between our answer and the kernel's walk can thereby lead the walk elsewhere in itself, but not out of itself.
 *
 * What is left is the depth. A text is safe only where the link's directory is at least as deep for the kernel as it
 * was said to be here. The kernel may hold an older place of a directory that the guest has moved since (a working
 * directory, a cached name), and it knows a link by its inode alone, so one text serves all the hard links to it.
 * Hence `depth` must be the least of all the depths at which the kernel may know the link, counted along the names by
 * which the kernel came there: a directory's own ".." on disk is the guest's to write. A smaller one than the true depth
 * leads elsewhere in the guest, a greater one out of it.
 */

/** The guest's tree, as a process in the guest sees it. Nodes are compared by nobody but the implementation. */
export interface GuestTree<Node> {
  readonly root: Node;
  /** The parent of a directory; it is not asked for the root's. */
  parent(directory: Node): Node;
  /** The child of that name, undefined if there is none. Not asked for "." and "..". */
  child(directory: Node, name: Buffer): Node | undefined;
  kind(node: Node): "directory" | "link" | "other";
  /** A link's target as the guest has it, in a buffer that is not used again. */
  readlink(link: Node): Buffer;
}

/** The longest target that readlink(2) and the kernel's walk handle: PATH_MAX less the NUL. */
const MAX_TARGET = 4095;
/** Links that a walk follows before it is ELOOP: the kernel's MAXSYMLINKS. */
const MAX_LINKS = 40;
/** Names that one walk looks up: as many as a target of full length has, twice. */
const MAX_LOOKUPS = 4096;
/** Dangling texts in place of what cannot be told; for people to read. */
const TOO_MANY_LINKS = Buffer.from("too many levels of symbolic links");
const TOO_LONG = Buffer.from("symbolic link too long");

const SLASH = 0x2f;
const SLASH_BYTES = Buffer.from("/");
const DOT = 0x2e;

/**
 * The text that the host's kernel is to be given for a link with the target `target` in `directory`, which lies `depth`
 * directories below the guest's root: it leads where the target leads in the guest, and never out of the guest. Mostly
 * that is the target itself, or with the root's "/" replaced by "../" as often as need be. Only a target with ".." after
 * a name needs the tree, since that name may be a link's; it is given as the path that it comes to. Where the guest finds
 * nothing, neither does the host.
 *
 * At most 4095 bytes. Throws what the tree throws.
 */
export function rootedTarget<Node>(
  target: Buffer,
  directory: Node,
  depth: number,
  tree: GuestTree<Node>,
): Buffer {
  const given = untilNul(target);
  const isAbsolute = given[0] === SLASH;
  const start = endOfClimb(given);
  const climb = isAbsolute ? depth : start.climb;
  if (start.restHasClimb) return resolvedTarget(given, directory, depth, tree);
  if (!isAbsolute && climb <= depth && given.length <= MAX_TARGET) return given;
  return joined(Math.min(climb, depth), given.subarray(start.end));
}

interface Climb {
  /** The ".." before the first name. */
  readonly climb: number;
  /** Where the first name begins, or the end of the target. */
  readonly end: number;
  /** Whether a ".." follows a name. */
  readonly restHasClimb: boolean;
}

function endOfClimb(target: Buffer): Climb {
  let climb = 0;
  let end = -1;
  for (let at = 0; at < target.length; ) {
    const next = endOfComponent(target, at);
    const dots = dotsOf(target, at, next);
    if (dots === 2) {
      if (end >= 0) return { climb, end, restHasClimb: true };
      climb++;
    } else if (dots === 0 && next > at && end < 0) {
      end = at;
    }
    at = next + 1;
  }
  return { climb, end: end < 0 ? target.length : end, restHasClimb: false };
}

/** Walks the target up to its last ".." as the guest does; after that, the text can stand as it is. */
function resolvedTarget<Node>(target: Buffer, directory: Node, depth: number, tree: GuestTree<Node>): Buffer {
  const tail = startOfTail(target);
  const walk = new Walk(directory, depth, tree);
  const unresolved = walk.follow(target.subarray(0, tail));
  if (unresolved === undefined) return TOO_MANY_LINKS;
  const rest = target.subarray(tail);
  if (unresolved.length === 0) return joined(walk.climb, Buffer.concat([...walk.path(), rest]));
  // What is left of the walk would fail in the guest at its first name. That name stays, so that it fails here too.
  const names = [...unresolved, ...componentsOf(rest)].filter((name) => dotsOf(name, 0, name.length) === 0);
  // A slash at the end of the text, so that a name that is no directory fails as one on the way would.
  return joined(walk.climb, Buffer.concat([...walk.path(), ...names.flatMap((name) => [name, SLASH_BYTES])]));
}

/** Where the component after the last ".." begins. */
function startOfTail(target: Buffer): number {
  let tail = 0;
  for (let at = 0; at < target.length; ) {
    const next = endOfComponent(target, at);
    if (dotsOf(target, at, next) === 2) tail = Math.min(next + 1, target.length);
    at = next + 1;
  }
  return tail;
}

/** A walk from a link's directory, its place kept as a climb from there and the names down from where that ends. */
class Walk<Node> {
  climb = 0;
  readonly #tree: GuestTree<Node>;
  readonly #depth: number;
  /** The directory at the end of the climb. */
  #top: Node;
  /** The directories below it, and their names. */
  readonly #below: { name: Buffer; node: Node }[] = [];

  constructor(directory: Node, depth: number, tree: GuestTree<Node>) {
    this.#tree = tree;
    this.#depth = depth;
    this.#top = directory;
  }

  /** The names down from the end of the climb, each with a slash. */
  path(): Buffer[] {
    return this.#below.flatMap(({ name }) => [name, SLASH_BYTES]);
  }

  /**
   * Follows the whole path, which is to lead to a directory. Returns the components that were left when it met a name
   * that is no directory and no link, that name first; undefined if it met more links or names than a walk may.
   */
  follow(path: Buffer): Buffer[] | undefined {
    // The component to be walked next comes last.
    const ahead = componentsOf(path).reverse();
    if (path[0] === SLASH) this.#toRoot();
    let links = 0;
    let lookups = 0;
    for (;;) {
      const name = ahead.pop();
      if (name === undefined) return [];
      const dots = dotsOf(name, 0, name.length);
      if (dots === 2) this.#up();
      if (dots !== 0) continue;
      if (++lookups > MAX_LOOKUPS) return undefined;
      const node = this.#tree.child(this.#here, name);
      const kind = node === undefined ? "other" : this.#tree.kind(node);
      if (node === undefined || kind === "other") return [name, ...ahead.reverse()];
      if (kind === "directory") {
        this.#below.push({ name, node });
        continue;
      }
      if (++links > MAX_LINKS) return undefined;
      const target = untilNul(this.#tree.readlink(node));
      if (target[0] === SLASH) this.#toRoot();
      for (const component of componentsOf(target).reverse()) ahead.push(component);
    }
  }

  get #here(): Node {
    return this.#below.at(-1)?.node ?? this.#top;
  }

  #toRoot(): void {
    this.#below.length = 0;
    this.climb = this.#depth;
    this.#top = this.#tree.root;
  }

  #up(): void {
    if (this.#below.pop() !== undefined || this.climb === this.#depth) return;
    this.climb++;
    this.#top = this.climb === this.#depth ? this.#tree.root : this.#tree.parent(this.#top);
  }
}

/** The text of a climb and a path from there without ".." in it; "." if both are nothing. */
function joined(climb: number, path: Buffer): Buffer {
  const up = "../".repeat(climb);
  let start = 0;
  // A slash here would make the text absolute, or has been said by the climb.
  while (path[start] === SLASH) start++;
  const length = up.length + path.length - start;
  if (length === 0) return Buffer.from(".");
  if (length <= MAX_TARGET) return Buffer.concat([Buffer.from(up), path.subarray(start)]);
  const names = componentsOf(path).map((name) => name.toString("latin1"));
  const shorter = Buffer.from(up + names.join("/"), "latin1");
  return shorter.length <= MAX_TARGET ? shorter : TOO_LONG;
}

/** The components of a path but "" and ".". */
function componentsOf(path: Buffer): Buffer[] {
  const components: Buffer[] = [];
  for (let at = 0; at < path.length; ) {
    const next = endOfComponent(path, at);
    if (next > at && dotsOf(path, at, next) !== 1) components.push(path.subarray(at, next));
    at = next + 1;
  }
  return components;
}

/** What the kernel sees of a target: a NUL ends it. */
function untilNul(target: Buffer): Buffer {
  const end = target.indexOf(0);
  return end < 0 ? target : target.subarray(0, end);
}

function endOfComponent(path: Buffer, start: number): number {
  const slash = path.indexOf(SLASH, start);
  return slash < 0 ? path.length : slash;
}

/** 1 for ".", 2 for "..", 0 for anything else. */
function dotsOf(path: Buffer, start: number, end: number): number {
  const length = end - start;
  if (length === 1) return path[start] === DOT ? 1 : 0;
  return length === 2 && path[start] === DOT && path[start + 1] === DOT ? 2 : 0;
}
