/** Taking in what became of the guests' volumes, in the thread that owns the views which users read. */
import type { Place } from "../cloud/place.js";
import type { ChangedName, Crossed } from "../cloud/policy/volume-access.js";
import { Attributes, type Standing } from "../filesystems/filesystem.js";
import { openFileSystem } from "../filesystems/formats.js";
import { type Log, logWithin, type Service } from "../images/image.js";
import { InodeIndex } from "../inference/inode-index.js";
import { imagesOf } from "./guest.js";
import { serviceOf } from "./joint-service.js";
import type { OpenTree } from "./open-tree.js";
import { partsOfKey, type Told, type Update, volumeKey } from "./updates.js";

/** ms between looks at volumes of whose changes nobody tells. */
const UNFOLLOWED_EVERY = 500;

/** ms until a volume that could not be read afresh is tried again. */
const RETRY = 500;

export class Updating {
  /** Volumes that an update is missing of, and since when they were tried last: nothing more is applied to them. */
  readonly #stale = new Map<string, number>();
  readonly #opened: OpenTree;
  readonly #log: Log;
  readonly #places = new Map<string, readonly Place[]>();
  readonly #unfollowed: readonly Place[];
  /** Of the images that others serve, by the keys of their volumes. */
  readonly #services = new Map<string, Service>();
  #forgotten = performance.now();
  /** Reads of images that have been looked after. */
  #reads = -1;

  /** `followed`: keys of the volumes that updates come for. */
  constructor(opened: OpenTree, followed: ReadonlySet<string>, log: Log) {
    this.#opened = opened;
    this.#log = log;
    for (const [guest, volumes] of opened.places) {
      for (const [volume, places] of volumes) this.#places.set(volumeKey(guest, volume), places);
    }
    for (const guest of opened.guests) {
      for (const disk of guest.disks) {
        for (const { volume } of disk.volumes) {
          const service = serviceOf(imagesOf(guest, disk, volume));
          if (service !== undefined) this.#services.set(volumeKey(guest.name, volume.name), service);
        }
      }
    }
    this.#unfollowed = [...this.#places].flatMap(([key, [first]]) =>
      first === undefined || followed.has(key) ? [] : [first],
    );
  }

  /** Takes an update in. Returns what the kernel was told of a volume that is read afresh. */
  take(update: Update): Told | undefined {
    const places = this.#places.get(update.volume) ?? [];
    const fileSystem = places[0]?.fileSystem;
    if (fileSystem === undefined) return undefined;
    const staleSince = this.#stale.get(update.volume);
    if (staleSince !== undefined && update.kind !== "reopen") {
      if (performance.now() - staleSince < RETRY) return undefined;
      return this.take({ kind: "reopen", volume: update.volume });
    }
    const access = places[0]?.access;
    access?.changed();
    try {
      switch (update.kind) {
        case "commit":
          fileSystem.apply(update.commit);
          break;
        case "settled":
          fileSystem.settle(update.sequence);
          break;
        case "unsure":
          return earlierFiles(update.volume, places, update.inodes);
        case "unnamed":
          for (const place of places) for (const ino of update.inodes) place.forgetParent(ino);
          break;
        case "named":
          return crossed(update.volume, places, access?.take(update.names.map(fromPost)));
        case "crawling":
          access?.expectHints();
          break;
        case "crawled":
          access?.setHints(InodeIndex.from(update.parts));
          // What was hidden for want of names is in no listing that the kernel keeps.
          return access && told(update.volume, places);
        case "reread":
          fileSystem.reread();
          return told(update.volume, places);
        case "reopen": {
          const reopened = this.#reopen(update.volume, places);
          this.#stale.delete(update.volume);
          return reopened;
        }
      }
    } catch (error) {
      this.#logOf(update.volume)(`an update could not be taken in: ${(error as Error).message}`);
      // Without it all that comes after would be wrong.
      this.#stale.set(update.volume, performance.now());
      return update.kind === "reopen" ? undefined : this.take({ kind: "reopen", volume: update.volume });
    }
    return undefined;
  }

  /**
   * Whether what was answered since the last call stands. What the guests have written since is taken in; `tell` is
   * given what the kernel was told of a volume that had to be opened afresh.
   */
  holds(tell: (told: Told) => void): boolean {
    const { cache } = this.#opened;
    if (cache.reads === this.#reads) return true;
    let holds = true;
    for (const [key, places] of this.#places) {
      const standing = this.#standing(key, places);
      if (standing === "current") continue;
      holds = false;
      places[0]?.access?.changed();
      if (standing === "moved" || standing === "unknown") continue;
      const told = this.take({ kind: "reopen", volume: key });
      if (told !== undefined) tell(told);
    }
    // Opening a volume afresh reads, too, and is to be looked after.
    if (holds) this.#reads = cache.reads;
    return holds;
  }

  /** `unknown`: the image cannot be read for the time being, so that nobody can say. */
  #standing(key: string, [first]: readonly Place[]): Standing | "unknown" {
    try {
      return first?.fileSystem.standing() ?? "current";
    } catch (error) {
      if (this.#services.get(key)?.isAnswering === false) return "unknown";
      this.#logOf(key)((error as Error).message);
      return "current";
    }
  }

  /** Forgets, now and then, what was read of volumes that nobody follows. */
  forgetUnfollowed(): void {
    const now = performance.now();
    if (now - this.#forgotten < UNFOLLOWED_EVERY) return;
    this.#forgotten = now;
    for (const { fileSystem, access } of this.#unfollowed) {
      fileSystem.forget();
      access?.changed();
    }
  }

  #logOf(key: string): Log {
    return logWithin(this.#log, key, partsOfKey(key));
  }

  #reopen(key: string, places: readonly Place[]): Told | undefined {
    const found = this.#opened.guests
      .flatMap(({ name, disks }) =>
        disks.flatMap(({ volumes }) => volumes.map(({ volume }) => ({ name, volume }))),
      )
      .find(({ name, volume }) => volumeKey(name, volume.name) === key);
    if (found === undefined) return undefined;
    places[0]?.fileSystem.forget();
    const { cache, matching } = this.#opened;
    const fileSystem = openFileSystem(found.volume.source, cache, this.#logOf(key), matching);
    if (fileSystem === undefined) throw new Error("there is no file system any more");
    for (const place of places) place.reopened(fileSystem);
    return told(key, places);
  }
}

/** What the kernel was told of a volume. */
function told(volume: string, places: readonly Place[]): Told {
  const nodes: number[] = [];
  const attributes = new Attributes();
  for (const place of places) {
    for (const ino of place.told) {
      try {
        place.fileSystem.stat(ino, attributes);
        nodes.push(place.nodeHigh(ino, attributes.generation), ino);
      } catch {
        // It is no more: asked for again, it is answered so.
      }
      for (const high of place.otherNodes(ino, undefined)) nodes.push(high, ino);
    }
  }
  return { kind: "told", volume, nodes: Float64Array.from(nodes) };
}

/** What the kernel was told of files that come to be hidden or shown, or may; undefined: nothing. */
function crossed(
  volume: string,
  places: readonly Place[],
  { isAll, inodes }: Crossed = { isAll: false, inodes: new Set() },
): Told | undefined {
  if (isAll) return told(volume, places);
  const nodes: number[] = [];
  for (const place of places) {
    for (const ino of inodes) for (const high of place.otherNodes(ino, undefined)) nodes.push(high, ino);
  }
  return nodes.length === 0 ? undefined : { kind: "told", volume, nodes: Float64Array.from(nodes) };
}

function fromPost({ directory, name, ino, now }: ChangedName): ChangedName {
  return { directory, name: Buffer.from(name.buffer, name.byteOffset, name.length), ino, now };
}

/** The nodes that the kernel has of what inodes were before; undefined: none. */
function earlierFiles(volume: string, places: readonly Place[], inodes: readonly number[]): Told | undefined {
  const nodes: number[] = [];
  const attributes = new Attributes();
  for (const place of places) {
    for (const ino of inodes) {
      const highs = place.otherNodes(ino, generationOf(place, ino, attributes));
      for (const high of highs) nodes.push(high, ino);
    }
  }
  return nodes.length === 0 ? undefined : { kind: "told", volume, nodes: Float64Array.from(nodes) };
}

/** Undefined: it is no file's. */
function generationOf(place: Place, ino: number, attributes: Attributes): number | undefined {
  try {
    place.fileSystem.stat(ino, attributes);
    return attributes.generation;
  } catch {
    return undefined;
  }
}
