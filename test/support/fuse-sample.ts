/** The tree that the driver tests serve: a bit of everything that a guest may hold. */
import { createHash, type Hash } from "node:crypto";
import { MemoryTree, type Node, TreeError } from "./fuse-tree.js";

const EIO = 5;

/** Bytes that look random and are the same each time; their length is prime, so that no page is like another. */
export const PATTERN: Buffer = (() => {
  const bytes = Buffer.alloc(1_000_003);
  let state = 1;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[i] = state >>> 16;
  }
  return bytes;
})();

export const GIB = 1024 ** 3;
export const BIG_SIZE = 48 * 1024 * 1024 + 4321;
export const LONG_NAME = "n".repeat(255);
/** "café", a line end, a bare 0xff, a blank, and what looks like an escape. */
export const NAMES = [
  "caf\xe9",
  "two\nlines",
  "\xff\xfe",
  " blank ",
  "\\xE9",
  "gr\xc3\xbc\xc3\x9fe",
  LONG_NAME,
];

/** Makes the tree; `timeout`: how long the kernel may keep names and attributes, ms. */
export function sampleTree(timeout: number): MemoryTree {
  const tree = new MemoryTree(timeout);
  const { root } = tree;
  const five = tree.directory(root, "five");
  for (const name of "abcde") tree.file(five, name, `I am ${name}\n`);
  const thousand = tree.directory(root, "thousand");
  for (let i = 0; i < 1000; i++) tree.file(thousand, `t${i}`, `${i}\n`);
  const many = tree.directory(root, "many");
  for (let i = 0; i < 20_000; i++) tree.file(many, `file-${i}`, "");

  tree.file(root, "big", "", {
    size: BIG_SIZE,
    blocks: Math.ceil(BIG_SIZE / 512),
    extents: [{ position: 0, length: BIG_SIZE, bytes: PATTERN }],
  });
  tree.file(root, "sparse", "", {
    size: 16 * GIB,
    blocks: 24,
    extents: [
      { position: 4096, length: 4096, bytes: PATTERN },
      { position: 10 * GIB, length: 8192, bytes: PATTERN },
    ],
  });
  tree.file(root, "huge", "", { size: 2 ** 53 - 1, blocks: 2 ** 44 - 1 });

  const names = tree.directory(root, "names");
  for (const name of NAMES) tree.file(names, name, `named ${name.length}\n`);

  const links = tree.directory(root, "links");
  tree.link(links, "near", "../five/a");
  tree.link(links, "nowhere", "/no/such\xe9/place");
  tree.link(links, "long", "x".repeat(4095));
  tree.link(links, "too-long", "x".repeat(4096));

  const times = tree.directory(root, "times");
  tree.file(times, "before-1970", "", { atime: [-1, 5], mtime: [-1, 999_999_999], ctime: [-86_400, 0] });
  tree.file(times, "year-1901", "", {
    atime: [-(2 ** 31), 0],
    mtime: [-(2 ** 31), 1],
    ctime: [-(2 ** 31), 2],
  });
  tree.file(times, "after-2038", "", {
    atime: [2 ** 31, 7],
    mtime: [2 ** 32 + 5, 1],
    ctime: [2 ** 32 - 1, 0],
  });
  tree.file(times, "year-2446", "", { mtime: [15_032_385_535, 999_999_999], btime: [15_032_385_534, 123] });
  tree.file(times, "born", "", { btime: [1_234_567_890, 987_654_321] });

  const kinds = tree.directory(root, "kinds");
  tree.add(kinds, "pipe", 0o010600);
  tree.add(kinds, "socket", 0o140755);
  tree.add(kinds, "character", 0o020666, { major: 5, minor: 1 });
  tree.add(kinds, "block", 0o060660, { major: 4095, minor: 0xfffff });
  tree.file(kinds, "set-uid", "", { mode: 0o106755, uid: 4_294_967_294, gid: 65_534 });
  tree.file(kinds, "sticky", "x", { mode: 0o101644, nlink: 65_000, blksize: 65_536 });
  tree.file(kinds, "secret", "only root\n", { mode: 0o100600 });

  const attributes = tree.directory(root, "attributes");
  tree.file(attributes, "some", "x", {
    attributes: new Map([
      ["user.text", Buffer.from("value")],
      ["user.guest.security.selinux", Buffer.from("system_u:object_r:etc_t:s0\0")],
      ["user.empty", Buffer.alloc(0)],
      // "größe" in UTF-8.
      ["user.gr\xc3\xb6\xc3\x9fe", Buffer.from("9")],
      ["user.bytes", Buffer.from([0, 255, 10, 61])],
    ]),
  });
  tree.file(attributes, "large", "x", {
    attributes: new Map([["user.large", PATTERN.subarray(0, 65_536)]]),
  });
  tree.file(attributes, "too-large", "x", {
    attributes: new Map([["user.too-large", PATTERN.subarray(0, 65_537)]]),
  });
  tree.file(attributes, "none", "x");

  addBroken(tree, tree.directory(root, "broken"));
  tree.file(tree.directory(root, "live"), "log", "first line\n");
  return tree;
}

function addBroken(tree: MemoryTree, broken: Node): void {
  tree.file(broken, "good", "fine\n");
  tree.file(broken, "damaged", "", { failure: () => new TreeError(EIO) });
  tree.file(broken, "fault", "", { failure: () => new RangeError("offset is out of range") });
  tree.file(broken, "disk", "", {
    failure: () => Object.assign(new Error("EIO: i/o error, read"), { errno: -5, code: "EIO" }),
  });
  tree.file(broken, "odd-errno", "", { failure: () => new TreeError(4711) });
  const half = tree.directory(broken, "half", { failureAfter: 42 });
  for (let i = 0; i < 100; i++) tree.file(half, `h${i}`, "");
  const impossible = tree.directory(broken, "impossible-names");
  for (const name of ["first", "a/b", "nul\0nul", "", "n".repeat(1025), "last"]) {
    tree.file(impossible, name, "");
  }
}

/** SHA-256 of a file's first `length` bytes that come from PATTERN. */
export function patternHash(length: number): string {
  const hash: Hash = createHash("sha256");
  for (let at = 0; at < length; at += PATTERN.length) hash.update(PATTERN.subarray(0, length - at));
  return hash.digest("hex");
}
