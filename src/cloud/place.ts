/** A place in the tree where a volume is shown: a guest's root, a mount point of the guest's, `.volumes/<name>`. */
import type { FileSystem, VolumeNames } from "../filesystems/filesystem.js";
import type { CloudDirectory } from "./directory.js";
import { digestOf, nodeHigh } from "./ids.js";
import type { Ownership } from "./policy/ownership.js";
import type { VolumeAccess } from "./policy/volume-access.js";
import { ToldInodes } from "./told-inodes.js";

/** Directories and links whose parents are remembered; links in what comes beyond that cannot be followed. */
const MOST_PARENTS = 1_000_000;
/** Directories above each other; more are a loop on a bad disk. */
const DEEPEST = 4096;

/** Where a place hangs in another one. */
export interface Hook {
  readonly place: Place;
  /** The directory that is covered. */
  readonly covered: number;
}

/** Told of nodes with another digest than their generations' first; see ToldInodes. */
export type UncommonNodes = (high: number, ino: number, generation: number) => void;

/** Told where directories and links are shown, as a Place is. */
export interface ParentLedger {
  parent(placeId: number, ino: number, directory: number): void;
}

/** What a place is known by. */
export interface PlaceIdentity {
  readonly id: number;
  readonly eventsId: number;
  readonly guest: string;
  readonly volume: string;
}

export class Place {
  /** Unique in the tree, the same after a restart; see ids.ts. */
  readonly id: number;
  /** The same, for the files of events in its directories. */
  readonly eventsId: number;
  readonly guest: string;
  /** `sda1` */
  readonly volume: string;
  /** Replaced when the volume is opened afresh. */
  fileSystem: FileSystem;
  /** The nodes that somebody was told of, who may still hold what he was told. */
  readonly told = new ToldInodes();
  /** Where ".." of its root leads: a directory of the tree's own, or the parent of a covered directory. */
  readonly parent: CloudDirectory | Hook;
  /** The `.volumes` of the guest whose root this is. */
  volumes: CloudDirectory | undefined;
  /** Where absolute links begin: the guest's root; of a volume on its own, the volume's, unless that knows of others. */
  #top: Place;
  #volumeNames: VolumeNames | undefined;
  /** How long the kernel may keep names and attributes, ms. */
  readonly timeout: number;
  /** Places that cover directories of this one, by the directory's inode. */
  readonly covers = new Map<number, Place>();
  /**
   * By inode, the directory in which a directory or link was shown, and, by the root's inode, that in the place above
   * which holds the mount point. This is what the kernel knows. What ".." says on the disk is not to be relied on: the
   * guest may write there what it likes.
   */
  readonly #parents = new Map<number, number>();
  /** The same, as an earlier server of the same mount knew it: what the kernel knows until it looks a name up again. */
  readonly #inherited = new Map<number, number>();
  /** Told of what is noted, so that a later server can inherit it. */
  ledger: ParentLedger | undefined;
  uncommon: UncommonNodes | undefined;
  /** Who may see what of the volume; undefined: all of it is shown. The same for all places of a volume. */
  access: VolumeAccess | undefined;
  /** As whose its files are shown; undefined: as in the guest. */
  ownership: Ownership | undefined;

  constructor(
    { id, eventsId, guest, volume }: PlaceIdentity,
    fileSystem: FileSystem,
    parent: CloudDirectory | Hook,
    top: Place | undefined,
    timeout: number,
  ) {
    this.id = id;
    this.eventsId = eventsId;
    this.guest = guest;
    this.volume = volume;
    this.fileSystem = fileSystem;
    this.parent = parent;
    this.#top = top ?? this;
    this.timeout = timeout;
  }

  get top(): Place {
    return this.#top;
  }

  /** Has its links lead to the guest's volumes by these names: from `top` on, the guest's root, if it is in `.volumes`. */
  nameVolumes(names: VolumeNames, top: Place): void {
    this.#volumeNames = names;
    this.fileSystem.nameVolumes?.(names);
    if (this.parent === top.volumes) this.#top = top;
  }

  /** The volume has been opened afresh. */
  reopened(fileSystem: FileSystem): void {
    this.fileSystem = fileSystem;
    if (this.#volumeNames !== undefined) fileSystem.nameVolumes?.(this.#volumeNames);
  }

  /** Whether it is the root of its guest. */
  get isGuestRoot(): boolean {
    return this.volumes !== undefined;
  }

  /**
   * Notes that a directory or link was shown in a directory. If it was shown elsewhere too, the one that is less deep is
   * kept: a link's text is safe wherever it lies at least as deep as was thought.
   */
  noteParent(ino: number, directory: number): void {
    const known = this.#parents.get(ino);
    if (known === directory) return;
    if (known === undefined && this.#parents.size >= MOST_PARENTS) return;
    if (known !== undefined) {
      const above = ino === this.fileSystem.rootInode && "place" in this.parent ? this.parent.place : this;
      const depth = above.depth(known);
      const other = above.depth(directory);
      if (depth !== undefined && (other === undefined || depth <= other)) return;
    }
    this.#parents.set(ino, directory);
    this.ledger?.parent(this.id, ino, directory);
  }

  /** The upper half of the node of a file. */
  nodeHigh(ino: number, generation: number): number {
    return nodeHigh(this.id, this.told.digest(ino, generation));
  }

  /** Notes that somebody is told of a node. */
  noteTold(high: number, ino: number, generation: number): void {
    if (this.told.add(ino, digestOf(high), generation)) this.uncommon?.(high, ino, generation);
  }

  /** The upper halves of all nodes of an inode that somebody may have, but for that of one file. */
  otherNodes(ino: number, generation: number | undefined): number[] {
    return [...this.told.nodes(ino)].flatMap((node) =>
      node.generation === generation ? [] : [nodeHigh(this.id, node.digest)],
    );
  }

  /**
   * Notes that an earlier server of the same mount had told of a node, in that directory unless it is 0. `generation` 0:
   * it is not known.
   */
  inherit(high: number, ino: number, directory: number, generation: number): void {
    this.told.inherit(ino);
    if (generation !== 0) this.noteTold(high, ino, generation);
    if (directory !== 0) this.#inherited.set(ino, directory);
  }

  /** Forgets where an inode was shown, as the kernel has been told to forget its name. */
  forgetParent(ino: number): void {
    this.#parents.delete(ino);
    this.#inherited.delete(ino);
  }

  /** The directory in which an inode was shown. */
  parentShown(ino: number): number | undefined {
    return this.#parents.get(ino) ?? this.#inherited.get(ino);
  }

  /** How deep a directory was shown below `top`; undefined if that is not known. */
  depth(directory: number): number | undefined {
    let place: Place = this;
    let ino = directory;
    for (let depth = 0; depth < DEEPEST; depth++) {
      const isRoot = ino === place.fileSystem.rootInode;
      if (isRoot && place === this.top) return depth;
      // In `.volumes`, which is in the guest's root.
      if (isRoot && place.parent === this.top.volumes) return depth + 2;
      const above = place.parentShown(ino);
      if (above === undefined) return undefined;
      if (isRoot) {
        if (!("place" in place.parent)) return undefined;
        place = place.parent.place;
      }
      ino = above;
    }
    return undefined;
  }
}
