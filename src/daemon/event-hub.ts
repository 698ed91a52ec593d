/** The events of all guests of a daemon: maps of names, logs, who listens, and the control socket. */
import { join } from "node:path";
import { NO_POLICY, type Policy } from "../cloud/policy/policy.js";
import type { SharedLogs } from "../events/log-reader.js";
import { Logs } from "../events/logs.js";
import type { ReadFile } from "../events/redis/changed-bytes.js";
import type { Publisher } from "../events/redis/publisher.js";
import type { NameSink } from "../filesystems/crawler.js";
import type { ReopenReason, TakenPart } from "../filesystems/follower.js";
import type { Log } from "../images/image.js";
import type { Written } from "../inference/written.js";
import { isAfter, isPast, isSamePosition, type Position, precedingSequence } from "../versions/commit.js";
import type { RunCommand } from "./commands.js";
import { Control } from "./control.js";
import { Crawling } from "./crawling.js";
import type { GuestSpec } from "./guest-name.js";
import type { Insight } from "./insight/insight.js";
import { type GuestCrawl, MadeCrawls } from "./made-crawls.js";
import { MapFiles } from "./map-files.js";
import type { MountedVolume } from "./mounted-volume.js";
import { type KeptParts, PartFiles } from "./part-files.js";
import { Positions } from "./positions.js";
import type { PublishOn } from "./publishing.js";
import type { RedisSettings } from "./redis.js";
import { eventsFolder } from "./state-directory.js";
import { Telling, type ToldStep } from "./telling.js";
import { volumeKey } from "./updates.js";
import { UserError } from "./user-error.js";
import { withholdStored } from "./withheld-logs.js";

export interface EventsOptions {
  /** The daemon's state directory. */
  readonly state: string;
  /** Whether the user named it: then it is an error if it cannot be used. */
  readonly isStateNamed: boolean;
  /** Bytes of a segment of each log; undefined: as many as is usual. */
  readonly logSize: number | undefined;
  /** Whether directories list their files of events. */
  readonly areListed: boolean;
  /** Undefined: events are not published. */
  readonly redis: RedisSettings | undefined;
  /** Crawls that have been made of the guests' disks. */
  readonly crawls: readonly GuestCrawl[];
}

/**
 * A transaction that events can go on from. What comes after it and up to `told` has been told; undefined: nothing has. With
 * `rest` instead of a transaction: the file system has to be at rest, and as it was then.
 */
export interface ResumePoint {
  readonly after: number | undefined;
  readonly told: Position | undefined;
  /** The file system's; undefined: it is not known. */
  readonly uuid: string | undefined;
  /** What the map of names is as of that was kept since; undefined: there is none to go on with. */
  readonly map: Position | undefined;
  /** Of a later transaction: what was told of it before the whole. */
  readonly parts: readonly TakenPart[];
  /** The file that has a crawl as of then. */
  readonly crawl?: string;
  readonly rest?: string;
}

/** Reads of a file of a volume, by its key; see Follower. */
export type ReadVolume = (
  key: string,
  ino: number,
  generation: number,
  position: number,
  length: number,
) => Buffer | undefined;

/** Crawls what is kept of a volume, by its key; see Follower. */
export type CrawlVolume = (key: string, sink: NameSink) => Generator<void> | undefined;

/** Where what happens in followed volumes goes. From another thread, files are not read for it, nor what is kept. */
export type EventTaker = Pick<EventHub, "resumePoints" | "begin" | "take" | "write" | "reopened" | "lost"> &
  Partial<Pick<EventHub, "readFilesBy" | "crawlBy">>;

/**
 * `publishOn`: see loadPublishing. `insight` is what the control socket tells of the daemon; it learns of events. Throws
 * UserError when the logs cannot be read.
 */
export function openEventHub(
  host: string,
  guests: readonly GuestSpec[],
  options: EventsOptions,
  log: Log,
  run: RunCommand,
  publishOn: PublishOn | undefined,
  insight: Insight,
  policy: Policy = NO_POLICY,
): EventHub {
  try {
    return new EventHub(host, guests, options, log, run, publishOn, insight, policy);
  } catch (error) {
    throw new UserError(
      `${options.state}: events cannot be kept there: ${(error as Error).message}; name another directory with --state, or turn them off with --no-events`,
    );
  }
}

export class EventHub {
  readonly logs: Logs;
  readonly #control: Control;
  readonly #positions: Positions;
  readonly #crawling: Crawling;
  readonly #maps: MapFiles;
  readonly #made: MadeCrawls;
  readonly #parts: PartFiles;
  readonly #telling: Telling;
  readonly #publisher: Publisher | undefined;
  readonly #log: Log;
  #readFile: ReadVolume = () => undefined;
  #crawlKept: CrawlVolume = () => undefined;

  /** Opens the logs. Throws a system error if they cannot be read. */
  constructor(
    host: string,
    guests: readonly GuestSpec[],
    { state, logSize, redis, crawls }: EventsOptions,
    log: Log,
    run: RunCommand,
    publishOn: PublishOn | undefined,
    insight: Insight,
    { rules }: Policy,
  ) {
    const specs = new Map(guests.map((spec) => [spec.name, spec]));
    this.#log = log;
    withholdStored(state, rules);
    this.logs = new Logs({
      folder: eventsFolder(state),
      guests: [...specs.keys()],
      ...(logSize === undefined ? {} : { limit: logSize }),
      log,
    });
    const read: ReadFile = ({ guest, volume, inode = 0, generation = 0 }, position, length) =>
      this.#telling.isReadable(guest, volume, inode)
        ? this.#readFile(volumeKey(guest, volume), inode, generation, position, length)
        : undefined;
    const publisher =
      redis && publishOn?.(redis, { host, guests: specs.keys(), logs: this.logs, read, state, log });
    this.#publisher = publisher;
    this.#control = new Control({
      directory: state,
      events: this.logs,
      status: () => insight.status(),
      metrics: async () => (await import("./insight/metrics.js")).metricsText(await insight.snapshot()),
      run,
    });
    this.#positions = new Positions(join(state, "positions.json"), log);
    this.#crawling = new Crawling(log);
    this.#maps = new MapFiles(join(state, "maps"), log);
    this.#made = new MadeCrawls(crawls, log);
    this.#parts = new PartFiles(join(state, "parts"), log);
    const { everything } = this.logs;
    this.#telling = new Telling({
      host,
      rules,
      guestLog: (guest) => this.logs.guest(guest),
      everything: {
        get lastId() {
          return everything.lastId;
        },
        append: (events) => {
          everything.append(events);
          insight.events.add(events);
          publisher?.offer(events);
        },
      },
      crawl: (guest, volume) => {
        const spec = specs.get(guest) as GuestSpec;
        const made = this.#made.take(guest, volume);
        const crawlKept = (sink: NameSink) => this.#crawlKept(volumeKey(guest, volume), sink);
        const kept = made === undefined ? this.#crawling.crawlKept(crawlKept) : undefined;
        // A crawl that is held up is to hold up no other guest's.
        return kept ?? this.#crawling.crawl(spec, volume, spec.isRemote ? guest : "", made);
      },
      maps: this.#maps,
      log,
    });
    insight.tell({
      hasPaths: (guest, volume) => this.#telling.hasPaths(guest, volume),
      mountPoints: (guest, volume) => this.#telling.mountPoints(guest, volume),
      get redis() {
        return publisher?.status;
      },
    });
  }

  /** Answers at the control socket. */
  async listen(): Promise<void> {
    try {
      await this.#control.start();
    } catch (error) {
      this.#log(`nobody can ask this daemon for events: ${(error as Error).message}`);
    }
  }

  /** For readers of the logs in another thread. */
  get shared(): SharedLogs {
    return this.logs.shared;
  }

  /** Where to follow a volume from, the best first: after which transactions its events can go on. */
  resumePoints(guest: string, volume: string): ResumePoint[] {
    const key = volumeKey(guest, volume);
    const told = this.#toldUpTo(guest, volume);
    const made = this.#made.points(guest, volume, told);
    if (told === undefined) return made;
    const kept = this.#parts.load(key);
    // Without what was told of a transaction nobody can tell what of it is new.
    if (told.part !== undefined && !hasAll(kept, told)) return [];
    const parts = kept?.parts ?? [];
    const points: ResumePoint[] = [];
    const saved = this.#maps.head(key);
    const isOfOne = kept === undefined || kept.uuid === saved?.uuid;
    if (saved !== undefined && isOfOne && (saved.part === undefined || hasAll(kept, saved))) {
      const map = { sequence: saved.sequence, part: saved.part };
      points.push({ after: wholeBefore(map), told, uuid: saved.uuid, map, parts });
    }
    const after = wholeBefore(told);
    const last: ResumePoint[] =
      points[0]?.after === after ? [] : [{ after, told, uuid: kept?.uuid, map: undefined, parts }];
    // Nothing is to be left out of what comes after the last that was told.
    const isOlder = made.some((point) => point.after !== undefined && isAfter(after, point.after));
    points.push(...(isOlder ? [...made, ...last] : [...last, ...made]));
    return points;
  }

  /** The same of all a guest's volumes that are known, by volumeKey. */
  allResumePoints(guest: string): Map<string, ResumePoint[]> {
    const volumes = new Set([
      ...this.#positions.volumes(guest),
      ...this.logs.guest(guest).volumes,
      ...this.#made.volumes(guest),
    ]);
    return new Map(
      [...volumes].map((volume) => [volumeKey(guest, volume), this.resumePoints(guest, volume)]),
    );
  }

  /**
   * A volume is followed from now on, from one of the points if that was possible. `uuid`: the file system's. `after`: the
   * transaction after which it is followed.
   */
  begin(guest: string, volume: string, uuid: string, point: ResumePoint | undefined, after?: number): void {
    const saved = this.#maps.load(volumeKey(guest, volume), uuid);
    if (point?.map !== undefined && saved !== undefined && isSamePosition(saved.at, point.map)) {
      this.#made.use(guest, volume, uuid, point);
      this.#telling.resume(guest, volume, uuid, saved, point.told ?? saved.at);
      return;
    }
    const told = this.#toldUpTo(guest, volume);
    this.#made.use(guest, volume, uuid, point);
    // A server that soon takes over is not to take it for one that nobody has ever followed.
    if (told === undefined && after !== undefined)
      this.#positions.begin(volumeKey(guest, volume), { sequence: after });
    if (told === undefined || goesOnFrom(point, told)) this.#telling.begin(guest, volume, uuid, told);
    else {
      this.#parts.drop(volumeKey(guest, volume));
      const before = isSamePosition(saved?.at, told) ? saved?.index : undefined;
      this.#telling.reopened(guest, volume, uuid, "the volume was not watched for a while", before);
    }
  }

  /** Up to where a volume was told; undefined: nothing was. A map is kept after what it has was told. */
  #toldUpTo(guest: string, volume: string): Position | undefined {
    const key = volumeKey(guest, volume);
    const log = this.logs.guest(guest);
    const logged = log.lastTransaction(volume);
    const mapped = this.#maps.head(key);
    const known: readonly (Position | undefined)[] = [
      this.#positions.get(key),
      logged === undefined ? undefined : { sequence: logged, part: log.lastPart(volume) },
      mapped && { sequence: mapped.sequence, part: mapped.part },
    ];
    return known.reduce((latest, one) =>
      one === undefined || (latest !== undefined && !isPast(one, latest)) ? latest : one,
    );
  }

  /** `read` reads of files as the events that are being told have left them. */
  readFilesBy(read: ReadVolume): void {
    this.#readFile = read;
  }

  /** `crawl` crawls what the events that have been told have left. */
  crawlBy(crawl: CrawlVolume): void {
    this.#crawlKept = crawl;
  }

  setMounts(mounts: readonly MountedVolume[]): void {
    this.#telling.setMounts(mounts);
  }

  take(guest: string, volume: string, step: ToldStep): void {
    const key = volumeKey(guest, volume);
    const { commit, ...rest } = step;
    const { sequence, logical } = commit;
    if (logical !== undefined) {
      const uuid = this.#telling.uuid(guest, volume);
      this.#parts.add(key, uuid, { sequence, logical, ...rest });
    }
    this.#telling.take(guest, volume, step);
    const told = this.#telling.toldUpTo(guest, volume);
    if (told === undefined) return;
    this.#positions.set(key, told);
    if (logical === undefined && !isPast({ sequence }, told)) this.#parts.drop(key, { sequence });
  }

  /** Bytes of files that were written, as a stream of writes tells; what has been taken before comes first. */
  write(guest: string, volume: string, written: readonly Written[]): void {
    this.#telling.write(guest, volume, written);
  }

  /** A stream of writes has a gap: nobody knows which files' bytes were written. */
  lost(guest: string, volume: string): void {
    this.#telling.gap(guest, volume, "some of the guest's writes were not seen: files may have other bytes");
  }

  /** A volume had to be opened afresh. */
  reopened(guest: string, volume: string, uuid: string, reason: ReopenReason): void {
    this.#parts.drop(volumeKey(guest, volume));
    const gap =
      reason === "overrun" ? "the guest's journal was used again before all of it was read" : undefined;
    this.#telling.reopened(guest, volume, uuid, gap);
  }

  async stop(): Promise<void> {
    this.#telling.stop();
    await this.#control.stop();
    await this.#crawling.stop();
    await this.#publisher?.stop();
    this.#positions.close();
    this.#parts.close();
    this.logs.close();
  }
}

/** Whether all parts of a transaction are kept up to a position in its midst. */
function hasAll(kept: KeptParts | undefined, at: Position): boolean {
  const last = kept?.parts.at(-1);
  return last?.sequence === at.sequence && last.logical.number >= (at.part ?? 0);
}

/** Whether nothing comes between what was told and what a point that has no map goes on with. */
function goesOnFrom(point: ResumePoint | undefined, told: Position): boolean {
  if (point === undefined || point.map !== undefined) return false;
  return point.crawl === undefined || (point.after !== undefined && !isAfter(point.after, told.sequence));
}

/** The last transaction that is whole at a position. */
function wholeBefore({ sequence, part }: Position): number {
  return part === undefined ? sequence : precedingSequence(sequence);
}
