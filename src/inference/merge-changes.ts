/**
 * What several commits change, one after the other, as if one had changed it: where what is on the disk is of the later
 * ones already, only all of them together fit what was there before.
 */
import type { AttributesChange, Changes, InodeChange, Listing, NameChange } from "../filesystems/changes.js";

/**
 * What `first` and then `second` change; what either is not sure of, both together are not. A name that went and came
 * back is among them: whether it is the same one only settleDoubts() can tell.
 */
export function mergeChanges(first: Changes, second: Changes): Changes {
  const all = new Map([...first.inodes, ...first.unsureInodes].map((change) => [change.ino, change]));
  for (const change of second.inodes) all.set(change.ino, mergeInode(all.get(change.ino), change));
  for (const change of second.unsureInodes) all.set(change.ino, change);
  const unsure = new Set([...first.unsureInodes, ...second.unsureInodes].map(({ ino }) => ino));
  const inodes = [...all.values()];
  return {
    ...mergeNames(first, second),
    inodes: inodes.filter(({ ino }) => !unsure.has(ino)),
    unsureInodes: inodes.filter(({ ino }) => unsure.has(ino)),
    isPartial: second.isPartial === true,
  };
}

function mergeNames(first: Changes, second: Changes): Pick<Changes, "names" | "unsureDirectories"> {
  const listings = new Map(first.unsureDirectories.map((listing) => [listing.directory, listing]));
  const names = new Map(first.names.map((change) => [keyOf(change), change]));
  for (const change of second.names) {
    const key = keyOf(change);
    const before = names.get(key);
    const listing = listings.get(change.directory);
    if (listing !== undefined) listings.set(change.directory, withName(listing, change));
    else names.set(key, before === undefined ? change : mergeName(before, change));
  }
  for (const listing of second.unsureDirectories) listings.set(listing.directory, listing);
  return {
    names: [...names.values()].filter(({ directory }) => !listings.has(directory)),
    unsureDirectories: [...listings.values()],
  };
}

function mergeName(first: NameChange, second: NameChange): NameChange {
  const between = [
    ...(first.between ?? []),
    ...(first.now === 0 ? [] : [first.now]),
    ...(second.between ?? []),
  ];
  return { ...first, now: second.now, ...(between.length > 0 && { between }) };
}

/** A listing after a change of one of its names. */
function withName(listing: Listing, { name, now }: NameChange): Listing {
  if (listing.names === undefined) return listing;
  const names = new Map(listing.names);
  if (now === 0) names.delete(name.toString("latin1"));
  else names.set(name.toString("latin1"), now);
  return { ...listing, names };
}

function mergeInode(first: InodeChange | undefined, second: InodeChange): InodeChange {
  if (first === undefined) return second;
  const { ino, now } = second;
  const isSameFile = first.now?.generation === now?.generation;
  const attributes = isSameFile ? mergeAttributes(first.attributes, second.attributes) : second.attributes;
  const target = second.target ?? (isSameFile ? first.target : undefined);
  return {
    ino,
    old: first.old,
    now,
    ...(attributes && { attributes }),
    ...(target && { target }),
  };
}

/** `second` has those attributes only that it changes. */
function mergeAttributes(
  first: AttributesChange | undefined,
  second: AttributesChange | undefined,
): AttributesChange | undefined {
  if (first === undefined || second === undefined) return first ?? second;
  const now = new Map([...first.now].filter(([name]) => second.old?.has(name) !== true));
  for (const [name, value] of second.now) now.set(name, value);
  if (first.old === undefined) return { old: undefined, now };
  const old = new Map([...(second.old ?? [])].filter(([name]) => !first.now.has(name)));
  for (const [name, value] of first.old) old.set(name, value);
  return { old, now };
}

function keyOf({ directory, name }: NameChange): string {
  return `${directory}/${name.toString("latin1")}`;
}
