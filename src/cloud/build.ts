/** Building the tree: where each guest's volumes are shown. */
import { type FileSystem, FileType } from "../filesystems/filesystem.js";
import { type Log, logWithin } from "../images/image.js";
import { CloudTree, type Upkeep, VOLUMES } from "./cloud-tree.js";
import { CloudDirectory } from "./directory.js";
import { EventFiles, type EventLogs } from "./event-files.js";
import type { IdOwners } from "./id-owners.js";
import { PLACE_IDS, StableIds } from "./ids.js";
import {
  chooseRoot,
  MAX_MOUNT_TABLE,
  type MountTableEntry,
  parseMountTable,
  placeVolumes,
} from "./mount-table.js";
import { type Hook, Place } from "./place.js";
import { ownershipOf } from "./policy/ownership.js";
import { NO_POLICY, type Policy } from "./policy/policy.js";
import { type NameHints, VolumeAccess } from "./policy/volume-access.js";
import { volumeRoots } from "./policy/volume-roots.js";
import { resolvePath } from "./resolve.js";

/** A volume of a guest, as the tree needs to know it. */
export interface GuestVolume {
  /** `sda1` */
  readonly name: string;
  readonly type: string;
  readonly label: string;
  readonly uuid: string;
  readonly partUuid: string;
  readonly partLabel: string;
  /** Undefined if it holds nothing that can be shown. */
  readonly fileSystem: FileSystem | undefined;
  /** Whether the kernel is told of every change in it. */
  readonly isFollowed: boolean;
}

/** A guest, as the tree needs to know it. */
export interface CloudGuest {
  readonly name: string;
  readonly volumes: readonly GuestVolume[];
}

/** A tree, and where each guest mounts its volumes: by guest, then by volume. */
export interface BuiltTree {
  readonly tree: CloudTree;
  readonly mounts: ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;
  /** Where each volume is shown: by guest, then by volume. */
  readonly places: ReadonlyMap<string, ReadonlyMap<string, readonly Place[]>>;
  /** The directory that the guests are in. */
  readonly host: CloudDirectory;
}

/** The files of events in the tree's directories. */
export interface EventsShown {
  readonly logs: EventLogs;
  /** Whether directories list them. */
  readonly areListed: boolean;
}

/** What a tree has to agree on with others that show guests of the same host, in other threads. */
export interface TreeShare {
  /** The names of all the host's guests. Those that this tree does not show are listed in it, and no more. */
  readonly guests: readonly string[];
  /** Who has which ids, and who this tree is. */
  readonly owners: IdOwners;
  readonly owner: number;
}

/** Who may see what, and as whose. */
export interface TreePolicy extends Policy {
  /** An empty map of names of a volume with that root. */
  readonly hints: (rootInode: number) => NameHints;
}

const NOTHING_HIDDEN: TreePolicy = {
  ...NO_POLICY,
  hints: () => {
    throw new Error("there are no rules");
  },
};

/** How long the kernel may rely on what it was told of a file, ms: where it is told of every change, and elsewhere. */
const FOLLOWED_TIMEOUT = 24 * 3600 * 1000;
const UNFOLLOWED_TIMEOUT = 1000;
const FSTAB = ["etc", "fstab"].map((name) => Buffer.from(name));

/**
 * Builds the tree of one host. `log` is told of what a guest's mount table names and is not there. Without `share`, nobody
 * else shows guests of this host.
 */
export function buildTree(
  host: string,
  guests: readonly CloudGuest[],
  upkeep: Upkeep,
  log: Log,
  events?: EventsShown,
  share?: TreeShare,
  policy: TreePolicy = NOTHING_HIDDEN,
): BuiltTree {
  const names = share?.guests ?? guests.map(({ name }) => name);
  return new TreeBuilder(host, log, names, share, policy).build(guests, upkeep, events);
}

class TreeBuilder {
  readonly #host: string;
  readonly #log: Log;
  readonly #places = new Map<number, Place>();
  readonly #directories = new Map<number, CloudDirectory>();
  readonly #shown = new Map<string, Map<string, Place[]>>();
  readonly #placeIds: StableIds;
  readonly #eventsIds: StableIds;
  readonly #names: readonly string[];
  readonly #directoryIds: ReadonlyMap<string, number>;
  readonly #policy: TreePolicy;

  /** `names`: of all the host's guests. */
  constructor(
    host: string,
    log: Log,
    names: readonly string[],
    share: TreeShare | undefined,
    policy: TreePolicy,
  ) {
    this.#host = host;
    this.#policy = policy;
    this.#log = log;
    // Ids depend on names, and where those collide on the order.
    this.#names = [...names].sort();
    this.#directoryIds = directoryIds(this.#names);
    this.#placeIds = new StableIds(PLACE_IDS, share && ((id) => share.owners.claimPlace(id, share.owner)));
    this.#eventsIds = new StableIds(PLACE_IDS, share && ((id) => share.owners.claimEvents(id, share.owner)));
  }

  build(guests: readonly CloudGuest[], upkeep: Upkeep, events: EventsShown | undefined): BuiltTree {
    const top = new CloudDirectory(1, undefined, undefined);
    this.#directories.set(top.id, top);
    const host = this.#directory(HOST_KEY, top, undefined);
    top.children.set(latin1(this.#host), host);
    const mounts = new Map<string, ReadonlyMap<string, readonly string[]>>();
    const byName = new Map(guests.map((guest) => [guest.name, guest]));
    for (const name of this.#names) {
      const guest = byName.get(name);
      if (guest !== undefined) mounts.set(name, this.#addGuest(guest, host));
      else host.children.set(latin1(name), new CloudDirectory(this.#directoryId(guestKey(name)), host, name));
    }
    const files =
      events === undefined ? undefined : new EventFiles(events.logs, this.#places, this.#directories);
    const tree = new CloudTree(this.#places, this.#directories, upkeep, files, events?.areListed ?? false);
    return { tree, mounts, places: this.#shown, host };
  }

  #addGuest(guest: CloudGuest, host: CloudDirectory): ReadonlyMap<string, readonly string[]> {
    const log = logWithin(this.#log, guest.name, { guest: guest.name });
    const mounts = new Map<string, string[]>();
    const shown = guest.volumes.filter(({ fileSystem }) => fileSystem !== undefined);
    const rootVolume = this.#chooseRoot(shown);
    let top: Place | CloudDirectory;
    if (rootVolume === undefined) {
      top = this.#directory(guestKey(guest.name), host, guest.name);
    } else {
      top = this.#place(guest, "/", rootVolume, host, undefined);
      mounts.set(rootVolume.name, ["/"]);
      this.#addMounts(guest, top, rootVolume, mounts, log);
    }
    host.children.set(latin1(guest.name), top);
    const volumes = this.#directory(volumesKey(guest.name), top, guest.name);
    if (top instanceof Place) top.volumes = volumes;
    else top.hidden.set(VOLUMES, volumes);
    for (const volume of shown) {
      volumes.children.set(volume.name, this.#place(guest, volume.name, volume, volumes, undefined));
    }
    this.#setPolicy(guest.name, mounts);
    return mounts;
  }

  #setPolicy(guest: string, mounts: ReadonlyMap<string, readonly string[]>): void {
    const shown = this.#shown.get(guest) ?? new Map<string, Place[]>();
    const ownership = ownershipOf(guest, this.#policy.ownership);
    const points = new Map([...shown.keys()].map((volume) => [volume, mounts.get(volume) ?? []]));
    const roots = volumeRoots(this.#policy.rules, guest, points);
    for (const [volume, places] of shown) {
      const [first] = places;
      const root = roots.get(volume);
      const access =
        root === undefined || first === undefined
          ? undefined
          : new VolumeAccess(root, () => first.fileSystem, this.#policy.hints(first.fileSystem.rootInode));
      for (const place of places) {
        place.access = access;
        place.ownership = ownership;
      }
    }
  }

  #addMounts(
    guest: CloudGuest,
    root: Place,
    rootVolume: GuestVolume,
    mounts: Map<string, string[]>,
    log: Log,
  ): void {
    const table = mountTable(root);
    if (table === undefined) return;
    for (const { volume: name, mountPoint, names } of placeVolumes(
      table,
      guest.volumes,
      rootVolume.name,
      log,
    )) {
      if (names.length === 0) continue;
      const volume = guest.volumes.find((one) => one.name === name) as GuestVolume;
      const point = mountPoint.toString();
      if (volume.fileSystem === undefined) {
        log(`${name} belongs at ${point}, but holds nothing that can be shown`);
        continue;
      }
      const covered = resolvePath(root, names);
      if (covered === undefined || covered.type !== FileType.DIRECTORY) {
        log(`${name} belongs at ${point}, which is no directory there`);
        continue;
      }
      if (covered.ino === covered.place.fileSystem.rootInode) {
        log(`${name} belongs at ${point}, where another volume is already`);
        continue;
      }
      const hook: Hook = { place: covered.place, covered: covered.ino };
      covered.place.covers.set(covered.ino, this.#place(guest, point, volume, hook, root));
      mounts.set(name, [...(mounts.get(name) ?? []), point]);
    }
  }

  /** The volume that is the guest's root, looked for with every volume taken for the root once. */
  #chooseRoot(volumes: readonly GuestVolume[]): GuestVolume | undefined {
    const roots = new Map(
      volumes.map((volume) => [volume.name, probePlace(volume.fileSystem as FileSystem)]),
    );
    const name = chooseRoot(volumes, {
      mountTable: (volume) => readMountTable(roots.get(volume) as Place),
      exists: (volume, path) => {
        const components = path.split("/").map((component) => Buffer.from(component));
        const { fileSystem } = roots.get(volume) as Place;
        return exists(fileSystem, components);
      },
    });
    return volumes.find((volume) => volume.name === name);
  }

  #directory(key: string, parent: CloudDirectory | Place, guest: string | undefined): CloudDirectory {
    const directory = new CloudDirectory(this.#directoryId(key), parent, guest);
    this.#directories.set(directory.id, directory);
    return directory;
  }

  #directoryId(key: string): number {
    return this.#directoryIds.get(key) as number;
  }

  #place(
    guest: CloudGuest,
    key: string,
    volume: GuestVolume,
    parent: CloudDirectory | Hook,
    top: Place | undefined,
  ): Place {
    const identity = {
      id: this.#placeIds.take(`${guest.name} ${key} ${volume.uuid}`),
      eventsId: this.#eventsIds.take(`${guest.name} ${key} ${volume.uuid}`),
      guest: guest.name,
      volume: volume.name,
    };
    const { id } = identity;
    const timeout = volume.isFollowed ? FOLLOWED_TIMEOUT : UNFOLLOWED_TIMEOUT;
    const place = new Place(identity, volume.fileSystem as FileSystem, parent, top, timeout);
    const shown = this.#shown.get(guest.name) ?? new Map<string, Place[]>();
    this.#shown.set(guest.name, shown);
    shown.set(volume.name, [...(shown.get(volume.name) ?? []), place]);
    this.#places.set(id, place);
    return place;
  }
}

const HOST_KEY = "host";

function guestKey(guest: string): string {
  return `guest ${guest}`;
}

function volumesKey(guest: string): string {
  return `volumes ${guest}`;
}

/** Ids of the directories that are no guest's, by key: the same in all trees of the host. */
function directoryIds(names: readonly string[]): Map<string, number> {
  const ids = new StableIds(2 ** 32);
  const keys = [HOST_KEY, ...names.flatMap((name) => [guestKey(name), volumesKey(name)])];
  return new Map(keys.map((key) => [key, ids.take(key)]));
}

/**
 * The ids of a guest's directories that are on none of its volumes: the one that it is in place of a root, and its
 * `.volumes`. `names`: of all the host's guests.
 */
export function directoriesOf(guest: string, names: readonly string[]): number[] {
  const ids = directoryIds([...names].sort());
  return [guestKey(guest), volumesKey(guest)].map((key) => ids.get(key) as number);
}

/** A volume as if it were all of a guest. */
function probePlace(fileSystem: FileSystem): Place {
  const identity = { id: 0, eventsId: 0, guest: "", volume: "" };
  return new Place(identity, fileSystem, new CloudDirectory(0, undefined, undefined), undefined, 0);
}

/** Whether a path is there, its last component a link or not. What cannot be read is not there. */
function exists(fileSystem: FileSystem, names: readonly Buffer[]): boolean {
  const directory = resolvePath(probePlace(fileSystem), names.slice(0, -1));
  const last = names[names.length - 1];
  if (directory === undefined || last === undefined) return false;
  try {
    return directory.type === FileType.DIRECTORY && fileSystem.lookup(directory.ino, last) !== 0;
  } catch {
    return false;
  }
}

/** The bytes of etc/fstab, as many as count; undefined if there is none, or it cannot be read. */
function readMountTable(root: Place): Buffer | undefined {
  const file = resolvePath(root, FSTAB);
  if (file === undefined || file.type !== FileType.REGULAR) return undefined;
  const buffer = Buffer.alloc(MAX_MOUNT_TABLE + 1);
  try {
    return buffer.subarray(0, file.place.fileSystem.read(file.ino, 0, buffer.length, buffer, 0));
  } catch {
    return undefined;
  }
}

function mountTable(root: Place): MountTableEntry[] | undefined {
  const table = readMountTable(root);
  return table === undefined ? undefined : parseMountTable(table);
}

/** Names of the tree are kept with one character a byte. */
function latin1(name: string): string {
  return Buffer.from(name).toString("latin1");
}
