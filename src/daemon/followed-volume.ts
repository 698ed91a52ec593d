/** A volume that is followed: its follower, opened afresh when that is needed, and how it goes. */
import type { NameSink } from "../filesystems/crawler.js";
import type { FileMaps, Follower, Look, ReopenReason, Step, TakenPart } from "../filesystems/follower.js";
import { followFileSystem, identify, restMarkOf } from "../filesystems/formats.js";
import { type Image, type Log, logWithin, type Service, type Source, type Spot } from "../images/image.js";
import { IoError } from "../images/io-error.js";
import type { BlockCache } from "../versions/block-cache.js";
import type { Volume } from "../volumes/volumes.js";
import { VolumeMeasures } from "./insight/volume-measures.js";
import { serviceOf } from "./joint-service.js";
import type { FollowedStatus } from "./status.js";
import { volumeKey } from "./updates.js";

/** ms before a volume that could not be followed is tried again: at first, and at most; each time twice as long. */
const RETRY = 1000;
const LONGEST_RETRY = 30_000;
/** ms between the times that a volume is opened afresh as what it holds makes no sense, however often it is looked at. */
const DAMAGED_EVERY = 500;

export class FollowedVolume {
  readonly guest: string;
  readonly volume: string;
  readonly key: string;
  /** Files of this host's that change when it is written to. */
  readonly paths: readonly string[];
  /** The image's place among the guest's, from 0 on; undefined: it is no range of one image. */
  readonly disk: number | undefined;
  /** Of a logical volume: those images that its group lies on. */
  readonly #disks: readonly number[];
  /** Where on the disk it lies: its first byte, and bytes. */
  readonly offset: number;
  readonly length: number;
  readonly #service: Service | undefined;
  readonly #source: Source;
  readonly #cache: BlockCache;
  readonly #log: Log;
  /** The last transaction that was taken. */
  transaction: number | undefined;
  readonly measures = new VolumeMeasures();
  /** When the last look ended that could read it, ms of performance.now(); 0: there was none. */
  #lookedAt = 0;
  /** Whether a look since it was opened found nothing: what is found next has been committed since. */
  #isCaughtUp = false;
  #follower: Follower | undefined;
  #retryAt = 0;
  #retry = RETRY;
  /** What was wrong last; said once. */
  #problem = "";
  /** What cannot be followed though it can be opened is not opened afresh before. */
  #damagedUntil = 0;
  /** Outages of the image's service that have been dealt with. */
  #outages: number;
  #reopened = 0;
  #lastReopened: Date | undefined;
  #reason: ReopenReason | undefined;

  /** Throws IoError. `images`: what it lies on. `disk`: as the property. `cache` may be others', too. */
  constructor(
    guest: string,
    { name, offset, length, source, disks = [] }: Volume,
    images: readonly Image[],
    disk: number | undefined,
    cache: BlockCache,
    log: Log,
  ) {
    this.#cache = cache;
    this.guest = guest;
    this.volume = name;
    this.key = volumeKey(guest, name);
    this.paths = images.flatMap(({ file }) => file ?? []);
    this.#service = serviceOf(images);
    this.#outages = this.#service?.outages ?? 0;
    this.disk = disk;
    this.#disks = disks;
    this.offset = offset;
    this.length = length;
    this.#source = source;
    this.#log = logWithin(log, this.key, { guest, volume: name });
    this.#follower = followFileSystem(source, this.#cache, this.#log);
  }

  /** Whether other programs serve what it lies on: a look makes them work. */
  get isServed(): boolean {
    return this.#service !== undefined;
  }

  /** Whether it is a logical volume of which some may lie on that image of the guest's. */
  mayLieOn(disk: number): boolean {
    return this.#disks.includes(disk);
  }

  /** Whether it goes on from the transaction that it was to go on from. */
  get isResumed(): boolean {
    return this.#follower?.isResumed ?? false;
  }

  /** The transaction after which it is followed; undefined: it has no numbers. */
  get begunAfter(): number | undefined {
    return this.#follower?.begunAfter;
  }

  get isFollowed(): boolean {
    return this.#follower !== undefined;
  }

  /** Where its files lie; undefined: nobody knows just now. */
  get maps(): FileMaps | undefined {
    return this.#follower?.maps;
  }

  /** `glancedAt`: see Watching. */
  status(glancedAt: number): Omit<FollowedStatus, "capture" | "writes"> {
    const { guest, volume, transaction } = this;
    const seenAt = Math.max(this.#lookedAt, glancedAt);
    const lastReopened = this.#lastReopened?.toISOString();
    const state = this.isFollowed && this.#service?.isAnswering !== false ? "followed" : "unreadable";
    return {
      guest,
      volume,
      state,
      transaction,
      reopened: this.#reopened,
      lastReopened,
      reason: this.#reason,
      seenAt: seenAt === 0 ? undefined : performance.timeOrigin + seenAt,
      problem: state === "followed" ? "" : this.#problem,
      figures: this.measures.figures,
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

  /** See restMarkOf; in hexadecimal. */
  get rest(): string | undefined {
    try {
      return restMarkOf(this.#source)?.toString("hex");
    } catch (error) {
      if (error instanceof IoError) return undefined;
      throw error;
    }
  }

  /** Opens the volume afresh, if possible as transaction `after` left it; see followFileSystem for `parts`. */
  reopen(after?: number, parts?: readonly TakenPart[]): void {
    this.#isCaughtUp = false;
    try {
      this.#follower = followFileSystem(this.#source, this.#cache, this.#log, after, parts);
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
  crawl(sink: NameSink): Generator<void> | undefined {
    return this.#follower?.crawl?.(sink);
  }

  /** See Follower. An image that is served is always looked at, as a look finds out about outages, too. */
  spots(): readonly Spot[] | undefined {
    return this.#service === undefined ? this.#follower?.spots?.() : undefined;
  }

  look(quietAt: number | undefined): Look {
    const service = this.#service;
    if (service !== undefined) {
      if (!service.isAnswering) return this.#waitFor(service);
      const { outages } = service;
      if (outages !== this.#outages) {
        // What was read half, and what users could not be told: all that is known begins anew.
        this.#outages = outages;
        this.#log("can be read again", { level: "notice" });
        return { reopen: "unreachable" };
      }
    }
    if (this.#follower === undefined)
      return performance.now() < this.#retryAt ? undefined : { reopen: "damaged" };
    try {
      const found = this.#follower.look(quietAt);
      this.#lookedAt = performance.now();
      if (found === undefined) this.#isCaughtUp = true;
      return found;
    } catch (error) {
      if (service !== undefined && !service.isAnswering) return this.#waitFor(service);
      this.#say((error as Error).message);
      const now = performance.now();
      if (now < this.#damagedUntil) return undefined;
      this.#damagedUntil = now + DAMAGED_EVERY;
      return { reopen: "damaged" };
    }
  }

  /** Commits that a look found have been taken; see VolumeMeasures. */
  took(steps: readonly Step[], begun: number, isStreamed: boolean): void {
    this.measures.took(steps, begun, isStreamed, !this.#isCaughtUp);
  }

  #waitFor({ trouble }: Service): undefined {
    this.#say(`cannot be read for the time being: ${trouble}`);
    return undefined;
  }

  #say(problem: string): void {
    if (problem !== this.#problem) this.#log(problem);
    this.#problem = problem;
  }
}
