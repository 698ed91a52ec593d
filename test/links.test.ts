import { execFileSync } from "node:child_process";
import { lstatSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type GuestTree, rootedTarget } from "../src/cloud/links.js";

interface Node {
  readonly kind: "directory" | "link" | "other";
  readonly parent: Node | undefined;
  readonly name: string;
  /** A directory's. Names and targets have one character a byte. */
  readonly children: Map<string, Node>;
  target: string;
}

function add(parent: Node | undefined, name: string, kind: Node["kind"], target = ""): Node {
  const node: Node = { kind, parent, name, children: new Map(), target };
  parent?.children.set(name, node);
  return node;
}

function depthOf(node: Node): number {
  return node.parent === undefined ? 0 : 1 + depthOf(node.parent);
}

function pathOf(node: Node): string {
  return node.parent === undefined ? "" : `${pathOf(node.parent)}/${node.name}`;
}

function all(node: Node): Node[] {
  return [node, ...[...node.children.values()].flatMap(all)];
}

class Guest implements GuestTree<Node> {
  readonly root = add(undefined, "", "directory");
  lookups = 0;

  parent(directory: Node): Node {
    if (directory.parent === undefined) throw new Error("asked for the root's parent");
    return directory.parent;
  }

  child(directory: Node, name: Buffer): Node | undefined {
    this.lookups++;
    expect(directory.kind).toBe("directory");
    return directory.children.get(name.toString("latin1"));
  }

  kind(node: Node): Node["kind"] {
    return node.kind;
  }

  readlink(link: Node): Buffer {
    return Buffer.from(link.target, "latin1");
  }

  /** Makes what a path names, with the directories on the way. `path -> target` is a link. */
  make(...paths: string[]): this {
    for (const path of paths) {
      const [place, target] = path.split(" -> ") as [string, string | undefined];
      const names = place.split("/").filter((name) => name !== "");
      const last = names.pop()!;
      let directory = this.root;
      for (const name of names) {
        directory = directory.children.get(name) ?? add(directory, name, "directory");
      }
      if (target !== undefined) add(directory, last, "link", target);
      else add(directory, last, place.endsWith("/") ? "directory" : "other");
    }
    return this;
  }

  at(path: string): Node {
    let node = this.root;
    for (const name of path.split("/")) if (name !== "") node = node.children.get(name)!;
    return node;
  }

  /** The text that the host sees for the link at a path. */
  text(path: string): string {
    return textOf(this, this.at(path));
  }
}

function textOf(guest: Guest, link: Node): string {
  const directory = link.parent!;
  return rootedTarget(guest.readlink(link), directory, depthOf(directory), guest).toString("latin1");
}

type Outcome = Node | "ENOENT" | "ENOTDIR" | "ELOOP" | "left the guest";

/** A walk as the kernel does it. `root`: "stays" as for a process in the guest, "leaves" as on the host. */
function walk(
  from: Node,
  path: string,
  readlink: (link: Node) => string,
  root: "stays" | "leaves",
  maxLinks = 40,
): Outcome {
  let here = from;
  let links = 0;
  const ahead: string[] = [];
  const push = (text: string): boolean => {
    if (text.startsWith("/")) {
      if (root === "leaves") return false;
      while (here.parent !== undefined) here = here.parent;
    }
    ahead.push(...text.split("/").reverse());
    return true;
  };
  if (!push(path)) return "left the guest";
  for (;;) {
    const name = ahead.pop();
    if (name === undefined) return here;
    if (here.kind !== "directory") return "ENOTDIR";
    if (name === "" || name === ".") continue;
    if (name === "..") {
      if (here.parent === undefined && root === "leaves") return "left the guest";
      here = here.parent ?? here;
      continue;
    }
    const child = here.children.get(name);
    if (child === undefined) return "ENOENT";
    if (child.kind !== "link") {
      here = child;
      continue;
    }
    if (++links > maxLinks) return "ELOOP";
    if (!push(readlink(child))) return "left the guest";
  }
}

const inGuest = (link: Node, maxLinks = 40) =>
  walk(link.parent!, link.name, (each) => each.target, "stays", maxLinks);
const onHost = (guest: Guest, link: Node) =>
  walk(link.parent!, link.name, (each) => textOf(guest, each), "leaves");

/** Expects the form that cannot lead out whatever the names stand for: ".." at the start only, and few enough. */
function expectSafeForm(text: string, depth: number): void {
  const names = text.split("/").filter((name) => name !== "" && name !== ".");
  const climb = names.findIndex((name) => name !== "..");
  const leading = climb < 0 ? names.length : climb;
  expect(text.startsWith("/"), text).toBe(false);
  expect(leading, text).toBeLessThanOrEqual(depth);
  expect(names.slice(leading), text).not.toContain("..");
  expect(Buffer.byteLength(text, "latin1")).toBeLessThanOrEqual(4095);
}

describe("a link's target is shown as in the guest", () => {
  it.each([
    "x",
    "x/y",
    "./x",
    "x//y/./z/",
    "../x",
    "../../x",
    ".././../x/",
    "..",
    "../..",
    ".",
    "...",
    "..x/..y",
    "x..",
    "\xff\xfe\n/\x80",
  ])("if it is harmless: %j", (target) => {
    const guest = new Guest().make(`a/b/link -> ${target}`);
    expect(guest.text("a/b/link")).toBe(target);
    expect(guest.lookups).toBe(0);
  });

  it("if it is as long as a target can be", () => {
    const guest = new Guest().make(`link -> ${"y".repeat(4095)}`);
    expect(guest.text("link")).toBe("y".repeat(4095));
  });

  it("in the same buffer, so that nothing is made for it", () => {
    const guest = new Guest().make("a/b/");
    const target = Buffer.from("../x");
    expect(rootedTarget(target, guest.at("a/b"), 2, guest)).toBe(target);
  });
});

describe("a target that is absolute or climbs too far is rooted in the guest", () => {
  it.each([
    ["/etc/passwd", 0, "etc/passwd"],
    ["/etc/passwd", 1, "../etc/passwd"],
    ["/etc/passwd", 3, "../../../etc/passwd"],
    ["//etc//x/", 1, "../etc//x/"],
    ["/./etc/./x", 1, "../etc/./x"],
    ["/../../etc", 2, "../../etc"],
    ["/", 0, "."],
    ["/", 2, "../../"],
    ["/..", 1, "../"],
    ["../x", 0, "x"],
    ["..", 0, "."],
    ["../../../..", 2, "../../"],
    ["../../../etc/passwd", 1, "../etc/passwd"],
    ["./..//./../x", 1, "../x"],
  ])("%s at depth %i is %s", (target, depth, text) => {
    const guest = new Guest();
    expect(rootedTarget(Buffer.from(target), guest.root, depth, guest).toString()).toBe(text);
    expect(guest.lookups).toBe(0);
  });

  it("with the bytes of its names as they are", () => {
    const guest = new Guest().make("a/link -> /\xff\xfe\n/caf\xe9");
    expect(guest.text("a/link")).toBe("../\xff\xfe\n/caf\xe9");
  });

  it("up to the NUL where the kernel stops reading", () => {
    const guest = new Guest().make(
      "a/one -> /etc\0/../..",
      "a/two -> x/y\0/../../../..",
      "a/x/",
      "z -> a\0b/c",
    );
    expect(guest.text("a/one")).toBe("../etc");
    expect(guest.text("a/two")).toBe("x/y");
    guest.make("a/three -> /z/../q");
    expect(guest.text("a/three")).toBe("../q");
  });
});

describe("a target with .. after a name is resolved as the guest would", () => {
  const guest = new Guest().make(
    "etc/passwd",
    "usr/lib/x/",
    "deep/er/and/deeper/file",
    "links/deep -> ../deep/er/and/deeper",
    "links/root -> /",
    "links/up -> ../..",
    "links/absolute -> /usr/lib",
    "links/loop -> loop",
    "links/self -> self/../self",
    "links/a -> b/../c",
    "links/b -> a/../c",
    "links/file -> ../etc/passwd",
    "links/gone -> nowhere",
    "links/dots -> deep/../../and",
  );
  it.each([
    // Through plain directories.
    ["usr/t", "lib/../lib/x", "lib/x"],
    ["usr/t", "lib/x/../../../etc/passwd", "../etc/passwd"],
    ["usr/t", "lib/..", "."],
    ["usr/t", "../usr/lib/..", "../usr/"],
    ["t", "usr/lib/../../../../../etc/passwd", "etc/passwd"],
    ["usr/t", "/usr/lib/../../../../etc/passwd", "../etc/passwd"],
    ["usr/t", "lib/x/../y/gone/", "lib/y/gone/"],
    ["usr/t", "lib/..//lib/x", "lib/x"],
    ["usr/t", "lib/..//./lib/x", "./lib/x"],
    ["usr/t", "lib/..///", "."],
    // A link to a deep place: fewer steps up than it seems.
    ["links/t", "deep/../../../../etc/passwd", "../etc/passwd"],
    ["links/t", "deep/../file", "../deep/er/and/file"],
    ["links/t", "dots/..", "../deep/er/"],
    // A link to a shallow place: text that counts well, and climbs out.
    ["links/t", "root/../etc/passwd", "../etc/passwd"],
    ["links/t", "up/../../../../../etc/passwd", "../etc/passwd"],
    ["deep/er/and/deeper/t", "../../../../links/root/../../etc/passwd", "../../../../etc/passwd"],
    ["links/t", "absolute/../../etc/passwd", "../etc/passwd"],
    ["links/t", "absolute/../lib/../../..", "../"],
    // What the guest does not find, the host does not find either.
    ["links/t", "nowhere/../../etc/passwd", "nowhere/etc/passwd/"],
    ["links/t", "gone/../../../etc/passwd", "nowhere/etc/passwd/"],
    ["links/t", "file/../../../etc/passwd", "../etc/passwd/etc/passwd/"],
    ["links/t", "file/..", "../etc/passwd/"],
    ["usr/t", "lib/none/..", "lib/none/"],
  ])("%s -> %s is %s", (place, target, text) => {
    guest.make(`${place} -> ${target}`);
    const link = guest.at(place);
    expect(guest.text(place)).toBe(text);
    expect(onHost(guest, link)).toBe(inGuest(link));
  });

  it.each(["loop/../../etc/passwd", "self/..", "a/../../etc/passwd", "b/.."])("%s ends nowhere", (target) => {
    guest.make(`links/t -> ${target}`);
    expect(inGuest(guest.at("links/t"))).toBe("ELOOP");
    expect(["ELOOP", "ENOENT"]).toContain(onHost(guest, guest.at("links/t")));
    expectSafeForm(guest.text("links/t"), 1);
  });

  it("also at the end of a chain that doubles with each link", () => {
    const paths = ["d/l0 -> x", "d/x/"];
    for (let level = 1; level <= 30; level++) {
      paths.push(`d/l${level} -> l${level - 1}/../l${level - 1}/../l${level - 1}`);
    }
    const hostile = new Guest().make(...paths);
    expect(hostile.text("d/l30")).toBe("too many levels of symbolic links");
    expect(hostile.lookups).toBeLessThan(200);
    expect(onHost(hostile, hostile.at("d/l2"))).toBe(hostile.at("d/x"));
  });

  it("with a bounded number of names looked up", () => {
    const target = `${"x/../".repeat(800)}l`;
    const hostile = new Guest().make(
      "d/x/",
      ...[...Array(40)].map((_, n) => `d/l${n} -> ${target}${n + 1}/..`),
    );
    expectSafeForm(hostile.text("d/l0"), 1);
    expect(hostile.lookups).toBeLessThan(5000);
  });
});

describe("a target that is too long with its way to the root", () => {
  it("loses what it can lose, and else leads nowhere", () => {
    const guest = new Guest();
    const deep = (target: string) => rootedTarget(Buffer.from(target), guest.root, 20, guest).toString();
    const name = "n".repeat(200);
    expect(deep(`/${"/./".repeat(1000)}${name}`)).toBe("../".repeat(20) + name);
    expect(deep(`/${`${name}//././`.repeat(19)}`)).toBe("../".repeat(20) + `${name}//././`.repeat(19));
    expect(deep(`/${`${name}//././`.repeat(20)}`)).toBe("../".repeat(20) + Array(20).fill(name).join("/"));
    expect(deep(`/${`${name}/`.repeat(20)}end`)).toBe(`${"../".repeat(20) + `${name}/`.repeat(20)}end`);
    expect(deep(`/${"n/".repeat(2040)}`)).toBe("symbolic link too long");
  });
});

/** Numbers from 0 up to `limit`, the same in each run. */
function randomNumbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
}

const NAMES = ["a", "b", "c", "d", "e", "\xff"];

function randomTarget(guest: Guest, random: (limit: number) => number): string {
  const parts: string[] = [];
  for (let count = 1 + random(4); count > 0; count--) {
    const kind = random(8);
    if (kind < 3) parts.push("../".repeat(1 + random(4)).slice(0, -1));
    else if (kind < 6) parts.push(NAMES[random(NAMES.length)]!);
    else if (kind < 7) parts.push(random(2) === 0 ? "." : "");
    else {
      const nodes = all(guest.root);
      parts.push(pathOf(nodes[random(nodes.length)]!).slice(1));
    }
  }
  const target = (random(3) === 0 ? "/" : "") + parts.join("/") + (random(8) === 0 ? "/" : "");
  return target === "" ? "." : target;
}

function randomGuest(seed: number): Guest {
  const random = randomNumbers(seed);
  const guest = new Guest();
  const directories = [guest.root];
  for (let count = 0; count < 25; count++) {
    const parent = directories[random(directories.length)]!;
    const name = NAMES[random(NAMES.length)]!;
    if (parent.children.has(name)) continue;
    const kind = random(10);
    if (kind < 4) directories.push(add(parent, name, "directory"));
    else if (kind < 5) add(parent, name, "other");
    else add(parent, name, "link");
  }
  for (const node of all(guest.root)) if (node.kind === "link") node.target = randomTarget(guest, random);
  return guest;
}

const links = (guest: Guest) => all(guest.root).filter((node) => node.kind === "link");

describe("whatever links a guest has", () => {
  it("a walk on the host ends where it ends in the guest, and never leaves it", () => {
    const outcomes = new Map<string, number>();
    for (let seed = 0; seed < 2500; seed++) {
      const guest = randomGuest(seed);
      for (const link of links(guest)) {
        expectSafeForm(textOf(guest, link), depthOf(link.parent!));
        const expected = inGuest(link);
        const seen = onHost(guest, link);
        const name = typeof expected === "string" ? expected : expected.kind;
        outcomes.set(name, (outcomes.get(name) ?? 0) + 1);
        const story = `${seed}: ${pathOf(link)} -> ${link.target}, on the host ${textOf(guest, link)}`;
        expect(seen, story).not.toBe("left the guest");
        if (expected !== "ELOOP") expect(seen, story).toBe(expected);
        // A chain of more than 40 links may be shorter on the host, where it ends at all.
        else if (typeof seen !== "string") expect(seen, story).toBe(inGuest(link, 100_000));
      }
    }
    for (const outcome of ["directory", "other", "ENOENT", "ENOTDIR", "ELOOP"]) {
      expect(outcomes.get(outcome), outcome).toBeGreaterThan(100);
    }
  }, 120_000);

  it("a walk on the host does not leave a guest that changes all names after it gave the texts", () => {
    for (let seed = 0; seed < 1500; seed++) {
      const random = randomNumbers(seed);
      const guest = randomGuest(seed);
      const texts = new Map(links(guest).map((link) => [link, textOf(guest, link)]));
      for (const node of all(guest.root)) {
        if (node.parent === undefined || random(2) === 0) continue;
        // A directory's name becomes a link's, and a link leads elsewhere; who holds the old directory still may.
        if (node.kind === "link") node.target = randomTarget(guest, random);
        else add(node.parent, node.name, "link", random(2) === 0 ? "/" : randomTarget(guest, random));
      }
      for (const [link, text] of texts) {
        const outcome = walk(link.parent!, text, (each) => texts.get(each) ?? textOf(guest, each), "leaves");
        expect(outcome, `${seed}: ${pathOf(link)} -> ${text}`).not.toBe("left the guest");
      }
    }
  }, 120_000);

  it("the kernel finds the same through our texts as in the guest, below a chroot", () => {
    const top = mkdtempSync(join(tmpdir(), "slashcloud-links-"));
    const rawOf = (seed: number) => join(top, `raw${seed}`);
    const rootedOf = (seed: number) => join(top, `rooted${seed}`, "cloud", "host", "vm");
    const guests = Array.from({ length: 60 }, (_, seed) => randomGuest(seed));
    try {
      const made = guests.map((guest, seed) => ({
        raw: makeOnDisk(guest, rawOf(seed), (link) => link.target),
        rooted: makeOnDisk(guest, rootedOf(seed), (link) => textOf(guest, link)),
      }));
      const questions = guests.flatMap((guest, seed) =>
        links(guest).map((link) => ({ seed, path: pathOf(link) })),
      );
      const answers = statBelowChroot(questions.map(({ seed, path }) => [rawOf(seed), path]));
      for (const [index, { seed, path }] of questions.entries()) {
        const inode = answers[index]!;
        let seen: string | number | undefined;
        try {
          const { ino } = statSync(Buffer.from(rootedOf(seed) + path, "latin1"));
          seen = made[seed]!.rooted.get(ino) ?? "left the guest";
        } catch (error) {
          seen = (error as NodeJS.ErrnoException).errno;
        }
        const story = `${seed}: ${path}`;
        // A chain of more than 40 links may be shorter on the host.
        if (inode === -constants.errno.ELOOP) expect(seen, story).not.toBe("left the guest");
        else expect(seen, story).toBe(inode < 0 ? inode : made[seed]!.raw.get(inode));
      }
      expect(questions.length).toBeGreaterThan(400);
      expect(answers.filter((inode) => inode > 0).length).toBeGreaterThan(100);
    } finally {
      rmSync(top, { recursive: true, force: true });
    }
  }, 120_000);
});

/** Makes a guest's tree below `base` with the given targets. Returns the paths in the guest by inode number. */
function makeOnDisk(guest: Guest, base: string, targetOf: (link: Node) => string): Map<number, string> {
  const made = new Map<number, string>();
  for (const node of all(guest.root)) {
    const path = Buffer.from(base + pathOf(node), "latin1");
    if (node.kind === "directory") mkdirSync(path, { recursive: true });
    else if (node.kind === "link") symlinkSync(Buffer.from(targetOf(node), "latin1"), path);
    else writeFileSync(path, "");
    made.set(lstatSync(path).ino, pathOf(node));
  }
  return made;
}

/** What stat(2) says of paths, each below a chroot of its own: inode numbers, or negative errnos. */
function statBelowChroot(questions: string[][]): number[] {
  const script = `
import json, os, sys
top = os.open("/", os.O_RDONLY)
answers = []
for root, path in json.load(sys.stdin):
    os.chroot(root)
    os.chdir("/")
    try: answers.append(os.stat(path.encode("latin-1")).st_ino)
    except OSError as error: answers.append(-error.errno)
    os.fchdir(top)
    os.chroot(".")
print(json.dumps(answers))`;
  return JSON.parse(
    execFileSync("python3", ["-c", script], { input: JSON.stringify(questions), encoding: "utf8" }),
  );
}
