/** Events of transactions: whoever takes them one by one, by path, has the guest's names at the end of each. */
import { expect, test } from "vitest";
import {
  type Changes,
  type InodeChange,
  type InodeState,
  type Listing,
  type NameChange,
  NO_CHANGES,
} from "../src/filesystems/changes.js";
import { compareIndexes } from "../src/inference/compare-indexes.js";
import { composeEvents } from "../src/inference/composer.js";
import { settleDoubts } from "../src/inference/doubts.js";
import type { FileEvent } from "../src/inference/file-event.js";
import { InodeIndex } from "../src/inference/inode-index.js";
import { mergeChanges } from "../src/inference/merge-changes.js";
import { VolumeEvents } from "../src/inference/volume-events.js";

const ROOT = 2;
const DIRECTORY = 0o040755;
const REGULAR = 0o100644;

/** A small guest: names by directory, and how many each inode has. */
interface Guest {
  readonly names: Map<number, Map<string, number>>;
  readonly inodes: Map<number, { generation: number; isDirectory: boolean; size: number }>;
}

function random(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function newGuest(): Guest {
  return {
    names: new Map([[ROOT, new Map()]]),
    inodes: new Map([[ROOT, { generation: 1, isDirectory: true, size: 0 }]]),
  };
}

const copyOf = ({ names, inodes }: Guest): Guest => ({
  names: new Map([...names].map(([directory, entries]) => [directory, new Map(entries)])),
  inodes: new Map([...inodes].map(([ino, inode]) => [ino, { ...inode }])),
});

function linksOf({ names }: Guest, ino: number): number {
  let links = 0;
  for (const entries of names.values()) for (const other of entries.values()) if (other === ino) links++;
  return links;
}

function stateOf(guest: Guest, ino: number): InodeState | undefined {
  const inode = guest.inodes.get(ino);
  if (inode === undefined) return undefined;
  const { generation, isDirectory, size } = inode;
  return {
    generation,
    mode: isDirectory ? DIRECTORY : REGULAR,
    nlink: isDirectory ? 2 : linksOf(guest, ino),
    uid: 0,
    gid: 0,
    size,
    flags: 0,
    mtime: size,
    mtimeNsec: 0,
    ctime: size,
    ctimeNsec: 0,
    btime: 0,
    btimeNsec: 0,
    major: 0,
    minor: 0,
  };
}

/** Does something; numbers of inodes that went are used again soon. */
function step(guest: Guest, pick: (below: number) => number): void {
  const directories = [...guest.names.keys()];
  const any = <T>(list: readonly T[]): T => list[pick(list.length)] as T;
  const free = (): number => {
    let ino = 11;
    while (guest.inodes.has(ino)) ino++;
    return ino;
  };
  const name = (): string => "abcdefgh"[pick(8)] as string;
  const directory = any(directories);
  const entries = guest.names.get(directory) as Map<string, number>;
  const remove = (from: Map<string, number>, gone: string): void => {
    const ino = from.get(gone) as number;
    from.delete(gone);
    if (linksOf(guest, ino) > 0) return;
    guest.inodes.delete(ino);
    guest.names.delete(ino);
  };
  const isEmpty = (ino: number): boolean => (guest.names.get(ino)?.size ?? 0) === 0;
  const existing = any([...entries.keys(), undefined]);
  // It stays small.
  switch (guest.inodes.size > 30 ? 2 + pick(6) : pick(8)) {
    case 0:
    case 1: {
      const created = name();
      if (entries.has(created)) return;
      const ino = free();
      const isDirectory = pick(3) === 0;
      guest.inodes.set(ino, { generation: pick(1_000_000), isDirectory, size: pick(100) });
      if (isDirectory) guest.names.set(ino, new Map());
      entries.set(created, ino);
      return;
    }
    case 2: {
      if (existing !== undefined && isEmpty(entries.get(existing) as number)) remove(entries, existing);
      return;
    }
    case 3: {
      const to = guest.names.get(any(directories)) as Map<string, number>;
      const linked = name();
      const ino = existing === undefined ? undefined : (entries.get(existing) as number);
      if (ino === undefined || guest.inodes.get(ino)?.isDirectory || to.has(linked)) return;
      to.set(linked, ino);
      return;
    }
    case 4:
    case 5: {
      if (existing === undefined) return;
      const ino = entries.get(existing) as number;
      const toDirectory = any(directories);
      // No directory comes below itself.
      for (let above: number | undefined = toDirectory; above !== undefined; ) {
        if (above === ino) return;
        const child: number = above;
        above = directories.find((one) => [...(guest.names.get(one)?.values() ?? [])].includes(child));
      }
      const to = guest.names.get(toDirectory) as Map<string, number>;
      const renamed = name();
      const over = to.get(renamed);
      if (over === ino) return;
      if (over !== undefined) {
        const isDirectory = guest.inodes.get(over)?.isDirectory;
        if (isDirectory !== guest.inodes.get(ino)?.isDirectory || !isEmpty(over)) return;
        remove(to, renamed);
      }
      entries.delete(existing);
      to.set(renamed, ino);
      return;
    }
    case 6: {
      // The directory goes with all that is in it, and another one comes, with the same names and numbers.
      const files = [...entries.values()];
      if (directory === ROOT || files.some((ino) => guest.names.has(ino) || linksOf(guest, ino) > 1)) return;
      for (const ino of [directory, ...files]) {
        const inode = guest.inodes.get(ino);
        if (inode !== undefined) guest.inodes.set(ino, { ...inode, generation: pick(1_000_000) });
      }
      return;
    }
    default: {
      const inode = guest.inodes.get(existing === undefined ? -1 : (entries.get(existing) as number));
      if (inode !== undefined && !inode.isDirectory) inode.size++;
    }
  }
}

/** What a journal would show. */
function differenceOf(old: Guest, now: Guest): Changes {
  const inodes: InodeChange[] = [];
  const names: NameChange[] = [];
  for (const ino of new Set([...old.inodes.keys(), ...now.inodes.keys()])) {
    const before = stateOf(old, ino);
    const after = stateOf(now, ino);
    if (JSON.stringify(before) === JSON.stringify(after)) continue;
    // A freed inode stays in its table, without links.
    const left = after ?? (before === undefined ? undefined : { ...before, nlink: 0 });
    inodes.push({ ino, old: before, now: left });
  }
  for (const directory of new Set([...old.names.keys(), ...now.names.keys()])) {
    const before = old.names.get(directory) ?? new Map<string, number>();
    const after = now.names.get(directory) ?? new Map<string, number>();
    const isOther = old.inodes.get(directory)?.generation !== now.inodes.get(directory)?.generation;
    for (const name of new Set([...before.keys(), ...after.keys()])) {
      const change = { ino: before.get(name) ?? 0, now: after.get(name) ?? 0 };
      if (change.ino === change.now && !isOther) continue;
      names.push({ directory, generation: 0, name: Buffer.from(name), ...change });
    }
  }
  return { inodes, names, unsureInodes: [], unsureDirectories: [] };
}

/** Paths and inodes. */
function paths(guest: Guest, directory = ROOT, above = ""): string[] {
  return [...(guest.names.get(directory) ?? [])].flatMap(([name, ino]) => {
    const path = `${above}/${name}`;
    return [
      `${path} ${ino}`,
      ...(guest.inodes.get(ino)?.isDirectory === true ? paths(guest, ino, path) : []),
    ];
  });
}

/** A monitor's copy of the names, by path, and by what it was told alone. */
class Monitor {
  readonly paths = new Map<string, number>();

  take({ kind, ino, path, from }: FileEvent): void {
    const at = path?.toString() ?? "?";
    const parent = at.slice(0, at.lastIndexOf("/"));
    if (kind === "created" || kind === "linked" || kind === "renamed") {
      if (this.paths.has(at)) throw new Error(`${kind} ${at}, which is taken`);
      if (parent !== "" && !this.paths.has(parent)) throw new Error(`${kind} ${at}, below nothing`);
    }
    const isKnown = (): boolean => [...this.paths.values()].includes(ino);
    if (kind === "linked" && !isKnown()) throw new Error(`linked ${at}, before ${ino} was created`);
    if (kind === "created" && isKnown()) throw new Error(`created ${at}, while ${ino} has another name`);
    if (kind === "created" || kind === "linked") this.paths.set(at, ino);
    if (kind === "deleted" || kind === "unlinked") {
      if (this.paths.get(at) !== ino) throw new Error(`${kind} ${at} ${ino}, which is not there`);
      if ([...this.paths.keys()].some((other) => other.startsWith(`${at}/`)))
        throw new Error(`${kind} ${at}, which is not empty`);
      this.paths.delete(at);
    }
    if (kind === "deleted" && isKnown()) throw new Error(`deleted ${at}, while ${ino} has another name`);
    if (kind === "unlinked" && !isKnown())
      throw new Error(`unlinked ${at}, which was the last name of ${ino}`);
    if (kind !== "renamed") return;
    const old = from?.toString() ?? "?";
    if (this.paths.get(old) !== ino) throw new Error(`renamed ${old} ${ino}, which is not there`);
    for (const [other, inode] of [...this.paths]) {
      if (other !== old && !other.startsWith(`${old}/`)) continue;
      this.paths.delete(other);
      this.paths.set(at + other.slice(old.length), inode);
    }
  }
}

function indexOf(): InodeIndex {
  const index = new InodeIndex(ROOT);
  index.setState(ROOT, stateOf(newGuest(), ROOT) as InodeState);
  return index;
}

/** Moves the map on, as a volume's events do. */
function setStates(index: InodeIndex, { inodes }: Changes): void {
  for (const { ino, now } of inodes) {
    if (now === undefined || now.nlink === 0) index.drop(ino);
    else index.setState(ino, now);
  }
}

/** Files that change places in a circle within one transaction can only be told one after the other. */
const isCircle = (error: unknown): boolean => /which is taken/.test((error as Error).message);

test.each([1, 2, 3, 4, 5, 6])("random transactions, seed %i: by path, in order", (seed) => {
  const pick = random(seed * 7919);
  const index = indexOf();
  const monitor = new Monitor();
  let guest = newGuest();
  let circles = 0;
  for (let transaction = 0; transaction < 1500; transaction++) {
    const next = copyOf(guest);
    for (let steps = 1 + pick(transaction % 3 === 0 ? 12 : 3); steps > 0; steps--) step(next, pick);
    const changes = differenceOf(guest, next);
    const told = JSON.stringify(changes.names.map((one) => ({ ...one, name: one.name.toString() })));
    const events = composeEvents(changes, index);
    setStates(index, changes);
    guest = next;
    try {
      for (const event of events) monitor.take(event);
    } catch (error) {
      if (!isCircle(error)) throw new Error(`${(error as Error).message}\n${told}`);
      circles++;
      monitor.paths.clear();
      for (const line of paths(guest))
        monitor.paths.set(line.split(" ")[0] as string, Number(line.split(" ")[1]));
    }
    const has = [...monitor.paths].map(([path, ino]) => `${path} ${ino}`).sort();
    expect(has, told).toEqual(paths(guest).sort());
  }
  expect(circles).toBeLessThan(15);
});

test("a directory goes into one that was in it only when that one has come out", () => {
  const index = indexOf();
  const monitor = new Monitor();
  const guest = (names: [number, [string, number][]][]): Guest => ({
    names: new Map(names.map(([directory, entries]) => [directory, new Map(entries)])),
    inodes: new Map(
      [ROOT, 11, 12, 13, 14].map((ino) => [ino, { generation: 1, isDirectory: ino !== 12, size: 0 }]),
    ),
  });
  const before = guest([
    [
      ROOT,
      [
        ["d", 11],
        ["n", 12],
        ["e", 13],
      ],
    ],
    [11, [["x", 14]]],
    [13, []],
    [14, []],
  ]);
  // The one inside comes out to a name that another one leaves last.
  const after = guest([
    [
      ROOT,
      [
        ["n", 14],
        ["e", 13],
      ],
    ],
    [11, []],
    [13, [["n", 12]]],
    [14, [["d", 11]]],
  ]);
  let was = newGuest();
  for (const now of [before, after]) {
    const changes = differenceOf(was, now);
    for (const event of composeEvents(changes, index)) {
      if (event.kind === "renamed") expect(event.from, `${event.ino}`).toBeDefined();
      monitor.take(event);
    }
    setStates(index, changes);
    was = now;
    expect([...monitor.paths].map(([path, ino]) => `${path} ${ino}`).sort()).toEqual(paths(now).sort());
  }
});

test("doubts are settled by the map: only what differs is told", () => {
  const pick = random(99);
  const index = indexOf();
  const monitor = new Monitor();
  let guest = newGuest();
  for (let transaction = 0; transaction < 300; transaction++) {
    const next = copyOf(guest);
    for (let steps = 1 + pick(3); steps > 0; steps--) step(next, pick);
    const sure = differenceOf(guest, next);
    const unsure: Changes = {
      inodes: [],
      names: [],
      unsureInodes: [...new Set([...guest.inodes.keys(), ...next.inodes.keys()])].map((ino) => ({
        ino,
        old: undefined,
        now: stateOf(next, ino),
      })),
      unsureDirectories: [...new Set([...guest.names.keys(), ...next.names.keys()])].map((directory) => ({
        directory,
        generation: 0,
        names: next.names.get(directory) ?? new Map(),
      })),
    };
    const settled = settleDoubts(unsure, index);
    // The root itself is in no directory.
    expect(settled.inodes.map(({ ino }) => ino).sort()).toEqual(sure.inodes.map(({ ino }) => ino).sort());
    for (const event of composeEvents(settled, index)) monitor.take(event);
    setStates(index, settled);
    guest = next;
    expect([...monitor.paths].map(([path, ino]) => `${path} ${ino}`).sort()).toEqual(paths(guest).sort());
  }
});

/**
 * What a follower tells that comes late: of some inodes nobody knows what they were, so that directories that have gone
 * are not known for any; some directories can only be listed with a later transaction.
 */
class LateFollower {
  readonly #pick: (below: number) => number;
  readonly #unlisted = new Set<number>();

  constructor(pick: (below: number) => number) {
    this.#pick = pick;
  }

  /** `isLast`: what has changed up to here can be listed. */
  changes(old: Guest, now: Guest, isLast: boolean): Changes {
    const sure = differenceOf(old, now);
    // By block of the inode table.
    const isUnsure = new Map<number, boolean>();
    const unsure = (ino: number): boolean => {
      const block = ino >> 2;
      if (!isUnsure.has(block)) isUnsure.set(block, this.#pick(3) === 0);
      return isUnsure.get(block) as boolean;
    };
    const changed = new Set([
      ...sure.inodes.map(({ ino }) => ino),
      ...sure.names.map(({ directory }) => directory),
    ]);
    const isDirectory = (ino: number): boolean => now.inodes.get(ino)?.isDirectory === true;
    const wasDirectory = (ino: number): boolean => old.inodes.get(ino)?.isDirectory === true;
    const listings = new Map<number, Listing>();
    const list = (directory: number): void => {
      const isLater = isDirectory(directory) && !isLast && this.#pick(3) === 0;
      if (isLater) this.#unlisted.add(directory);
      else this.#unlisted.delete(directory);
      const names = isLater ? undefined : (now.names.get(directory) ?? new Map());
      listings.set(directory, { directory, generation: 0, names });
    };
    for (const ino of changed) {
      const isSeen = unsure(ino) ? isDirectory(ino) : isDirectory(ino) || wasDirectory(ino);
      if (isSeen && (unsure(ino) || this.#unlisted.has(ino))) list(ino);
    }
    for (const ino of [...this.#unlisted])
      if (!listings.has(ino) && (isLast || this.#pick(2) === 0)) list(ino);
    const left = (ino: number) => stateOf(now, ino) ?? { ...(stateOf(old, ino) as InodeState), nlink: 0 };
    return {
      inodes: sure.inodes.filter(({ ino }) => !unsure(ino)),
      names: sure.names.filter(({ directory }) => !unsure(directory) && !listings.has(directory)),
      unsureInodes: [...changed].filter(unsure).map((ino) => ({ ino, old: undefined, now: left(ino) })),
      unsureDirectories: [...listings.values()],
      isPartial: this.#unlisted.size > 0,
    };
  }
}

test.each([1, 2, 3, 4, 5, 6])("what nobody saw before it changed, seed %i: told exactly, by path", (seed) => {
  const pick = random(seed * 104_729);
  const monitor = new Monitor();
  let guest = newGuest();
  let circles = 0;
  const events = new VolumeEvents<InodeIndex>({
    crawl: () => {},
    compare: compareIndexes,
    publish: (told) => {
      try {
        for (const event of told) monitor.take(event);
      } catch (error) {
        if (!isCircle(error)) throw error;
        circles++;
        monitor.paths.clear();
        for (const line of paths(guest))
          monitor.paths.set(line.split(" ")[0] as string, Number(line.split(" ")[1]));
      }
    },
    publishGap: (reason) => {
      throw new Error(reason);
    },
  });
  events.resume(indexOf(), { sequence: 0 }, { sequence: 0 });
  const follower = new LateFollower(pick);
  let waited = 0;
  for (let transaction = 1; transaction <= 1200; transaction++) {
    const next = copyOf(guest);
    for (let steps = 1 + pick(transaction % 3 === 0 ? 10 : 3); steps > 0; steps--) step(next, pick);
    const changes = follower.changes(guest, next, transaction % 5 === 0);
    guest = next;
    events.take({ changes, sequence: transaction, seconds: 0, nanoseconds: 0 }, 0);
    if (changes.isPartial === true) {
      // A map that is kept now is as of what has been told.
      expect(events.mapAt?.sequence ?? 0).toBeLessThan(transaction);
      waited++;
      continue;
    }
    expect(events.mapAt?.sequence).toBe(transaction);
    const has = [...monitor.paths].map(([path, ino]) => `${path} ${ino}`).sort();
    expect(has).toEqual(paths(guest).sort());
    for (const ino of guest.inodes.keys()) expect(events.index?.state(ino)).toMatchObject(known(guest, ino));
  }
  expect(waited).toBeGreaterThan(100);
  expect(circles).toBeLessThan(60);
});

/** What a map knows of an inode. */
function known(guest: Guest, ino: number): Partial<InodeState> {
  const { generation, mode, nlink, size } = stateOf(guest, ino) as InodeState;
  return { generation, mode, nlink, size };
}

test("attributes of several commits are told as those of one", () => {
  const state = { ...(stateOf(newGuest(), ROOT) as InodeState), mode: REGULAR };
  const of = (values: Record<string, string>) =>
    new Map(Object.entries(values).map(([name, value]) => [name, Buffer.from(value)]));
  const change = (old: Record<string, string>, now: Record<string, string>): Changes => ({
    ...NO_CHANGES,
    inodes: [{ ino: 12, old: state, now: state, attributes: { old: of(old), now: of(now) } }],
  });
  const merged = mergeChanges(
    change({ a: "1", b: "1" }, { a: "2", c: "1" }),
    change({ a: "2", c: "1", d: "1" }, { a: "3", b: "2" }),
  );
  expect(merged.inodes[0]?.attributes).toEqual({
    old: of({ a: "1", b: "1", d: "1" }),
    now: of({ a: "3", b: "2" }),
  });
  const all = {
    ino: 12,
    old: undefined,
    now: state,
    attributes: { old: of({}), now: of({ a: "1", b: "1" }) },
  };
  const unsure = { ...NO_CHANGES, unsureInodes: [all] };
  expect(mergeChanges(unsure, change({ a: "1" }, { c: "2" })).unsureInodes[0]?.attributes?.now).toEqual(
    of({ b: "1", c: "2" }),
  );
  expect(mergeChanges(change({ x: "1" }, {}), unsure).unsureInodes[0]?.attributes?.now).toEqual(
    of({ a: "1", b: "1" }),
  );
  // What is gone, nobody saw going: it is told, and only of files that had some.
  const index = indexOf();
  index.setState(12, { ...state, hasAttributes: true });
  index.setState(13, state);
  const gone = { ...state, size: 5, ctime: 7 };
  const settled = settleDoubts(
    {
      ...NO_CHANGES,
      unsureInodes: [12, 13].map((ino) => ({
        ino,
        old: undefined,
        now: gone,
        attributes: { old: of({}), now: of({}) },
      })),
    },
    index,
  );
  expect(settled.inodes.map(({ attributes }) => attributes)).toEqual([
    { old: undefined, now: of({}) },
    undefined,
  ]);
});

test("a file that came with several names is created first and linked then, and goes with its last name", () => {
  const index = indexOf();
  const monitor = new Monitor();
  const guests = [newGuest(), newGuest(), newGuest()] as const;
  // The names in directories that come or go themselves have to wait, whichever way they are listed.
  guests[1].inodes.set(12, { generation: 1, isDirectory: true, size: 0 });
  guests[1].inodes.set(13, { generation: 1, isDirectory: false, size: 7 });
  guests[1].names.set(12, new Map([["first", 13]]));
  guests[1].names.get(ROOT)?.set("directory", 12).set("second", 13);
  for (const [before, after, kinds] of [
    [guests[0], guests[1], ["created", "created", "linked"]],
    [guests[1], guests[2], ["unlinked", "deleted", "deleted"]],
  ] as const) {
    const changes = differenceOf(before, after);
    const events = composeEvents({ ...changes, names: [...changes.names].reverse() }, index);
    setStates(index, changes);
    for (const event of events) monitor.take(event);
    expect(events.map(({ kind }) => kind)).toEqual(kinds);
  }
});

test("a file with several names comes after the directory whose inode it has, however its names are listed", () => {
  const before = newGuest();
  before.inodes.set(12, { generation: 1, isDirectory: true, size: 0 });
  before.inodes.set(13, { generation: 1, isDirectory: true, size: 0 });
  // What is moved out of it makes it wait.
  before.inodes.set(14, { generation: 1, isDirectory: false, size: 1 });
  before.names.set(12, new Map([["gone", 13]])).set(13, new Map([["moved", 14]]));
  before.names.get(ROOT)?.set("directory", 12);
  const after = copyOf(before);
  after.inodes.set(13, { generation: 2, isDirectory: false, size: 7 });
  after.names.set(12, new Map([["second", 13]])).delete(13);
  after.names.get(ROOT)?.set("first", 13).set("moved", 14);
  for (const order of [1, -1]) {
    const index = indexOf();
    const monitor = new Monitor();
    for (const [old, now] of [
      [newGuest(), before],
      [before, after],
    ] as const) {
      const changes = differenceOf(old, now);
      const names = [...changes.names].sort((a, b) => order * (a.directory - b.directory));
      const events = composeEvents({ ...changes, names }, index);
      setStates(index, changes);
      for (const event of events) monitor.take(event);
      if (now === after)
        expect(events.map(({ kind }) => kind)).toEqual(["renamed", "deleted", "created", "linked"]);
    }
  }
});

test.each([
  ["its block is another file's by then", false],
  ["its block and its inode are of a later version by then", true],
])("what was in a removed directory is told to have gone, though %s", (_, isUnsure) => {
  const index = indexOf();
  const monitor = new Monitor();
  const before = newGuest();
  before.inodes.set(12, { generation: 1, isDirectory: true, size: 0 });
  for (const ino of [13, 14, 15]) before.inodes.set(ino, { generation: 1, isDirectory: false, size: 7 });
  before.names.get(ROOT)?.set("directory", 12).set("other", 13);
  before.names.set(
    12,
    new Map([
      ["linked", 13],
      ["moved", 14],
      ["gone", 15],
    ]),
  );
  const after = newGuest();
  for (const ino of [13, 14]) after.inodes.set(ino, { generation: 1, isDirectory: false, size: 7 });
  after.names.get(ROOT)?.set("other", 13).set("here", 14);
  const told: string[] = [];
  for (const [from, to] of [
    [newGuest(), before],
    [before, after],
  ] as const) {
    const all = differenceOf(from, to);
    // None of its names can be read any more.
    const names = all.names.filter(({ directory, now }) => directory !== 12 || now !== 0);
    const isGone = ({ now }: InodeChange): boolean => isUnsure && now?.nlink === 0;
    const changes: Changes = {
      inodes: all.inodes.filter((change) => !isGone(change)),
      names,
      unsureInodes: all.inodes.filter(isGone).map(({ ino, now }) => ({ ino, old: undefined, now })),
      unsureDirectories: [],
    };
    const settled = settleDoubts(changes, index);
    const events = composeEvents(settled, index);
    setStates(index, settled);
    for (const event of events) monitor.take(event);
    told.splice(0, told.length, ...events.map(({ kind, path }) => `${kind} ${path}`));
  }
  expect(told.sort()).toEqual([
    "deleted /directory",
    "deleted /directory/gone",
    "renamed /here",
    "unlinked /directory/linked",
  ]);
  expect([...monitor.paths].map(([path, ino]) => `${path} ${ino}`).sort()).toEqual(paths(after).sort());
});

/** The map of a guest's names and inodes, as a crawl makes it. */
function crawlOf(guest: Guest): InodeIndex {
  const index = new InodeIndex(ROOT);
  for (const ino of guest.inodes.keys()) index.setState(ino, stateOf(guest, ino) as InodeState);
  for (const [directory, entries] of guest.names) {
    for (const [name, ino] of entries) index.link(directory, Buffer.from(name), ino);
  }
  return index;
}

/** The same changes, of which nobody knows what was there before. */
function unsureOf({ inodes, names }: Changes, now: Guest): Changes {
  return {
    inodes: [],
    names: [],
    unsureInodes: inodes.map(({ ino }) => ({ ino, old: undefined, now: stateOf(now, ino) })),
    unsureDirectories: [...new Set(names.map(({ directory }) => directory))].map((directory) => ({
      directory,
      generation: 0,
      names: now.names.get(directory) ?? new Map(),
    })),
  };
}

const NO_TIME = { seconds: 0, nanoseconds: 0 };

/** Has a volume's map made, lets its guest go on unseen, and has the volume opened afresh. */
function reopen(events: VolumeEvents<InodeIndex>, guest: Guest, pick: (most: number) => number): void {
  events.prepare();
  events.crawled(crawlOf(guest), { sequence: 0, ...NO_TIME });
  // What happens here is seen in the difference only.
  for (let steps = 0; steps < 3; steps++) step(guest, pick);
  events.reopened("for a test");
}

test.each([
  ["that has just begun", false],
  ["that was opened afresh", true],
])(
  "whatever a crawl saw of what came meanwhile, events go on from a map that is right: of a volume %s",
  (_, isReopened) => {
    const pick = random(isReopened ? 4711 : 815);
    for (let round = 0; round < 60; round++) {
      let guest = newGuest();
      for (let steps = 0; steps < 40; steps++) step(guest, pick);
      const monitor = new Monitor();
      for (const line of paths(guest))
        monitor.paths.set(line.split(" ")[0] as string, Number(line.split(" ")[1]));
      const told: FileEvent[] = [];
      const events = new VolumeEvents<InodeIndex>({
        crawl: () => {},
        compare: compareIndexes,
        publish: (some) => told.push(...some),
        publishGap: () => {},
      });
      let sequence = 0;
      const take = (isUnsure: boolean): void => {
        const next = copyOf(guest);
        for (let steps = 1 + pick(3); steps > 0; steps--) step(next, pick);
        const sure = differenceOf(guest, next);
        const changes = isUnsure ? unsureOf(sure, next) : sure;
        events.take({ changes, sequence: ++sequence, ...NO_TIME }, 0);
        guest = next;
      };
      if (isReopened) reopen(events, guest, pick);
      const versions = [copyOf(guest)];
      for (let n = pick(8); n > 0; n--) {
        take(pick(3) === 0);
        versions.push(copyOf(guest));
      }
      events.crawled(crawlOf(versions[pick(versions.length)] as Guest), { sequence, ...NO_TIME });
      if (!isReopened) {
        // Those without paths are not for this monitor.
        told.length = 0;
        monitor.paths.clear();
        for (const line of paths(guest))
          monitor.paths.set(line.split(" ")[0] as string, Number(line.split(" ")[1]));
      }
      for (let n = 0; n < 5; n++) take(pick(4) === 0);
      let isInCircle = false;
      try {
        for (const event of told) monitor.take(event);
      } catch (error) {
        if (!isCircle(error)) throw error;
        isInCircle = true;
      }
      const index = events.index as InodeIndex;
      for (const [directory, entries] of guest.names)
        expect([...(index.children([directory]).get(directory) ?? [])].sort()).toEqual([...entries].sort());
      if (!isInCircle)
        expect([...monitor.paths].map(([path, ino]) => `${path} ${ino}`).sort()).toEqual(paths(guest).sort());
    }
  },
);

test.each([
  ["that has just begun", false],
  ["that was opened afresh", true],
])(
  "whatever a crawl saw of what came meanwhile, and could not be seen in time, the map comes right: of a volume %s",
  (_, isReopened) => {
    const pick = random(isReopened ? 4711 : 815);
    for (let round = 0; round < 400; round++) {
      let guest = newGuest();
      for (let steps = 0; steps < 40; steps++) step(guest, pick);
      const events = new VolumeEvents<InodeIndex>({
        crawl: () => {},
        compare: compareIndexes,
        publish: () => {},
        publishGap: () => {},
      });
      let sequence = 0;
      const follower = new LateFollower(pick);
      const take = (isLast: boolean): void => {
        const next = copyOf(guest);
        for (let steps = 1 + pick(3); steps > 0; steps--) step(next, pick);
        const changes = follower.changes(guest, next, isLast);
        events.take({ changes, sequence: ++sequence, ...NO_TIME }, 0);
        guest = next;
      };
      if (isReopened) reopen(events, guest, pick);
      const versions = [copyOf(guest)];
      for (let n = pick(8); n > 0; n--) {
        take(pick(3) === 0);
        versions.push(copyOf(guest));
      }
      events.crawled(crawlOf(versions[pick(versions.length)] as Guest), { sequence, ...NO_TIME });
      for (let n = 0; n < 5; n++) take(pick(4) === 0);
      take(true);
      const index = events.index as InodeIndex;
      for (const [directory, entries] of guest.names)
        expect([...(index.children([directory]).get(directory) ?? [])].sort()).toEqual([...entries].sort());
    }
  },
);

test("a directory whose new name is seen before the old one has gone is told as renamed, once", () => {
  const index = indexOf();
  const directory = { ...(stateOf(newGuest(), ROOT) as InodeState), generation: 7 };
  const file = { ...directory, mode: REGULAR };
  const name = (text: string) => Buffer.from(text);
  for (const ino of [12, 13]) index.setState(ino, directory);
  index.setState(14, file);
  index.link(ROOT, name("old"), 12);
  index.link(ROOT, name("other"), 13);
  index.link(12, name("below"), 14);
  const events: string[] = [];
  const take = (names: readonly NameChange[]) => {
    const inodes = [12, 14].map((ino) => ({ ino, old: index.state(ino), now: index.state(ino) }));
    const composed = composeEvents(settleDoubts({ ...NO_CHANGES, inodes, names }, index), index);
    events.push(...composed.map(({ kind, path, from }) => `${kind} ${from ?? ""} ${path ?? ""}`));
  };
  take([{ directory: 13, generation: 7, name: name("new"), ino: 0, now: 12 }]);
  take([{ directory: ROOT, generation: 1, name: name("old"), ino: 12, now: 0 }]);
  take([{ directory: 12, generation: 7, name: name("below"), ino: 14, now: 0 }]);
  expect(events).toEqual(["renamed /old /other/new", "unlinked  /other/new/below"]);
  expect(index.names(12)).toEqual([{ directory: 13, name: name("new") }]);
});

test("commits that are told as one leave nothing of what a map that is ahead of them has from their midst", () => {
  const guest = newGuest();
  const events = new VolumeEvents<InodeIndex>({
    crawl: () => {},
    compare: compareIndexes,
    publish: () => {},
    publishGap: () => {},
  });
  const index = indexOf();
  const name = Buffer.from("log");
  // The crawl came between the first and the second of the commits.
  const state = { ...(stateOf(guest, ROOT) as InodeState), mode: REGULAR, nlink: 1 };
  index.setState(13, state);
  index.link(ROOT, name, 13);
  events.resume(index, { sequence: 0 }, { sequence: 0 });
  const change = (ino: number, now: number, isPartial: boolean, files: Changes["inodes"]): Changes => ({
    ...NO_CHANGES,
    inodes: files,
    names: [{ directory: ROOT, generation: 0, name, ino, now }],
    isPartial,
  });
  const take = (sequence: number, changes: Changes) =>
    events.take({ changes, sequence, seconds: 0, nanoseconds: 0 }, 0);
  take(1, change(0, 12, true, [{ ino: 12, old: undefined, now: state }]));
  take(2, change(12, 13, true, [{ ino: 13, old: undefined, now: state }]));
  take(3, change(13, 14, false, [{ ino: 14, old: undefined, now: state }]));
  expect([12, 13, 14].map((ino) => index.names(ino).length)).toEqual([0, 0, 1]);
});

test("of two files that a map has by one name, one is left when the directory is looked through", () => {
  const index = indexOf();
  const name = Buffer.from("log");
  for (const ino of [13, 14]) index.link(ROOT, name, ino);
  const left = index.children([ROOT]).get(ROOT)?.get("log");
  expect([13, 14].filter((ino) => index.names(ino).length > 0)).toEqual([left]);
});
