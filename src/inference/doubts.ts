/** What a follower was not sure of, settled by the map of what was there before. */
import type { Changes, InodeChange, InodeState, Listing, NameChange } from "../filesystems/changes.js";
import type { VolumeIndex } from "./volume-events.js";

const NO_NAMES: ReadonlyMap<string, number> = new Map();

export function hasDoubts({ unsureInodes, unsureDirectories }: Changes): boolean {
  return unsureInodes.length + unsureDirectories.length > 0;
}

/** The changes with all that the map, which is as of before them, shows to have changed. */
export function settleDoubts(changes: Changes, index: VolumeIndex): Changes {
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
  for (const { directory, generation, names: listed = NO_NAMES } of whole) {
    const before = children.get(directory) ?? NO_NAMES;
    const push = (name: string, ino: number, now: number): void => {
      names.push({ directory, generation, name: Buffer.from(name, "latin1"), ino, now } satisfies NameChange);
    };
    for (const [name, ino] of before) {
      const now = listed.get(name) ?? 0;
      if (now !== ino) push(name, ino, now);
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
