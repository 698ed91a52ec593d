/** The events of all guests of a daemon: maps of names, logs, who listens, and the control socket. */
import { join } from "node:path";
import type { SharedLogs } from "../events/log-reader.js";
import { Logs } from "../events/logs.js";
import type { Publisher } from "../events/redis/publisher.js";
import type { ReopenReason, Step } from "../filesystems/follower.js";
import type { Log } from "../images/image.js";
import { isAfter } from "../versions/commit.js";
import { Control } from "./control.js";
import { Crawling } from "./crawling.js";
import type { GuestSpec } from "./guest-name.js";
import type { MountedVolume } from "./mounted-volume.js";
import { Positions } from "./positions.js";
import { publishOn, type RedisSettings } from "./redis.js";
import { eventsFolder } from "./state-directory.js";
import { Telling } from "./telling.js";
import { volumeKey } from "./updates.js";
import { UserError } from "./user-error.js";

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
}

/** Throws UserError when the logs cannot be read. */
export function openEventHub(
  host: string,
  guests: readonly GuestSpec[],
  options: EventsOptions,
  log: Log,
): EventHub {
  try {
    return new EventHub(host, guests, options, log);
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
  readonly #telling: Telling;
  readonly #publisher: Publisher | undefined;
  readonly #log: Log;

  /** Opens the logs. Throws a system error if they cannot be read. */
  constructor(
    host: string,
    guests: readonly GuestSpec[],
    { state, logSize, redis }: EventsOptions,
    log: Log,
  ) {
    const specs = new Map(guests.map((spec) => [spec.name, spec]));
    this.#log = log;
    this.logs = new Logs({
      folder: eventsFolder(state),
      guests: [...specs.keys()],
      ...(logSize === undefined ? {} : { limit: logSize }),
      log,
    });
    const publisher = redis && publishOn(redis, host, specs.keys(), this.logs, state, log);
    this.#publisher = publisher;
    this.#control = new Control({
      directory: state,
      events: this.logs,
      status: () => ({ pid: process.pid, host, guests: [...specs.keys()], redis: publisher?.status }),
    });
    this.#positions = new Positions(join(state, "positions.json"), log);
    this.#crawling = new Crawling(log);
    const { everything } = this.logs;
    this.#telling = new Telling({
      host,
      guestLog: (guest) => this.logs.guest(guest),
      everything: {
        get lastId() {
          return everything.lastId;
        },
        append: (events) => {
          everything.append(events);
          publisher?.offer(events);
        },
      },
      crawl: (guest, volume) => this.#crawling.crawl(specs.get(guest) as GuestSpec, volume),
      log,
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

  /** The last transaction of a volume that was told; undefined: none. */
  lastTransaction(guest: string, volume: string): number | undefined {
    const noted = this.#positions.get(volumeKey(guest, volume));
    const logged = this.logs.guest(guest).lastTransaction(volume);
    if (noted === undefined || logged === undefined) return noted ?? logged;
    return isAfter(logged, noted) ? logged : noted;
  }

  /** A volume is followed from now on. `isResumed`: no transaction was missed since the last one that was told. */
  begin(guest: string, volume: string, isResumed: boolean): void {
    if (!isResumed && this.lastTransaction(guest, volume) !== undefined)
      this.#telling.reopened(guest, volume, "the volume was not watched for a while");
    else this.#telling.begin(guest, volume);
  }

  setMounts(mounts: readonly MountedVolume[]): void {
    this.#telling.setMounts(mounts);
  }

  take(guest: string, volume: string, step: Step): void {
    this.#telling.take(guest, volume, step);
    const told = this.#telling.toldUpTo(guest, volume);
    if (told !== undefined) this.#positions.set(volumeKey(guest, volume), told);
  }

  /** A volume had to be opened afresh. */
  reopened(guest: string, volume: string, reason: ReopenReason): void {
    const gap =
      reason === "overrun" ? "the guest's journal was used again before all of it was read" : undefined;
    this.#telling.reopened(guest, volume, gap);
  }

  async stop(): Promise<void> {
    this.#telling.stop();
    await this.#control.stop();
    await this.#crawling.stop();
    await this.#publisher?.stop();
    this.#positions.close();
    this.logs.close();
  }
}
