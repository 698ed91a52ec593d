/**
 * Following the guests: what each journal shows is handed to the serving thread first, and then the kernel is told what
 * it must not rely on any longer. In that order, as what it asks then is to be answered by the new version.
 */

import { Watch, type Watching } from "../capture/watch.js";

import { NO_POLICY, type Policy } from "../cloud/policy/policy.js";
import type { ChangedName } from "../cloud/policy/volume-access.js";
import { isRestricted } from "../cloud/policy/volume-roots.js";
import { ReadMarks } from "../cloud/read-marks.js";
import type { Changes, InodeState } from "../filesystems/changes.js";
import { FileType } from "../filesystems/filesystem.js";
import type { Image, Log } from "../images/image.js";
import type { WriteRecord } from "../queue/write-record.js";
import { BlockCache } from "../versions/block-cache.js";
import { Crawling } from "./crawling.js";
import type { EventTaker } from "./event-hub.js";
import { FollowedVolume } from "./followed-volume.js";
import { imagesOf, isBlank, openGuests, type PassOver } from "./guest.js";
import type { GuestSpec } from "./guest-name.js";
import { KernelCopies } from "./kernel-copies.js";
import type { Notifications } from "./notifying.js";
import type { ShownVolume } from "./shown-volumes.js";
import type { FollowedStatus } from "./status.js";
import type { MetadataTaker, StreamTaker } from "./stream-taker.js";
import { unfollowed } from "./unfollowed.js";
import type { Told, Update } from "./updates.js";
import { VolumeStreams } from "./volume-streams.js";

/** Bytes of metadata at hand while guests are opened and followed. */
const CACHE_BYTES = 16 << 20;
/** Looks at one volume with one batch of its writes. */
const MOST_LOOKS = 8;
/** ms within which the serving thread takes in what does not hurry: a program is run for it. */
const POKE_WITHIN = 1000;
/** Bytes of commits that may wait for it while nobody asks it anything. */
const MOST_UNTAKEN = 4 << 20;
/** ms between looks at writes that nobody can explain any more, and at where metadata is. */
const CLOCK_EVERY = 1000;

/** The volumes of all guests that can be followed, opened in this thread. */
export class Following implements StreamTaker {
  readonly #volumes: FollowedVolume[] = [];
  readonly #images: Image[] = [];
  readonly #send: (update: Update) => void;
  readonly #streams: VolumeStreams;
  /** Whoever answers sets them. */
  readonly marks = new ReadMarks();
  readonly #copies = new KernelCopies((key) => this.#streams.tells(key), this.marks);
  readonly #watch = new Watch();
  readonly #watched = new Map<FollowedVolume, Watching>();
  /** Volumes that are not followed, and why. */
  readonly #others: FollowedStatus[] = [];
  #events: EventTaker | undefined;
  #poke: () => void = () => {};
  #clock: NodeJS.Timeout | undefined;
  #poking: NodeJS.Timeout | undefined;
  /** Bytes of commits that have been handed over since the serving thread was last asked something from here. */
  #untaken = 0;
  /** Guests of which something is hidden. */
  readonly #policed: ReadonlySet<string>;

  /** Guests on whose disks there is nothing at all. */
  readonly blank: readonly string[];

  /**
   * `send` hands updates to whoever serves users. Throws ImageError for an image that cannot be opened, unless `passOver` is
   * there to be told.
   */
  constructor(
    specs: readonly GuestSpec[],
    send: (update: Update) => void,
    log: Log,
    policy: Policy = NO_POLICY,
    passOver?: PassOver,
  ) {
    this.#send = send;
    this.#policed = new Set(specs.flatMap(({ name }) => (isRestricted(policy.rules, name) ? [name] : [])));
    const cache = new BlockCache(CACHE_BYTES);
    const guests = openGuests(specs, cache, () => {}, passOver);
    this.blank = guests.filter(isBlank).map(({ name }) => name);
    for (const guest of guests) {
      const { name, disks } = guest;
      for (const [index, disk] of disks.entries()) {
        this.#images.push(disk.image);
        for (const open of disk.volumes) {
          const { volume, fileSystem } = open;
          const images = imagesOf(guest, disk, volume);
          // Writes to a logical volume's disks are not told as writes to it: it is looked at.
          const streamed = volume.disks === undefined ? index : undefined;
          const followed = fileSystem && new FollowedVolume(name, volume, images, streamed, cache, log);
          if (followed?.isFollowed) this.#volumes.push(followed);
          else this.#others.push(...unfollowed(name, open));
        }
      }
    }
    this.#streams = new VolumeStreams(this.#volumes, specs, new Crawling(log), log);
  }

  /** Keys of what is followed. */
  get followed(): ReadonlySet<string> {
    return new Set(this.#volumes.map(({ key }) => key));
  }

  /** How following goes. */
  status(): FollowedStatus[] {
    const followed = this.#volumes.map((volume) => ({
      ...volume.status(this.#watched.get(volume)?.glancedAt ?? 0),
      ...this.#streams.statusOf(volume.key),
    }));
    return [...followed, ...this.#others];
  }

  /** Has events told, from where those end that have been. To be called before it begins. */
  tell(events: EventTaker): void {
    this.#events = events;
    const volumes = new Map(this.#volumes.map((followed) => [followed.key, followed]));
    events.readFilesBy?.((key, ...file) => volumes.get(key)?.read(...file));
    events.crawlBy?.((key, sink) => volumes.get(key)?.crawl(sink));
    for (const followed of this.#volumes) {
      const { guest, volume, uuid } = followed;
      const point = events.resumePoints(guest, volume).find((one) => {
        if (one.uuid !== undefined && one.uuid !== uuid) return false;
        if (one.after === undefined) return one.rest !== undefined && one.rest === followed.rest;
        followed.reopen(one.after, one.parts);
        return followed.isResumed;
      });
      events.begin(guest, volume, uuid, point, followed.begunAfter);
    }
  }

  /** Has it told where the metadata of disks is of which there is a stream of writes. */
  tellMetadata(take: MetadataTaker): void {
    this.#streams.tellMetadata(take);
  }

  /** Begins, where nobody can be notified. */
  startUnnotified(): void {
    for (const volume of this.#volumes) {
      const watching = this.#watch.add({
        paths: volume.paths,
        isServed: volume.isServed,
        look: (quietAt) => this.#lookAndTell(volume, quietAt),
        spots: () => volume.spots(),
      });
      this.#watched.set(volume, watching);
    }
    this.#clock = setInterval(() => {
      for (const volume of this.#volumes) this.#tellWritten(volume);
      this.#streams.lookAtClock();
    }, CLOCK_EVERY);
  }

  /** Begins; the serving thread has opened the volumes by now. `poke` has the kernel ask it something. */
  start(
    notifier: Notifications,
    shown: readonly ShownVolume[],
    hostDirectory: number,
    poke: () => void,
  ): void {
    this.#poke = poke;
    this.#copies.start(notifier, shown, hostDirectory);
    this.startUnnotified();
  }

  stop(): void {
    clearInterval(this.#clock);
    clearTimeout(this.#poking);
    this.#watch.stop();
    this.#copies.stop();
    this.#streams.stop();
  }

  /** Closes the images; nothing can be followed any more. */
  close(): void {
    this.stop();
    for (const image of this.#images) image.close();
  }

  /** The kernel is told of a node with another digest than its generation's first; see UncommonNodes. */
  uncommon(high: number, low: number, generation: number): void {
    this.#copies.uncommon(high, low, generation);
  }

  /** A file was read that may have changed shortly before the start: its bytes may be yet to come. */
  read(high: number, low: number): void {
    this.#copies.read(high, low);
  }

  /** Drops what the kernel has of a volume that the serving thread reads afresh. */
  told(told: Told): void {
    this.#copies.told(told);
  }

  streamBegins(guest: string, disk: number, unknownLife: number): void {
    this.#streams.begin(guest, disk, unknownLife);
  }

  streamEnded(guest: string, disk: number): void {
    this.#streams.end(guest, disk);
  }

  /** What the records tell of is on the image: so what commits are among it is taken first, and tells whose the rest is. */
  written(guest: string, disk: number, records: readonly WriteRecord[]): void {
    const now = performance.now();
    for (const volume of this.#volumes) {
      if (volume.guest !== guest) continue;
      if (volume.mayLieOn(disk)) for (let looks = 0; looks < MOST_LOOKS && this.#look(volume); looks++);
      if (volume.disk !== disk) continue;
      const touching = this.#streams.touching(volume, records);
      if (touching.length === 0) continue;
      for (let looks = 0; looks < MOST_LOOKS && this.#look(volume); looks++);
      this.#streams.take(volume, touching, now);
      if (this.#streams.takeLost(volume)) this.#lost(volume);
      this.#tellWritten(volume);
    }
  }

  /** Bytes of files have been written, nobody knows of which. */
  #lost(volume: FollowedVolume): void {
    this.#send({ kind: "reread", volume: volume.key });
    this.#poke();
    this.#events?.lost(volume.guest, volume.volume);
  }

  #tellWritten(volume: FollowedVolume): void {
    const written = this.#streams.finish(volume);
    if (written.length === 0) return;
    this.#copies.write(volume.key, written);
    this.#events?.write(volume.guest, volume.volume, written);
  }

  /** Tells the serving thread which names have changed, so that it knows at once what comes to be hidden. */
  #tellNames({ key }: FollowedVolume, changes: Changes): void {
    const names = changedNames(changes);
    if (names.length === 0) return;
    this.#send({ kind: "named", volume: key, names });
    if (mayCrossRules(changes)) this.#poke();
  }

  #lookAndTell(volume: FollowedVolume, quietAt: number | undefined): boolean {
    const isNew = this.#look(volume, quietAt);
    if (isNew) this.#tellWritten(volume);
    return isNew;
  }

  /** Has the serving thread asked something, if nobody asks it anything by himself. */
  #pokeSoon(): void {
    this.#poking ??= setTimeout(() => {
      this.#poking = undefined;
      this.#untaken = 0;
      this.#poke();
    }, POKE_WITHIN);
  }

  /** Returns whether there may be more to take. */
  #look(volume: FollowedVolume, quietAt?: number): boolean {
    const begun = performance.now();
    const found = volume.look(quietAt);
    if (found === undefined) return false;
    if ("reopen" in found) {
      const wasFollowed = volume.isFollowed;
      const isToGoOn = found.reopen === "unreachable";
      volume.reopen(isToGoOn ? volume.transaction : undefined);
      volume.noteReopened(found.reopen);
      this.#streams.reopened(volume);
      // Once for as long as it cannot be read, and not at all if nothing was missed.
      if ((wasFollowed || volume.isFollowed) && !(isToGoOn && volume.isResumed))
        this.#events?.reopened(volume.guest, volume.volume, volume.uuid, found.reopen);
      this.#send({ kind: "reopen", volume: volume.key });
      // The serving thread takes updates in when it is asked something, and the kernel may have no reason to ask.
      this.#poke();
      return true;
    }
    if (found.afresh === true) {
      if (found.steps.length > 0) this.#events?.reopened(volume.guest, volume.volume, volume.uuid, "changed");
      this.#streams.reopened(volume);
      this.#send({ kind: "reopen", volume: volume.key });
      this.#poke();
    }
    for (const step of found.steps) {
      const { commit, changes } = step;
      volume.transaction = commit.sequence;
      this.#send({ kind: "commit", volume: volume.key, commit });
      this.#untaken += commit.bytes.length;
      if (this.#policed.has(volume.guest)) this.#tellNames(volume, changes);
      this.#copies.change(volume.key, changes);
      if (changes.unsureInodes.length > 0) {
        const inodes = changes.unsureInodes.map(({ ino }) => ino);
        this.#send({ kind: "unsure", volume: volume.key, inodes });
        this.#pokeSoon();
      }
      const unnamed = inodesOfNames(changes);
      if (unnamed.length > 0) {
        this.#send({ kind: "unnamed", volume: volume.key, inodes: unnamed });
      }
    }
    if (this.#untaken > MOST_UNTAKEN) this.#pokeSoon();
    this.#copies.reveal(volume.key, found.revealed);
    volume.took(found.steps, begun, this.#streams.has(volume.key));
    // Last, as users who read files wait for what comes before.
    for (const step of found.steps) this.#events?.take(volume.guest, volume.volume, step);
    this.#streams.follow(volume, found.steps);
    if (found.settled !== undefined)
      this.#send({ kind: "settled", volume: volume.key, sequence: found.settled });
    if (found.reread === true) {
      this.#send({ kind: "reread", volume: volume.key });
      this.#poke();
    }
    const isNew = found.steps.length + found.revealed.length > 0;
    return isNew || found.reread === true || found.isWaiting === true;
  }
}

/** To be posted. */
function changedNames({ names, unsureDirectories }: Changes): ChangedName[] {
  const changed = names.map(({ directory, name, ino, now }) => ({
    directory,
    name: new Uint8Array(name) as Buffer,
    ino,
    now,
  }));
  for (const { directory, names: listed } of unsureDirectories) {
    for (const [name, now] of listed ?? [])
      changed.push({ directory, name: new Uint8Array(Buffer.from(name, "latin1")) as Buffer, ino: 0, now });
  }
  return changed;
}

/** Whether files may be hidden from now on, or shown, of which the kernel would not ask by itself. */
function mayCrossRules({ names, inodes, unsureDirectories }: Changes): boolean {
  if (unsureDirectories.length > 0) return true;
  const gone = new Set(names.flatMap(({ ino }) => (ino === 0 ? [] : [ino])));
  const changed = new Map(inodes.map(({ ino, now }) => [ino, now]));
  const isFile = (ino: number) => changed.get(ino) !== undefined && !isDirectory(changed.get(ino));
  if (names.some(({ now }) => gone.has(now) && !isFile(now))) return true;
  return inodes.some(
    ({ old, now }) => Math.max(old?.nlink ?? 0, now?.nlink ?? 0) > 1 && !isDirectory(old ?? now),
  );
}

function isDirectory(state: InodeState | undefined): boolean {
  return state !== undefined && (state.mode & FileType.MASK) === FileType.DIRECTORY;
}

/** The inodes that may have lost a name. */
function inodesOfNames({ names, unsureDirectories }: Changes): number[] {
  const inodes = names.flatMap(({ ino }) => (ino === 0 ? [] : [ino]));
  if (unsureDirectories.length === 0) return inodes;
  for (const { now } of names) if (now !== 0) inodes.push(now);
  for (const { names: listed } of unsureDirectories)
    for (const ino of listed?.values() ?? []) inodes.push(ino);
  return inodes;
}
