/** The events of all guests of a daemon: maps of names, logs, who listens, and the control socket. */
import { join } from "node:path";
import type { SharedLogs } from "../events/log-reader.js";
import { Logs } from "../events/logs.js";
import type { ReopenReason } from "../filesystems/follower.js";
import type { Log } from "../images/image.js";
import { isAfter } from "../versions/commit.js";
import { Control } from "./control.js";
import { Crawling } from "./crawling.js";
import type { GuestSpec } from "./guest-name.js";
import type { MountedVolume } from "./mounted-volume.js";
import { Positions } from "./positions.js";
import { eventsFolder } from "./state-directory.js";
import type { VolumeStatus } from "./status.js";
import { Telling, type ToldStep } from "./telling.js";
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
}

/** Where what happens in followed volumes goes. */
export type EventTaker = Pick<EventHub, "lastTransaction" | "begin" | "take" | "reopened" | "tellStatus">;

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
  readonly #log: Log;
  #volumes: () => readonly VolumeStatus[] = () => [];

  /** Opens the logs. Throws a system error if they cannot be read. */
  constructor(host: string, guests: readonly GuestSpec[], { state, logSize }: EventsOptions, log: Log) {
    const specs = new Map(guests.map((spec) => [spec.name, spec]));
    this.#log = log;
    this.logs = new Logs({
      folder: eventsFolder(state),
      guests: [...specs.keys()],
      ...(logSize === undefined ? {} : { limit: logSize }),
      log,
    });
    this.#control = new Control({
      directory: state,
      events: this.logs,
      status: () => ({ pid: process.pid, host, guests: [...specs.keys()], volumes: this.#volumes() }),
    });
    this.#positions = new Positions(join(state, "positions.json"), log);
    this.#crawling = new Crawling(log);
    this.#telling = new Telling({
      host,
      guestLog: (guest) => this.logs.guest(guest),
      everything: this.logs.everything,
      crawl: (guest, volume) => {
        const spec = specs.get(guest) as GuestSpec;
        // A crawl that is held up is to hold up no other guest's.
        return this.#crawling.crawl(spec, volume, spec.isRemote ? guest : "");
      },
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

  /** The same of all a guest's volumes that are known, by volumeKey. */
  lastTransactions(guest: string): Map<string, number> {
    const volumes = [...this.#positions.volumes(guest), ...this.logs.guest(guest).volumes];
    return new Map(
      volumes.flatMap((volume) => {
        const last = this.lastTransaction(guest, volume);
        return last === undefined ? [] : [[volumeKey(guest, volume), last]];
      }),
    );
  }

  /** A volume is followed from now on. `isResumed`: no transaction was missed since the last one that was told. */
  begin(guest: string, volume: string, isResumed: boolean): void {
    if (!isResumed && this.lastTransaction(guest, volume) !== undefined)
      this.#telling.reopened(guest, volume, "the volume was not watched for a while");
    else this.#telling.begin(guest, volume);
  }

  /** `volumes` says how following goes of some volumes: those that the earlier calls were not about. */
  tellStatus(volumes: () => readonly Omit<VolumeStatus, "hasPaths">[]): void {
    const others = this.#volumes;
    this.#volumes = () => [
      ...others(),
      ...volumes().map((status) => ({
        ...status,
        hasPaths: this.#telling.hasPaths(status.guest, status.volume),
      })),
    ];
  }

  setMounts(mounts: readonly MountedVolume[]): void {
    this.#telling.setMounts(mounts);
  }

  take(guest: string, volume: string, step: ToldStep): void {
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
    this.#positions.close();
    this.logs.close();
  }
}
