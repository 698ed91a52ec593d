/**
 * Following the guests: what each journal shows is handed to the serving thread first, and then the kernel is told what
 * it must not rely on any longer. In that order, as what it asks then is to be answered by the new version.
 */
import { Watch } from "../capture/watch.js";
import { nodeHigh } from "../cloud/ids.js";
import type { Changes } from "../filesystems/changes.js";
import { FileType } from "../filesystems/filesystem.js";
import type { Follower, Look, ReopenReason } from "../filesystems/follower.js";
import { followFileSystem, identify } from "../filesystems/formats.js";
import type { Log, Source, Spot } from "../images/image.js";
import { IoError } from "../images/io-error.js";
import { BlockCache } from "../versions/block-cache.js";
import type { EventTaker } from "./event-hub.js";
import { openGuest } from "./guest.js";
import type { GuestSpec } from "./guest-name.js";
import type { ShownVolume } from "./shown-volumes.js";
import type { VolumeStatus } from "./status.js";
import { type Told, type Update, volumeKey } from "./updates.js";

/** Bytes of metadata at hand, to compare commits with. */
const CACHE_BYTES = 8 << 20;
/**
 * A file that is written over in place changes its mtime in the journal at once, its bytes when the guest writes its
 * cache back: ms after a change at which the kernel's copy of a file is dropped again. Linux waits 30 s at most, and
 * looks every 5 s (dirty_expire_centisecs, dirty_writeback_centisecs).
 */
const AGAIN_AFTER = [1000, 3000, 6000, 12_000, 20_000, 36_000];
/** Files that are remembered for that. */
const MOST_AGAIN = 10_000;
/**
 * Those that changed last are dropped more often, in ms: when others' fsync has committed a file's mtime and size before its
 * bytes were written, its own fsync writes the bytes and leaves no trace in the journal.
 */
const LATEST_EVERY = 100;
const MOST_LATEST = 64;
/**
 * A listing that the kernel is filling its cache with as a directory is dropped goes on with the old entries, and counts
 * as current if the directory's mtime has not moved on by a tick of the guest's clock: ms after which it is dropped again.
 */
const LISTINGS_AGAIN_AFTER = [30, 300];
/** ms before a volume that could not be followed is tried again: at first, and at most; each time twice as long. */
const RETRY = 1000;
const LONGEST_RETRY = 30_000;

/** Has the kernel drop what it has; see Notifier of fuse/kernel/notify.ts. */
export interface Notifications {
  invalidateInode(high: number, low: number): void;
  invalidateEntry(high: number, low: number, name: Buffer): void;
  /** False: it cannot be done. */
  increaseEpoch(): boolean;
}

/** A file whose bytes may still change. */
interface Pending {
  readonly high: number;
  readonly low: number;
  readonly changed: number;
  done: number;
}

class FollowedVolume {
  readonly guest: string;
  readonly volume: string;
  readonly key: string;
  /** Of the image. */
  readonly path: string;
  readonly #source: Source;
  readonly #cache = new BlockCache(CACHE_BYTES);
  readonly #log: Log;
  /** The last transaction that was taken. */
  transaction: number | undefined;
  #follower: Follower | undefined;
  #retryAt = 0;
  #retry = RETRY;
  /** What was wrong last; said once. */
  #problem = "";
  #reopened = 0;
  #lastReopened: Date | undefined;
  #reason: ReopenReason | undefined;

  /** Throws IoError. */
  constructor(guest: string, volume: string, path: string, source: Source, log: Log) {
    this.guest = guest;
    this.volume = volume;
    this.key = volumeKey(guest, volume);
    this.path = path;
    this.#source = source;
    this.#log = log;
    this.#follower = followFileSystem(source, this.#cache, (line) => log(`${this.key}: ${line}`));
  }

  /** Whether it goes on from the transaction that it was to go on from. */
  get isResumed(): boolean {
    return this.#follower?.isResumed ?? false;
  }

  get isFollowed(): boolean {
    return this.#follower !== undefined;
  }

  get status(): Omit<VolumeStatus, "hasPaths"> {
    const { guest, volume, transaction } = this;
    const lastReopened = this.#lastReopened?.toISOString();
    const state = this.isFollowed ? "followed" : "unreadable";
    return {
      guest,
      volume,
      state,
      transaction,
      reopened: this.#reopened,
      lastReopened,
      reason: this.#reason,
    };
  }

  noteReopened(reason: ReopenReason): void {
    this.#reopened++;
    this.#lastReopened = new Date();
    this.#reason = reason;
  }

  /** The file system's. */
  get uuid(): string {
    try {
      return identify(this.#source)?.uuid ?? "";
    } catch (error) {
      if (error instanceof IoError) return "";
      throw error;
    }
  }

  /** Opens the volume afresh, if possible as transaction `after` left it. */
  reopen(after?: number): void {
    try {
      const log = (line: string) => this.#log(`${this.key}: ${line}`);
      this.#follower = followFileSystem(this.#source, this.#cache, log, after);
      this.#problem = "";
    } catch (error) {
      this.#say(`cannot be followed: ${(error as Error).message}`);
      this.#follower = undefined;
    }
    if (this.#follower !== undefined) {
      this.#retry = RETRY;
      return;
    }
    // None, or none yet: a guest may be making it.
    this.#retryAt = performance.now() + this.#retry;
    this.#retry = Math.min(LONGEST_RETRY, this.#retry * 2);
  }

  /** See Follower. What cannot be read is left out. */
  read(ino: number, generation: number, position: number, length: number): Buffer | undefined {
    try {
      return this.#follower?.read?.(ino, generation, position, length);
    } catch (error) {
      if (error instanceof IoError) return undefined;
      throw error;
    }
  }

  /** See Follower. */
  spots(): readonly Spot[] | undefined {
    return this.#follower?.spots?.();
  }

  look(quietAt: number | undefined): Look {
    if (this.#follower === undefined)
      return performance.now() < this.#retryAt ? undefined : { reopen: "damaged" };
    try {
      return this.#follower.look(quietAt);
    } catch (error) {
      this.#say((error as Error).message);
      return { reopen: "damaged" };
    }
  }

  #say(problem: string): void {
    if (problem !== this.#problem) this.#log(`${this.key}: ${problem}`);
    this.#problem = problem;
  }
}

/** The volumes of all guests that can be followed, opened in this thread. */
export class Following {
  readonly #volumes: FollowedVolume[] = [];
  readonly #send: (update: Update) => void;
  #events: EventTaker | undefined;
  readonly #watch = new Watch();
  readonly #pending = new Map<string, Pending>();
  #placeIds = new Map<string, readonly number[]>();
  #notifier: Notifications | undefined;
  #hostDirectory = 0;
  #poke: () => void = () => {};
  /** While files are pending. */
  #timer: NodeJS.Timeout | undefined;

  /** `send` hands updates to whoever serves users. Throws ImageError for an image that cannot be opened. */
  constructor(specs: readonly GuestSpec[], send: (update: Update) => void, log: Log) {
    this.#send = send;
    const cache = new BlockCache(CACHE_BYTES);
    for (const spec of specs) {
      const { name, disks } = openGuest(spec, cache, () => {});
      for (const { image, volumes } of disks) {
        for (const { volume, fileSystem } of volumes) {
          if (fileSystem === undefined) continue;
          const followed = new FollowedVolume(name, volume.name, image.name, volume.source, log);
          if (followed.isFollowed) this.#volumes.push(followed);
        }
      }
    }
  }

  /** Keys of what is followed. */
  get followed(): ReadonlySet<string> {
    return new Set(this.#volumes.map(({ key }) => key));
  }

  /** Has events told, from where those end that have been. To be called before it begins. */
  tell(events: EventTaker): void {
    this.#events = events;
    events.tellStatus(() => this.#volumes.map(({ status }) => status));
    const volumes = new Map(this.#volumes.map((followed) => [followed.key, followed]));
    events.readFilesBy?.((key, ...file) => volumes.get(key)?.read(...file));
    for (const followed of this.#volumes) {
      const { guest, volume, uuid } = followed;
      const point = events.resumePoints(guest, volume).find((one) => {
        if (one.uuid !== undefined && one.uuid !== uuid) return false;
        followed.reopen(one.after);
        return followed.isResumed;
      });
      events.begin(guest, volume, uuid, point);
    }
  }

  /** Begins, where nobody can be notified. */
  startUnnotified(): void {
    for (const volume of this.#volumes) {
      this.#watch.add({
        path: volume.path,
        look: (quietAt) => this.#look(volume, quietAt),
        spots: () => volume.spots(),
      });
    }
  }

  /** Begins; the serving thread has opened the volumes by now. `poke` has the kernel ask it something. */
  start(
    notifier: Notifications,
    shown: readonly ShownVolume[],
    hostDirectory: number,
    poke: () => void,
  ): void {
    this.#poke = poke;
    this.#notifier = notifier;
    this.#hostDirectory = hostDirectory;
    this.#placeIds = new Map(shown.map(({ volume, placeIds }) => [volume, placeIds]));
    this.startUnnotified();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#watch.stop();
    this.#notifier = undefined;
  }

  /** A file was read that may have changed shortly before the start: its bytes may be yet to come. */
  read(high: number, low: number): void {
    if (this.#notifier !== undefined) this.#remember(high, low, performance.now());
  }

  /** Drops what the kernel has of a volume that the serving thread reads afresh. */
  told({ volume, nodes }: Told): void {
    const notifier = this.#notifier;
    if (notifier === undefined) return;
    for (let at = 0; at < nodes.length; at += 2)
      notifier.invalidateInode(nodes[at] as number, nodes[at + 1] as number);
    this.#dropNames(volume);
  }

  #look(volume: FollowedVolume, quietAt: number | undefined): boolean {
    const found = volume.look(quietAt);
    if (found === undefined) return false;
    if ("reopen" in found) {
      const wasFollowed = volume.isFollowed;
      volume.reopen();
      volume.noteReopened(found.reopen);
      // Once for as long as it cannot be read.
      if (wasFollowed || volume.isFollowed)
        this.#events?.reopened(volume.guest, volume.volume, volume.uuid, found.reopen);
      this.#send({ kind: "reopen", volume: volume.key });
      // The serving thread takes updates in when it is asked something, and the kernel may have no reason to ask.
      this.#poke();
      return true;
    }
    if (found.afresh === true) {
      if (found.steps.length > 0) this.#events?.reopened(volume.guest, volume.volume, volume.uuid, "changed");
      this.#send({ kind: "reopen", volume: volume.key });
      this.#poke();
    }
    for (const step of found.steps) {
      const { commit, changes } = step;
      volume.transaction = commit.sequence;
      this.#send({ kind: "commit", volume: volume.key, commit });
      this.#notify(volume.key, changes);
      const unnamed = inodesOfNames(changes);
      if (unnamed.length > 0) {
        this.#send({ kind: "unnamed", volume: volume.key, inodes: unnamed });
      }
    }
    this.#reveal(volume.key, found.revealed);
    // Last, as users who read files wait for what comes before.
    for (const step of found.steps) this.#events?.take(volume.guest, volume.volume, step);
    if (found.settled !== undefined)
      this.#send({ kind: "settled", volume: volume.key, sequence: found.settled });
    if (found.reread === true) {
      this.#send({ kind: "reread", volume: volume.key });
      this.#poke();
    }
    const isNew = found.steps.length + found.revealed.length > 0;
    return isNew || found.reread === true || found.isWaiting === true;
  }

  #reveal(key: string, files: readonly number[]): void {
    if (files.length === 0) return;
    for (const placeId of this.#placeIds.get(key) ?? []) {
      for (let at = 0; at < files.length; at += 2)
        this.#notifier?.invalidateInode(nodeHigh(placeId, files[at] as number), files[at + 1] as number);
    }
  }

  #notify(key: string, { inodes, names, unsureInodes, unsureDirectories }: Changes): void {
    const notifier = this.#notifier;
    if (notifier === undefined) return;
    const now = performance.now();
    const directories: number[] = [];
    // Names before inodes: whoever has found a name by then has found what it stood for, and as it was.
    for (const placeId of this.#placeIds.get(key) ?? []) {
      for (const { directory, generation, name, ino } of names) {
        if (ino === 0) continue;
        notifier.invalidateEntry(nodeHigh(placeId, generation), directory, name);
      }
    }
    // Which names are no longer there is not known: all are to be looked up again.
    if (unsureDirectories.length > 0) this.#dropNames(key);
    for (const placeId of this.#placeIds.get(key) ?? []) {
      for (const { ino, old, now: state } of [...inodes, ...unsureInodes]) {
        if (old !== undefined) notifier.invalidateInode(nodeHigh(placeId, old.generation), ino);
        if (state === undefined) continue;
        const high = nodeHigh(placeId, state.generation);
        if (old?.generation !== state.generation) notifier.invalidateInode(high, ino);
        const type = state.mode & FileType.MASK;
        if (type === FileType.REGULAR) this.#remember(high, ino, now);
        else if (type === FileType.DIRECTORY) directories.push(high, ino);
      }
    }
    this.#dropListingsAgain(directories);
  }

  /** Has the kernel look up all names again. */
  #dropNames(key: string): void {
    const notifier = this.#notifier;
    if (notifier === undefined) return;
    // An older kernel cannot be told of all names at once: there the guest's own goes, and all below it.
    const guest = key.slice(0, key.indexOf("/"));
    if (!notifier.increaseEpoch()) notifier.invalidateEntry(0, this.#hostDirectory, Buffer.from(guest));
  }

  #dropListingsAgain(directories: readonly number[]): void {
    if (directories.length === 0) return;
    for (const wait of LISTINGS_AGAIN_AFTER) {
      setTimeout(() => {
        for (let at = 0; at < directories.length; at += 2) {
          this.#notifier?.invalidateInode(directories[at] as number, directories[at + 1] as number);
        }
      }, wait);
    }
  }

  #remember(high: number, low: number, changed: number): void {
    const key = `${high} ${low}`;
    this.#pending.delete(key);
    if (this.#pending.size >= MOST_AGAIN) this.#pending.delete(this.#pending.keys().next().value as string);
    this.#pending.set(key, { high, low, changed, done: 0 });
    this.#timer ??= setInterval(() => this.#notifyAgain(), LATEST_EVERY);
  }

  #notifyAgain(): void {
    const now = performance.now();
    let left = this.#pending.size;
    for (const [key, pending] of this.#pending) {
      const isLatest = left-- <= MOST_LATEST;
      const due = AGAIN_AFTER[pending.done];
      if (due === undefined) this.#pending.delete(key);
      else if (isLatest || now - pending.changed >= due) {
        if (now - pending.changed >= due) pending.done++;
        this.#notifier?.invalidateInode(pending.high, pending.low);
      }
    }
    if (this.#pending.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/** The inodes that may have lost a name. */
function inodesOfNames({ names, unsureDirectories }: Changes): number[] {
  const inodes = names.flatMap(({ ino }) => (ino === 0 ? [] : [ino]));
  if (unsureDirectories.length === 0) return inodes;
  for (const { now } of names) if (now !== 0) inodes.push(now);
  for (const { names: listed } of unsureDirectories) inodes.push(...(listed?.values() ?? []));
  return inodes;
}
