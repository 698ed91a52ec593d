/** The map of names against a plain one of objects, under random changes. */
import { describe, expect, test, vi } from "vitest";
import type { InodeState, NameChange } from "../src/filesystems/changes.js";
import { compareIndexes } from "../src/inference/compare-indexes.js";
import { InodeIndex } from "../src/inference/inode-index.js";
import { makeRandom } from "./support/journal-images.js";

vi.setConfig({ testTimeout: 120_000 });

const ROOT = 2;

type Random = (limit: number) => number;

interface Name {
  readonly directory: number;
  readonly name: Buffer;
}

function key({ directory, name }: Name): string {
  return `${directory}/${name.toString("latin1")}`;
}

/** The same in objects. The first name stays the first; when it goes, the newest of the others takes its place. */
class Model {
  readonly states = new Map<number, InodeState>();
  readonly names = new Map<number, Name[]>();

  link(directory: number, name: Buffer, ino: number): void {
    const names = this.names.get(ino) ?? [];
    if (names.some((one) => key(one) === key({ directory, name }))) return;
    names.splice(1, 0, { directory, name });
    this.names.set(ino, names);
  }

  unlink(directory: number, name: Buffer, ino: number): void {
    const names = this.names.get(ino) ?? [];
    const at = names.findIndex((one) => key(one) === key({ directory, name }));
    if (at >= 0) names.splice(at, 1);
    if (names.length === 0) this.names.delete(ino);
  }

  drop(ino: number): void {
    for (const [name, child] of this.children(ino)) this.unlink(ino, Buffer.from(name, "latin1"), child);
    this.states.delete(ino);
    this.names.delete(ino);
  }

  get inodes(): number[] {
    return [...new Set([...this.states.keys(), ...this.names.keys()])].sort((a, b) => a - b);
  }

  children(directory: number): Map<string, number> {
    const children = new Map<string, number>();
    for (const [ino, names] of this.names) {
      for (const one of names)
        if (one.directory === directory) children.set(one.name.toString("latin1"), ino);
    }
    return children;
  }

  ancestors(directory: number): number[] {
    const above = [directory];
    for (let ino = directory; ino !== ROOT; above.push(ino)) {
      ino = this.names.get(ino)?.[0]?.directory ?? 0;
      if (ino === 0 || above.includes(ino)) return [];
    }
    return above;
  }

  path(ino: number): string | undefined {
    if (ino === ROOT) return "";
    const [first] = this.names.get(ino) ?? [];
    if (first === undefined || this.ancestors(first.directory).length === 0) return undefined;
    return `${this.path(first.directory)}/${first.name.toString("latin1")}`;
  }
}

/** Inode numbers here and there, up to the highest. */
function somewhere(random: Random): number {
  const near = 1 + random(40);
  switch (random(4)) {
    case 0:
      return 2 ** 32 - near;
    case 1:
      return 2 ** 31 + near * 1000;
    case 2:
      return 5_000_000 + near;
    default:
      return near;
  }
}

function randomName(random: Random): Buffer {
  const length = random(50) === 0 ? 255 + random(800) : 4 + random(30);
  return Buffer.from(Array.from({ length }, () => 0x30 + random(208)));
}

function randomState(random: Random): InodeState {
  const isUnusual = random(8) === 0;
  const pick = <T>(usual: T, unusual: T): T => (isUnusual && random(3) === 0 ? unusual : usual);
  return {
    generation: random(2 ** 32),
    mode: pick(0o100644 + random(64), 0o020600),
    nlink: pick(1 + random(3), 70_000),
    uid: pick(random(1000), 2 ** 32 - 1),
    gid: random(2 ** 32),
    size: pick(random(2 ** 32), 2 ** 53 - 1),
    flags: isUnusual ? random(2 ** 32) : random(3),
    mtime: pick(random(2 ** 31), 2 ** 34 - 2 ** 31 - 1),
    mtimeNsec: pick(random(1e9), 2 ** 30 - 1),
    ctime: pick(-random(2 ** 31), 2 ** 40),
    ctimeNsec: random(1e9),
    btime: 0,
    btimeNsec: 0,
    major: isUnusual ? random(256) : 0,
    minor: isUnusual ? random(256) : 0,
  };
}

/** A random change, done to both. */
function change(random: Random, index: InodeIndex, model: Model): void {
  const ino = somewhere(random);
  const names = model.names.get(ino) ?? [];
  switch (random(10)) {
    case 0: {
      const state = randomState(random);
      index.setState(ino, { ...state, btime: 77, btimeNsec: 7 });
      model.states.set(ino, state);
      break;
    }
    case 1:
      if (random(3) > 0) return;
      index.drop(ino);
      model.drop(ino);
      break;
    case 2:
    case 3:
    case 4:
    case 5: {
      const { directory, name } = names[random(names.length)] ?? { directory: 1, name: Buffer.from("none") };
      index.unlink(directory, name, ino);
      model.unlink(directory, name, ino);
      break;
    }
    default: {
      const directory = random(3) === 0 ? ROOT : somewhere(random);
      // Sometimes one that it has.
      const name = random(8) === 0 ? (names[0]?.name ?? randomName(random)) : randomName(random);
      index.link(directory, name, ino);
      model.link(directory, name, ino);
    }
  }
}

function expectSame(index: InodeIndex, model: Model): void {
  expect([...index.inodes()].sort((a, b) => a - b)).toEqual(model.inodes);
  const directories = new Set([ROOT, 999, ...model.inodes]);
  const children = index.children(directories);
  for (const ino of directories) {
    expect(index.state(ino)).toEqual(model.states.get(ino));
    expect(index.names(ino)).toEqual(model.names.get(ino) ?? []);
    const path = model.path(ino);
    expect(index.path(ino)?.toString("latin1")).toEqual(path === "" ? "/" : path);
    expect(index.ancestors(ino)).toEqual(model.ancestors(ino));
    const below = index.pathOf(ino, Buffer.from("x"))?.toString("latin1");
    expect(below).toEqual(path === undefined ? undefined : `${path}/x`);
    expect(index.childCount(ino)).toBe(model.children(ino).size);
    expect(children.get(ino)).toEqual(model.children(ino));
  }
}

describe("the map of names", () => {
  test.each([1, 2, 3, 4])("is what a plain one is after random changes (%i)", (seed) => {
    const random = makeRandom(seed);
    let index = new InodeIndex(ROOT);
    const model = new Model();
    for (let round = 0; round < 15; round++) {
      for (let n = 0; n < 400; n++) change(random, index, model);
      if (round % 5 === 0) {
        const { parts, transfers } = index.toParts();
        index = InodeIndex.from(structuredClone(parts, { transfer: transfers }));
      }
      expectSame(index, model);
    }
  });

  test("does not grow while names come and go", () => {
    const random = makeRandom(5);
    const index = new InodeIndex(ROOT);
    const names = new Map<number, Buffer>();
    const rename = (ino: number): void => {
      const name = Buffer.concat([randomName(random), Buffer.alloc(100, "n")]);
      const old = names.get(ino);
      if (old !== undefined) index.unlink(ROOT, old, ino);
      index.link(ROOT, name, ino);
      names.set(ino, name);
    };
    for (let ino = 11; ino < 3011; ino++) rename(ino);
    const { bytes } = index;
    for (let n = 0; n < 25_000; n++) rename(11 + random(3000));
    expect(index.bytes).toBeLessThan(bytes * 2);
    for (const [ino, name] of names) expect(index.names(ino)).toEqual([{ directory: ROOT, name }]);
  });

  test("takes at most 64 bytes a file whose name has 12", () => {
    const index = new InodeIndex(ROOT);
    const files = 200_000;
    const state = {
      ...randomState(makeRandom(6)),
      mode: 0o100644,
      nlink: 1,
      flags: 0,
      ctime: 1,
      major: 0,
      minor: 0,
    };
    for (let n = 0; n < files; n++) {
      const ino = 11 + n;
      index.setState(ino, state);
      index.link(
        n % 20 === 0 ? ROOT : 11 + n - (n % 20),
        Buffer.from(`file-${String(n).padStart(7, "0")}`),
        ino,
      );
    }
    expect(index.bytes / files).toBeLessThan(64);
  });

  test("ends where directories are in a circle, or nested without end", () => {
    const index = new InodeIndex(ROOT);
    index.link(12, Buffer.from("a"), 11);
    index.link(11, Buffer.from("b"), 12);
    expect(index.path(11)).toBeUndefined();
    expect(index.ancestors(12)).toEqual([]);
    index.link(20, Buffer.from("self"), 20);
    expect(index.pathOf(20, Buffer.from("x"))).toBeUndefined();
    for (let ino = 1000; ino < 20_000; ino++)
      index.link(ino === 1000 ? ROOT : ino - 1, Buffer.from("d"), ino);
    expect(index.path(1099)?.length).toBe(200);
    expect(index.path(19_999)).toBeUndefined();
    expect(index.ancestors(19_999)).toEqual([]);
  });

  test("leaves out what no inode number can be", () => {
    const index = new InodeIndex(ROOT);
    index.link(0, Buffer.from("a"), 11);
    index.link(ROOT, Buffer.from("a"), 0);
    index.link(ROOT, Buffer.from("a"), 2 ** 32);
    expect([...index.inodes()]).toEqual([]);
    expect(index.childCount(ROOT)).toBe(0);
  });
});

/** A file system: each name stands for one inode. */
class Volume {
  readonly index = new InodeIndex(ROOT);
  readonly slots = new Map<string, Name & { ino: number }>();
  readonly states = new Map<number, InodeState>();

  set(directory: number, name: Buffer, ino: number): void {
    const slot = key({ directory, name });
    const old = this.slots.get(slot);
    if (old !== undefined) this.index.unlink(directory, name, old.ino);
    this.slots.delete(slot);
    if (ino === 0) return;
    this.index.link(directory, name, ino);
    this.slots.set(slot, { directory, name, ino });
  }

  setState(ino: number, state: InodeState | undefined): void {
    if (state === undefined) {
      for (const { directory, name, ino: other } of [...this.slots.values()])
        if (other === ino || directory === ino) this.set(directory, name, 0);
      this.index.drop(ino);
      this.states.delete(ino);
    } else {
      this.index.setState(ino, state);
      this.states.set(ino, state);
    }
  }

  change(random: Random): void {
    const ino = 10 + random(60);
    const slots = [...this.slots.values()];
    const { directory, name } = slots[random(slots.length)] ?? { directory: ROOT, name: randomName(random) };
    const state = this.states.get(ino);
    switch (random(6)) {
      case 0:
        this.setState(ino, random(3) === 0 ? undefined : randomState(random));
        break;
      case 1:
        if (state !== undefined) this.setState(ino, { ...state, ctimeNsec: random(1e9) });
        break;
      case 2:
        this.set(directory, name, random(2) === 0 ? 0 : ino);
        break;
      default:
        this.set(random(2) === 0 ? ROOT : 10 + random(60), randomName(random), ino);
    }
  }

  copy(): Volume {
    const copy = new Volume();
    for (const { directory, name, ino } of this.slots.values()) copy.set(directory, name, ino);
    for (const [ino, state] of this.states) copy.setState(ino, state);
    return copy;
  }
}

function expectedNames(old: Volume, now: Volume): NameChange[] {
  const isOther = (ino: number): boolean => {
    const before = old.states.get(ino)?.generation;
    const after = now.states.get(ino)?.generation;
    return before !== undefined && after !== undefined && before !== after;
  };
  const changes: NameChange[] = [];
  for (const slot of new Set([...old.slots.keys(), ...now.slots.keys()])) {
    const before = old.slots.get(slot);
    const after = now.slots.get(slot);
    const { directory, name } = (before ?? after) as Name;
    if (before?.ino === after?.ino && !isOther(directory) && !isOther(before?.ino ?? 0)) continue;
    const generation = (old.states.get(directory) ?? now.states.get(directory))?.generation ?? 0;
    changes.push({ directory, generation, name, ino: before?.ino ?? 0, now: after?.ino ?? 0 });
  }
  return sorted(changes);
}

function sorted(changes: readonly NameChange[]): NameChange[] {
  return [...changes].sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

describe("the difference of two maps of names", () => {
  test.each([1, 2, 3])("is what changed in between, and leads from one to the other (%i)", (seed) => {
    const random = makeRandom(seed);
    let old = new Volume();
    for (let n = 0; n < 300; n++) old.change(random);
    for (let round = 0; round < 40; round++) {
      const now = old.copy();
      for (let n = random(100); n > 0; n--) now.change(random);
      const { inodes, names } = compareIndexes(old.index, now.index);
      expect(sorted(names)).toEqual(expectedNames(old, now));
      const expected = [...new Set([...old.states.keys(), ...now.states.keys()])]
        .map((ino) => ({ ino, old: old.states.get(ino), now: now.states.get(ino) }))
        .sort((a, b) => a.ino - b.ino);
      const differing = expected.filter((one) => JSON.stringify(one.old) !== JSON.stringify(one.now));
      const told = new Map(inodes.map((one) => [one.ino, one]));
      for (const one of differing) expect(told.get(one.ino)).toEqual(one);
      // An inode may be told with the same state if it is its names that differ.
      const named = new Set(names.flatMap(({ ino, now: after }) => [ino, after]));
      for (const ino of told.keys())
        expect(differing.some((one) => one.ino === ino) || named.has(ino)).toBe(true);
      // A name may stand for an inode of which nothing is known.
      for (const { ino, now: state } of inodes) if (state === undefined) old.index.drop(ino);
      for (const { directory, name, ino } of names) if (ino !== 0) old.index.unlink(directory, name, ino);
      for (const { directory, name, now: after } of names)
        if (after !== 0) old.index.link(directory, name, after);
      for (const { ino, now: state } of inodes) if (state !== undefined) old.index.setState(ino, state);
      expect(compareIndexes(old.index, now.index)).toMatchObject({ inodes: [], names: [] });
      old = now;
    }
  });

  test("has one change for a name that another file took, and both states of a number used again", () => {
    const old = new Volume();
    const now = new Volume();
    const state = { ...randomState(makeRandom(1)), generation: 1 };
    const name = Buffer.from("log");
    for (const ino of [11, 12]) old.setState(ino, state);
    old.set(ROOT, name, 11);
    old.set(ROOT, Buffer.from("other"), 12);
    now.setState(12, { ...state, generation: 2 });
    now.set(ROOT, name, 12);
    const { inodes, names } = compareIndexes(old.index, now.index);
    expect(inodes).toEqual([
      { ino: 11, old: old.states.get(11), now: undefined },
      { ino: 12, old: old.states.get(12), now: now.states.get(12) },
    ]);
    expect(sorted(names)).toEqual([
      { directory: ROOT, generation: 0, name, ino: 11, now: 12 },
      { directory: ROOT, generation: 0, name: Buffer.from("other"), ino: 12, now: 0 },
    ]);
  });
});
