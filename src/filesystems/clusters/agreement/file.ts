/** A file or directory of one version, as the follower keeps it. */
import type { InodeState } from "../../changes.js";
import type { DirectoryEntry } from "../entry.js";
import { inodeState } from "../inode-state.js";
import type { DirectoryPlace, Slots } from "../layout.js";

export interface KnownFile {
  readonly ino: number;
  readonly directory: number;
  /** One character a byte. */
  readonly name: string;
  /** Of its own slot, on the volume. */
  readonly place: number;
  /** All slots that it takes, on the volume; and what is in them. */
  readonly slots: readonly number[];
  readonly raw: string;
  readonly isDirectory: boolean;
  readonly isBad: boolean;
  /** Its name is one that was made for a longer name, which is not there. */
  readonly lacksName: boolean;
  readonly firstCluster: number;
  readonly isContiguous: boolean;
  /** Bytes. */
  readonly size: number;
  readonly state: InodeState;
}

const SLOT = 32;

/** Keeps what an entry says; `slots` are those of its directory. Throws IoError. */
export function knownFile(
  directory: number,
  entry: DirectoryEntry,
  slots: Slots,
  clusterSize: number,
): KnownFile {
  const places: number[] = [];
  let raw = "";
  for (let slot = entry.firstSlot; slot < entry.nextSlot; slot++) {
    const buffer = slots.locate(slot);
    if (buffer === undefined) break;
    places.push(slots.place);
    raw += buffer.toString("latin1", slots.at, slots.at + SLOT);
  }
  const name = entry.name.toString("latin1", 0, entry.nameLength);
  return {
    ino: entry.ino,
    directory,
    name,
    place: entry.place,
    slots: places,
    raw,
    isDirectory: entry.isDirectory,
    isBad: entry.isBad,
    lacksName: entry.aliasLength > 0 && entry.firstSlot === entry.slot && /~\d/.test(name),
    firstCluster: entry.firstCluster,
    isContiguous: entry.isContiguous,
    size: entry.size,
    state: inodeState(entry, clusterSize),
  };
}

/** Where a directory lies. */
export function placeOfFile({ firstCluster, isContiguous, size }: KnownFile): DirectoryPlace {
  return { firstCluster, isContiguous, size: size === 0 ? undefined : size };
}

/** As many clusters as a file's size takes. */
export function clustersNeeded({ size }: KnownFile, clusterSize: number): number {
  return Math.ceil(size / clusterSize);
}
