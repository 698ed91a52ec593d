/** Telling what happens in the guests: from the changes that are followed to the logs of events and who listens to them. */
import { grantOfNames, policedEvents } from "../cloud/policy/events.js";
import { Grant } from "../cloud/policy/grant.js";
import type { PathState } from "../cloud/policy/path-state.js";
import type { PolicyRule } from "../cloud/policy/settings.js";
import type { Scope, ScopedEvent } from "../events/event.js";
import { wholeVolume } from "../events/line.js";
import type { Step } from "../filesystems/follower.js";
import type { Log } from "../images/image.js";
import { compareIndexes } from "../inference/compare-indexes.js";
import type { FileEvent, Names } from "../inference/file-event.js";
import type { InodeIndex } from "../inference/inode-index.js";
import { type Moment, type Transaction, VolumeEvents } from "../inference/volume-events.js";
import type { Written } from "../inference/written.js";
import { type Commit, isSamePosition, type Position, positionOf } from "../versions/commit.js";
import { type EventContext, guestEvent, isoTime } from "./guest-event.js";
import type { MapFiles, SavedMap } from "./map-files.js";
import type { MountedVolume } from "./mounted-volume.js";
import { policedRoots } from "./policing.js";
import { volumeKey } from "./updates.js";

/** Where events go. */
export interface EventSink {
  /** The number of the last event that it has; 0: none. */
  readonly lastId: number;
  append(events: readonly ScopedEvent[]): void;
}

/** Of a step, what is told. */
export interface ToldStep extends Omit<Step, "commit"> {
  readonly commit: Pick<Commit, "sequence" | "logical">;
}

export interface TellingOptions {
  readonly host: string;
  /** What these hide is not told. */
  readonly rules: readonly PolicyRule[];
  /** The log of a guest, and that of all. */
  readonly guestLog: (guest: string) => EventSink;
  readonly everything: EventSink;
  /** Crawls a volume. */
  readonly crawl: (guest: string, volume: string) => Promise<InodeIndex>;
  /** Where maps of names are kept. */
  readonly maps: MapFiles;
  readonly log: Log;
}

/** ms after the start until maps of names are built for guests in which nothing has happened yet. */
const PREPARE_AFTER = 100;
/** Volumes may be mounted below each other this deep. */
const DEEPEST_MOUNT = 64;
const CLOCK_EVERY = 1000;
/** ms between two times that a map is kept, and how many times as long as that takes, at least. */
const SAVE_EVERY = 3000;
const SAVE_SHARE = 200;

/** One volume that is told of. */
class ToldVolume {
  readonly guest: string;
  readonly volume: string;
  readonly events: VolumeEvents<InodeIndex>;
  mounted: MountedVolume | undefined;
  /** What the policy makes of it; undefined: nothing is hidden. */
  root: PathState | undefined;
  /** Whether it has been said that events are left out as nobody knows whether they may be told. */
  isWithholdingTold = false;
  /** The file system's. */
  uuid = "";
  /** What the map that is kept is as of. */
  #saved: Position | undefined;
  #saveAt = 0;
  readonly #telling: Telling;
  /** Counts crawls: the result of one that was overtaken does not count. */
  #crawls = 0;
  #last: Moment = { sequence: 0, ...hostTime() };

  constructor(guest: string, volume: string, telling: Telling) {
    this.guest = guest;
    this.volume = volume;
    this.#telling = telling;
    this.events = new VolumeEvents<InodeIndex>({
      crawl: () => void this.#crawl(),
      compare: compareIndexes,
      publish: (events, moment, names) => telling.publish(this, events, moment, names),
      publishGap: (reason, at) => telling.publishGap(this, reason, at),
    });
  }

  take(transaction: Transaction): void {
    const { changes: _, ...last } = transaction;
    this.#last = last;
    const now = performance.now();
    this.events.take(transaction, now);
    this.save(now);
  }

  /** Goes on from a map that was kept; see VolumeEvents. */
  resume({ at, index }: SavedMap, toldUpTo: Position): void {
    this.#saved = at;
    this.events.resume(index, at, toldUpTo);
  }

  /** Keeps the map, if it has changed since; `now`: ms. Not so often that it would hold up what else there is to do. */
  save(now: number): void {
    const { index, mapAt: at } = this.events;
    if (index === undefined || at === undefined || isSamePosition(at, this.#saved)) return;
    // With one that is in the midst of a transaction nobody can go on when that is whole.
    const isUseless = this.#saved?.part !== undefined && at.part === undefined;
    if (now < this.#saveAt && !isUseless) return;
    this.#telling.options.maps.save(volumeKey(this.guest, this.volume), this.uuid, { at, index });
    this.#saved = at;
    const taken = performance.now() - now;
    this.#saveAt = now + Math.max(SAVE_EVERY, taken * SAVE_SHARE);
  }

  async #crawl(): Promise<void> {
    const crawl = ++this.#crawls;
    try {
      const index = await this.#telling.options.crawl(this.guest, this.volume);
      if (crawl === this.#crawls) this.events.crawled(index, { ...this.#last, ...hostTime() });
    } catch (error) {
      if (crawl !== this.#crawls || this.#telling.isStopped) return;
      this.#telling.options.log(
        `${this.guest}/${this.volume}: paths are left out of its events: ${(error as Error).message}`,
        { guest: this.guest, volume: this.volume },
      );
      this.events.failed(performance.now());
    }
  }
}

/** All volumes whose events are told. */
export class Telling {
  readonly options: TellingOptions;
  readonly #volumes = new Map<string, Map<string, ToldVolume>>();
  #isStopped = false;
  readonly #clock: NodeJS.Timeout;
  readonly #preparing: NodeJS.Timeout;
  #isPreparing = false;

  constructor(options: TellingOptions) {
    this.options = options;
    this.#clock = setInterval(() => {
      const now = performance.now();
      for (const volume of this.#all()) {
        volume.events.lookAtClock(now);
        volume.save(now);
      }
    }, CLOCK_EVERY);
    this.#preparing = setTimeout(() => {
      this.#isPreparing = true;
      for (const volume of this.#all()) volume.events.prepare();
    }, PREPARE_AFTER);
    this.#clock.unref();
    this.#preparing.unref();
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#clock);
    clearTimeout(this.#preparing);
    for (const volume of this.#all()) volume.save(Number.POSITIVE_INFINITY);
  }

  /** Where the guests have their volumes. */
  setMounts(mounts: readonly MountedVolume[]): void {
    const roots = policedRoots(this.options.rules, mounts);
    for (const mounted of mounts) {
      const { guest, volume } = mounted;
      const told = this.#volume(guest, volume);
      told.mounted = mounted;
      told.root = roots.get(volumeKey(guest, volume));
    }
  }

  /** A volume's events are to be told from now on, after `toldUpTo` if that is known. `uuid`: the file system's. */
  begin(guest: string, volume: string, uuid: string, toldUpTo?: Position): void {
    const told = this.#volume(guest, volume);
    told.uuid = uuid;
    if (toldUpTo !== undefined) told.events.skip(toldUpTo);
    if (this.#isPreparing) told.events.prepare();
  }

  /** The same, going on from a map that was kept. */
  resume(guest: string, volume: string, uuid: string, map: SavedMap, toldUpTo: Position): void {
    const told = this.#volume(guest, volume);
    told.uuid = uuid;
    told.resume(map, toldUpTo);
  }

  /** A transaction of a volume. */
  take(guest: string, volume: string, { commit, changes, seconds, nanoseconds }: ToldStep): void {
    this.#volume(guest, volume).take({ changes, ...positionOf(commit), seconds, nanoseconds });
  }

  /** Bytes of a volume's files that were written. */
  write(guest: string, volume: string, written: readonly Written[]): void {
    this.#volume(guest, volume).events.write(written, performance.now());
  }

  /** Up to where a volume has been told; undefined: nothing has. */
  toldUpTo(guest: string, volume: string): Position | undefined {
    return this.#volume(guest, volume).events.toldUpTo;
  }

  /** The uuid of a volume's file system. */
  uuid(guest: string, volume: string): string {
    return this.#volume(guest, volume).uuid;
  }

  /** Whether there is a map of a volume's names. */
  hasPaths(guest: string, volume: string): boolean {
    return this.#volume(guest, volume).events.index !== undefined;
  }

  /** Where the guest has a volume mounted. */
  mountPoints(guest: string, volume: string): readonly string[] {
    return this.#volume(guest, volume).mounted?.mountPoints ?? [];
  }

  /** A volume had to be opened afresh; `gap`: why something may have been missed; `before`: what was there, if known. */
  reopened(guest: string, volume: string, uuid: string, gap: string | undefined, before?: InodeIndex): void {
    const told = this.#volume(guest, volume);
    told.uuid = uuid;
    told.events.reopened(gap, before);
  }

  /** Something that nobody has seen, and of which no difference can be told: where there were events before. */
  gap(guest: string, volume: string, reason: string): void {
    const told = this.#volume(guest, volume);
    const { toldUpTo } = told.events;
    if (toldUpTo !== undefined) this.publishGap(told, reason, toldUpTo);
  }

  /** Whether events may bring bytes of a file along. */
  isReadable(guest: string, volume: string, ino: number): boolean {
    const { root, events } = this.#volume(guest, volume);
    if (root === undefined) return true;
    return events.index !== undefined && grantOfNames(root, events.index, ino) === Grant.SHOW;
  }

  publish(volume: ToldVolume, events: readonly FileEvent[], moment: Moment, names: Names | undefined): void {
    const { root } = volume;
    if (root === undefined) {
      this.#publish(volume, events, moment);
      return;
    }
    if (names !== undefined) {
      volume.isWithholdingTold = false;
      this.#publish(volume, policedEvents(events, root, names), moment);
    } else if (!volume.isWithholdingTold) {
      volume.isWithholdingTold = true;
      this.publishGap(volume, "without paths nobody knows which events may be told", moment);
    }
  }

  #publish(volume: ToldVolume, events: readonly FileEvent[], moment: Moment): void {
    if (events.length === 0) return;
    const sink = this.options.guestLog(volume.guest);
    const context = this.#context(volume, moment);
    const above = this.#scopesAbove(volume);
    let id = sink.lastId;
    const scoped = events.map((event, index) => ({
      event: guestEvent(++id, event, context),
      scopes: [...event.scopes.map((ino) => `${volume.volume}:${ino}`), ...above],
      isLast: index === events.length - 1,
    }));
    this.#send(sink, scoped);
  }

  publishGap(volume: ToldVolume, reason: string, { sequence, part }: Position): void {
    const sink = this.options.guestLog(volume.guest);
    const { seconds, nanoseconds } = hostTime();
    const event = {
      id: sink.lastId + 1,
      time: isoTime(seconds, nanoseconds),
      event: "gap",
      host: this.options.host,
      guest: volume.guest,
      volume: volume.volume,
      transaction: sequence,
      ...(part === undefined ? {} : { part }),
      reason,
    } as const;
    const scopes = [wholeVolume(volume.volume), ...this.#scopesAbove(volume)];
    this.#send(sink, [{ event, scopes, isLast: true }]);
  }

  #send(sink: EventSink, events: readonly ScopedEvent[]): void {
    sink.append(events);
    this.options.everything.append(events);
  }

  #context(volume: ToldVolume, { sequence, part, seconds, nanoseconds }: Moment): EventContext {
    const mountPoint = volume.mounted?.mountPoint ?? `/.volumes/${volume.volume}`;
    return {
      host: this.options.host,
      guest: volume.guest,
      volume: volume.volume,
      transaction: sequence,
      part,
      seconds,
      nanoseconds,
      mountPoint: Buffer.from(mountPoint),
    };
  }

  /** The directories above the one that a volume covers. */
  #scopesAbove(volume: ToldVolume): Scope[] {
    const scopes: Scope[] = [];
    let covers = volume.mounted?.covers;
    for (let depth = 0; covers !== undefined && depth < DEEPEST_MOUNT; depth++) {
      const { volume: name, ino } = covers;
      const above = this.#volume(volume.guest, name);
      for (const directory of above.events.index?.ancestors(ino) ?? []) scopes.push(`${name}:${directory}`);
      covers = above.mounted?.covers;
    }
    return scopes;
  }

  #volume(guest: string, volume: string): ToldVolume {
    let volumes = this.#volumes.get(guest);
    if (volumes === undefined) {
      volumes = new Map();
      this.#volumes.set(guest, volumes);
    }
    let found = volumes.get(volume);
    if (found === undefined) {
      found = new ToldVolume(guest, volume, this);
      volumes.set(volume, found);
    }
    return found;
  }

  *#all(): Generator<ToldVolume> {
    for (const volumes of this.#volumes.values()) yield* volumes.values();
  }
}

/** The host's clock, as a transaction's time. */
export function hostTime(): { seconds: number; nanoseconds: number } {
  const now = Date.now();
  return { seconds: Math.floor(now / 1000), nanoseconds: (now % 1000) * 1e6 };
}
