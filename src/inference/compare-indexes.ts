/** What differs between two maps of the same volume, as if one transaction had changed it. */
import { type Changes, type InodeChange, type NameChange, NO_CHANGES } from "../filesystems/changes.js";
import type { IndexedName, InodeIndex } from "./inode-index.js";

/** A name that stands for another inode, or for another file of the same inode number. */
type Renamed = { -readonly [Key in keyof NameChange]: NameChange[Key] };

/**
 * What changed from one map to another; inodes whose names alone changed are among the inodes. Neither map knows
 * extended attributes or the targets of links, nor can it be told whether a file was written over whose size and times
 * are the same.
 */
export function compareIndexes(old: InodeIndex, now: InodeIndex): Changes {
  const inodes: InodeChange[] = [];
  const differing: number[] = [];
  const reused = new Set<number>();
  for (const ino of both(old, now)) {
    if (old.isSame(ino, now)) continue;
    differing.push(ino);
    const before = old.state(ino);
    const after = now.state(ino);
    if (before === undefined && after === undefined) continue;
    inodes.push({ ino, old: before, now: after });
    if (before !== undefined && after !== undefined && before.generation !== after.generation)
      reused.add(ino);
  }
  // What is in a directory that another has taken the place of is named anew, though it be the same file.
  const named = reused.size === 0 ? differing : both(old, now);
  return { ...NO_CHANGES, inodes, names: nameChanges(old, now, named, reused) };
}

/** The inodes of both maps, each once. */
function* both(old: InodeIndex, now: InodeIndex): Generator<number> {
  yield* old.inodes();
  for (const ino of now.inodes()) if (!old.has(ino)) yield ino;
}

function nameChanges(
  old: InodeIndex,
  now: InodeIndex,
  inodes: Iterable<number>,
  reused: ReadonlySet<number>,
): NameChange[] {
  const changes = new Map<string, Renamed>();
  const at = (directory: number, name: Buffer, key: string): Renamed => {
    let change = changes.get(key);
    if (change === undefined) {
      const generation = (old.state(directory) ?? now.state(directory))?.generation ?? 0;
      change = { directory, generation, name, ino: 0, now: 0 };
      changes.set(key, change);
    }
    return change;
  };
  for (const ino of inodes) {
    const before = bySlot(old.names(ino));
    const after = bySlot(now.names(ino));
    const isOther = (directory: number) => reused.has(ino) || reused.has(directory);
    for (const [key, { directory, name }] of before)
      if (isOther(directory) || !after.has(key)) at(directory, name, key).ino = ino;
    for (const [key, { directory, name }] of after)
      if (isOther(directory) || !before.has(key)) at(directory, name, key).now = ino;
  }
  return [...changes.values()];
}

function bySlot(names: readonly IndexedName[]): Map<string, IndexedName> {
  return new Map(names.map((one) => [`${one.directory}/${one.name.toString("latin1")}`, one]));
}
