/** What a follower was not sure of, settled by the map of what was there before. */
import type { Changes, InodeChange, InodeState, Listing, NameChange } from "../filesystems/changes.js";
import { FileType } from "../filesystems/filesystem.js";
import type { VolumeIndex } from "./volume-events.js";

type NamePlace = ReturnType<VolumeIndex["names"]>[number];

const NO_NAMES: ReadonlyMap<string, number> = new Map();

export function hasDoubts({ unsureInodes, unsureDirectories }: Changes): boolean {
  return unsureInodes.length + unsureDirectories.length > 0;
}

/** The changes with all that the map, which is as of before them, shows to have changed. */
export function settleDoubts(changes: Changes, index: VolumeIndex): Changes {
  return withLostNames(withoutUnchangedNames(settle(changes, index)), index);
}

/** Names that stand for what they stood for are left out, but in a directory that took the number of another one. */
function withoutUnchangedNames(changes: Changes): Changes {
  if (changes.names.every(({ ino, now }) => ino !== now)) return changes;
  const renewed = new Set(changes.inodes.filter(isAnother).map(({ ino }) => ino));
  return {
    ...changes,
    names: changes.names.filter(({ directory, ino, now }) => ino !== now || renewed.has(directory)),
  };
}

/** Whether an inode was used for another file. */
function isAnother({ old, now }: InodeChange): boolean {
  return old !== undefined && now !== undefined && old.generation !== now.generation;
}

/**
 * The changes with all names of directories that were removed. A removed directory's block can be another file's by the
 * time its names are read: those that the map has, and that were not found, went with it.
 */
function withLostNames(changes: Changes, index: VolumeIndex): Changes {
  const removed = new Map<number, number>();
  for (const { ino, old, now } of changes.inodes) {
    if (old === undefined || !isDirectory(old) || index.childCount(ino) === 0) continue;
    const isThere = now !== undefined && now.nlink > 0 && now.generation === old.generation;
    if (!isThere) removed.set(ino, old.generation);
  }
  if (removed.size === 0) return changes;
  const found = new Map([...removed.keys()].map((directory) => [directory, new Set<string>()]));
  for (const { directory, name, ino } of changes.names) {
    const hasName = (one: NamePlace): boolean => one.directory === directory && one.name.equals(name);
    if (removed.has(directory) && index.names(ino).some(hasName))
      found.get(directory)?.add(name.toString("latin1"));
  }
  const incomplete = [...removed.keys()].filter(
    (directory) => (found.get(directory)?.size ?? 0) < index.childCount(directory),
  );
  const names = [...changes.names];
  for (const [directory, children] of index.children(incomplete)) {
    const generation = removed.get(directory) as number;
    for (const [name, ino] of children) {
      if (found.get(directory)?.has(name) === true) continue;
      names.push({ directory, generation, name: Buffer.from(name, "latin1"), ino, now: 0 });
    }
  }
  return { ...changes, names };
}

function isDirectory({ mode }: InodeState): boolean {
  return (mode & FileType.MASK) === FileType.DIRECTORY;
}

function settle(changes: Changes, index: VolumeIndex): Changes {
  if (!hasDoubts(changes)) return changes;
  const inodes = [...changes.inodes];
  for (const change of changes.unsureInodes) {
    const settled = settleInode(change, index.state(change.ino));
    if (settled !== undefined) inodes.push(settled);
  }
  const listings = [...changes.unsureDirectories, ...removedDirectories(changes, index)];
  const whole = listings.filter(({ names: listed }) => listed !== undefined);
  const children = index.children(whole.map(({ directory }) => directory));
  const names = [...changes.names];
  const told = new Set(names.map(({ directory, name }) => `${directory}/${name.toString("latin1")}`));
  for (const { directory, generation, names: listed = NO_NAMES, isIncomplete } of whole) {
    const before = children.get(directory) ?? NO_NAMES;
    const push = (name: string, ino: number, now: number): void => {
      if (told.has(`${directory}/${name}`)) return;
      names.push({ directory, generation, name: Buffer.from(name, "latin1"), ino, now } satisfies NameChange);
    };
    for (const [name, ino] of before) {
      const now = listed.get(name);
      if (now !== undefined || isIncomplete !== true) push(name, ino, now ?? 0);
    }
    for (const [name, now] of listed) if (!before.has(name)) push(name, 0, now);
  }
  return { inodes, names, unsureInodes: [], unsureDirectories: [] };
}

/** Directories of which nobody knew that they were any: in their places there was what they are now. Empty listings. */
function removedDirectories({ unsureInodes, unsureDirectories }: Changes, index: VolumeIndex): Listing[] {
  const listed = new Set(unsureDirectories.map(({ directory }) => directory));
  return unsureInodes
    .filter(({ ino }) => !listed.has(ino) && index.childCount(ino) > 0)
    .map(({ ino }) => ({
      directory: ino,
      generation: index.state(ino)?.generation ?? 0,
      names: NO_NAMES,
    }));
}

function settleInode(
  { ino, now, attributes, target }: InodeChange,
  old: InodeState | undefined,
): InodeChange | undefined {
  const wasThere = old !== undefined && old.nlink > 0;
  const isThere = now !== undefined && now.nlink > 0;
  if (!isThere) return wasThere ? { ino, old, now } : undefined;
  if (!wasThere || old.generation !== now.generation) {
    const has = attributes !== undefined && attributes.now.size > 0;
    return {
      ino,
      old,
      now,
      ...(has ? { attributes } : {}),
      ...(target === undefined ? {} : { target }),
    };
  }
  const isTouched = old.ctime !== now.ctime || old.ctimeNsec !== now.ctimeNsec;
  // The map does not have the attributes: where there are or were any, they may have changed with the ctime.
  const isKept = !isTouched && old.hasAttributes === now.hasAttributes;
  const mayDiffer =
    !isKept && attributes !== undefined && (attributes.now.size > 0 || old.hasAttributes === true);
  if (mayDiffer) return { ino, old, now, attributes: { old: undefined, now: attributes.now } };
  return isTouched || !isSame(old, now) ? { ino, old, now } : undefined;
}

function isSame(old: InodeState, now: InodeState): boolean {
  return (
    old.mode === now.mode &&
    old.uid === now.uid &&
    old.gid === now.gid &&
    old.size === now.size &&
    old.nlink === now.nlink &&
    old.flags === now.flags &&
    old.mtime === now.mtime &&
    old.mtimeNsec === now.mtimeNsec
  );
}
