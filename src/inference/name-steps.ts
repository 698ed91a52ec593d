/**
 * What a transaction did to names, as steps of one file each: which came, went, or became another. A transaction tells
 * only what differs before and after; the steps are put into an order in which they can be taken one by one.
 */
import type { Changes, InodeChange, InodeState } from "../filesystems/changes.js";
import { FileType } from "../filesystems/filesystem.js";
import type { Names } from "./file-event.js";

/** Directories in directories that are followed; more are none that any file system has. */
const MOST_LEVELS = 4096;

/** A name: where it is, and its bytes as one character each. */
export interface NamePlace {
  readonly directory: number;
  readonly name: string;
}

/** `from` is what went, `to` what came; with both it is a rename. */
export interface NameStep {
  readonly ino: number;
  /** The file's number before; another one only where it changes with the name. */
  readonly was: number;
  readonly from: NamePlace | undefined;
  readonly to: NamePlace | undefined;
  /** Whether the file itself comes with its name, or goes with it. */
  readonly isBorn: boolean;
  readonly isDead: boolean;
}

/** The names of one file that went and came. */
interface Moves {
  readonly gone: NamePlace[];
  readonly come: NamePlace[];
}

/** The steps of a transaction, in order. `names` is as of before it. */
export function nameSteps(changes: Changes, names: Names | undefined): NameStep[] {
  const inodes = new Map(changes.inodes.map((change) => [change.ino, change]));
  const moves = collectMoves(changes, inodes, names);
  const steps: NameStep[] = [];
  const left = new Set<number>();
  const arrived = new Set<number>();
  for (const { from: was, to: ino } of changes.moves ?? []) {
    const [from, to] = [moves.get(was)?.gone.shift(), moves.get(ino)?.come.shift()];
    if (from === undefined || to === undefined) {
      // Nobody knows what it was called: it goes, and it comes.
      if (from !== undefined) moves.get(was)?.gone.unshift(from);
      if (to !== undefined) moves.get(ino)?.come.unshift(to);
      continue;
    }
    steps.push({ ino, was, from, to, isBorn: false, isDead: false });
    left.add(was);
    arrived.add(ino);
  }
  for (const [ino, { gone, come }] of moves) {
    const change = inodes.get(ino);
    const wasThere = !left.has(ino) && (hasNames(change?.old) || (change === undefined && gone.length > 0));
    const isThere = !arrived.has(ino) && (hasNames(change?.now) || (change === undefined && come.length > 0));
    // A file that came without a name, as its directory could not be read then, comes with it.
    const isUnnamed = names !== undefined && gone.length === 0 && names.names(ino).length === 0;
    const isSame = wasThere && isThere && change?.old?.generation === change?.now?.generation && !isUnnamed;
    const pairs = isSame ? Math.min(gone.length, come.length) : 0;
    for (let n = 0; n < pairs; n++)
      steps.push({ ino, was: ino, from: gone[n], to: come[n], isBorn: false, isDead: false });
    for (let n = pairs; n < gone.length; n++) {
      steps.push({
        ino,
        was: ino,
        from: gone[n],
        to: undefined,
        isBorn: false,
        isDead: !isSame && n === gone.length - 1,
      });
    }
    for (let n = pairs; n < come.length; n++) {
      steps.push({ ino, was: ino, from: undefined, to: come[n], isBorn: !isSame && n === 0, isDead: false });
    }
  }
  return firstOnesBorn(lastOnesDead(names === undefined ? steps : inOrder(steps, names)));
}

/** A file comes with the first of its names that come, whichever that is in the order that was found. */
function firstOnesBorn(steps: readonly NameStep[]): NameStep[] {
  const born = new Set(steps.flatMap(({ ino, isBorn }) => (isBorn ? [ino] : [])));
  return steps.map((step) => {
    const isBorn = step.from === undefined && step.to !== undefined && born.delete(step.ino);
    return isBorn === step.isBorn ? step : { ...step, isBorn };
  });
}

/** A file goes with the last of its names that go. */
function lastOnesDead(steps: readonly NameStep[]): NameStep[] {
  const dead = new Set(steps.flatMap(({ ino, isDead }) => (isDead ? [ino] : [])));
  const found: NameStep[] = [];
  for (const step of [...steps].reverse()) {
    const isGone = step.to === undefined;
    found.push(isGone ? { ...step, isDead: dead.delete(step.ino) } : step);
  }
  return found.reverse();
}

function collectMoves(
  changes: Changes,
  inodes: ReadonlyMap<number, InodeChange>,
  names: Names | undefined,
): Map<number, Moves> {
  const moves = new Map<number, Moves>();
  const of = (ino: number): Moves => {
    let found = moves.get(ino);
    if (found === undefined) {
      found = { gone: [], come: [] };
      moves.set(ino, found);
    }
    return found;
  };
  for (const { directory, name, ino, now } of changes.names) {
    const place = { directory, name: name.toString("latin1") };
    if (ino !== 0 && isKnown(names, ino, place)) of(ino).gone.push(place);
    if (now !== 0) of(now).come.push(place);
  }
  if (names === undefined) return moves;
  const moved = new Set(changes.moves?.flatMap(({ from, to }) => [from, to]));
  // Of a file that is gone, the names that it had count, whether or not their directories could be read.
  for (const { ino, old, now } of inodes.values()) {
    if (hasNames(now) && old?.generation === now?.generation && !moved.has(ino)) continue;
    const { gone, come } = of(ino);
    const known = new Set(gone.map(slot));
    for (const { directory, name } of names.names(ino)) {
      const place = { directory, name: name.toString("latin1") };
      if (known.has(slot(place))) continue;
      gone.push(place);
      // Its number has become another file's, which is where it was.
      if (hasNames(now) && isSameDirectory(inodes.get(directory))) come.push(place);
    }
    if (gone.length === 0 && come.length === 0) moves.delete(ino);
  }
  for (const [ino, { gone, come }] of moves) {
    if (come.length > 0 && gone.length === 0 && isSameDirectory(inodes.get(ino)))
      gone.push(...namesGivenUp(ino, inodes.get(ino)?.now ?? names.state(ino), come, names));
  }
  return moves;
}

/**
 * The names that a directory had, as one comes: it has one at a time. NTFS drivers write the new one first, and it can be
 * seen before the old one has gone: that is then no change any more.
 */
function namesGivenUp(
  ino: number,
  state: InodeState | undefined,
  come: readonly NamePlace[],
  names: Names,
): NamePlace[] {
  if (!isDirectory(state)) return [];
  const kept = new Set(come.map(slot));
  return names
    .names(ino)
    .map(({ directory, name }) => ({ directory, name: name.toString("latin1") }))
    .filter((place) => !kept.has(slot(place)));
}

function isSameDirectory(change: InodeChange | undefined): boolean {
  return change === undefined || (hasNames(change.now) && change.old?.generation === change.now?.generation);
}

/**
 * Whether a file may have had a name. The names of a directory that was removed are read from blocks that may be
 * another file's by now: the map knows better, if it knows the file.
 */
function isKnown(names: Names | undefined, ino: number, place: NamePlace): boolean {
  const known = names?.names(ino) ?? [];
  if (known.length === 0) return true;
  return known.some(
    ({ directory, name }) => directory === place.directory && name.toString("latin1") === place.name,
  );
}

/**
 * Puts steps into an order that a reader of paths can follow: a name is free before it is taken, a directory is there
 * before something comes into it and empty before it goes. Where files have changed places in a circle, no such order
 * exists: one of them goes first. A file that left a directory which goes, for one that comes in its place, goes and comes.
 */
function inOrder(steps: readonly NameStep[], names: Names): NameStep[] {
  const pending = [...steps].sort((a, b) => rank(a) - rank(b) || depth(b, names) - depth(a, names));
  const leaving = new Map<string, number>();
  /** By inode, the names that go or become others. */
  const leavingOf = new Map<number, number>();
  const births = new Set<number>();
  /** Files that come, with whichever of their names comes first. */
  const newcomers = new Set(pending.flatMap(({ ino, isBorn }) => (isBorn ? [ino] : [])));
  /** By inode, the names that still have to go. */
  const going = new Map<number, number>();
  const children = new Map<number, number>();
  for (const { ino, was, from, to, isBorn, isDead } of pending) {
    if (from !== undefined) {
      leaving.set(slot(from), (leaving.get(slot(from)) ?? 0) + 1);
      leavingOf.set(was, (leavingOf.get(was) ?? 0) + 1);
    }
    if (to !== undefined && isBorn) births.add(ino);
    if (to === undefined) going.set(ino, (going.get(ino) ?? 0) + 1);
    if (isDead) children.set(ino, names.childCount(ino));
  }
  const ordered: NameStep[] = [];
  /** Where files are that have come or moved. */
  const parents = new Map<number, number>();
  const isWithin = (directory: number, ino: number): boolean => {
    let at = directory;
    for (let level = 0; level < MOST_LEVELS; level++) {
      if (at === ino) return true;
      const above = parents.get(at) ?? names.names(at)[0]?.directory;
      if (above === undefined || above === at) return false;
      at = above;
    }
    return true;
  };
  const take = (step: NameStep): void => {
    const { ino, from, to } = step;
    ordered.push(step);
    if (to !== undefined) parents.set(ino, to.directory);
    if (to === undefined) going.set(ino, (going.get(ino) ?? 1) - 1);
    if (from !== undefined) {
      leaving.set(slot(from), (leaving.get(slot(from)) ?? 1) - 1);
      const left = children.get(from.directory);
      if (left !== undefined) children.set(from.directory, left - 1);
    }
    if (to !== undefined) births.delete(ino);
  };
  const isReady = ({ ino, was, from, to, isDead }: NameStep): boolean => {
    if (to !== undefined && newcomers.has(ino) && (going.get(ino) ?? 0) > 0) return false;
    if (isDead && (children.get(ino) ?? 0) > 0) return false;
    if (to === undefined) return true;
    const others = leaving.get(slot(to)) ?? 0;
    const own = from !== undefined && slot(from) === slot(to) ? 1 : 0;
    if (others > own || births.has(to.directory)) return false;
    // A directory goes into one that was in it when that one has come out.
    const isMove = from !== undefined && from.directory !== to.directory;
    return !(isMove && isDirectory(names.state(was)) && isWithin(to.directory, was));
  };
  let waiting = pending;
  while (waiting.length > 0) {
    const later: NameStep[] = [];
    for (const step of waiting) {
      if (isReady(step)) take(step);
      else later.push(step);
    }
    if (later.length === waiting.length) {
      const at = later.findIndex(
        ({ was, from, to }) =>
          from !== undefined &&
          to !== undefined &&
          (children.get(from.directory) ?? 0) > 0 &&
          !isDirectory(names.state(was)),
      );
      const first = later.splice(Math.max(0, at), 1)[0] as NameStep;
      if (at < 0) take(first);
      else {
        const { ino, was } = first;
        const isLast = names.names(was).length <= (leavingOf.get(was) ?? 0);
        take({ ...first, ino: was, to: undefined, isDead: isLast });
        later.push({ ...first, was: ino, from: undefined, isBorn: isLast });
        if (isLast) births.add(first.ino);
      }
    }
    waiting = later;
  }
  return ordered;
}

function isDirectory(state: InodeState | undefined): boolean {
  return state !== undefined && (state.mode & FileType.MASK) === FileType.DIRECTORY;
}

/** What goes first, then what moves, then what comes. */
function rank({ from, to }: NameStep): number {
  return to === undefined ? 0 : from !== undefined ? 1 : 2;
}

/** How deep the name that goes lies; what comes is taken as it comes. */
function depth({ from }: NameStep, names: Names): number {
  return from === undefined ? 0 : names.ancestors(from.directory).length;
}

function slot({ directory, name }: NamePlace): string {
  return `${directory}/${name}`;
}

function hasNames(state: { readonly nlink: number } | undefined): boolean {
  return state !== undefined && state.nlink > 0;
}
