/** What a server knows of itself, of what it follows, and of the daemon that it is part of: for status and for metrics. */
import type { PublisherStatus } from "../../events/redis/publisher.js";
import type { DaemonStatus, FollowedStatus, GuestStatus, UnavailableGuest, VolumeStatus } from "../status.js";
import { EventCounts } from "./event-counts.js";
import { problemsOf } from "./health.js";
import { ownFigures } from "./process-figures.js";
import { sumOf } from "./rate.js";
import type { SupervisorReport } from "./supervisor-report.js";
import type { ThreadCounts } from "./thread-counts.js";
import { volumeStatus } from "./volume-status.js";

/** ms that the supervisor is given to answer. */
const PATIENCE = 2000;

export interface InsightOptions {
  readonly host: string;
  readonly guests: readonly string[];
  /** What threads that answer users count; undefined: nobody does. */
  readonly counts: readonly ThreadCounts[] | undefined;
  /** Asks the supervisor. */
  readonly askSupervisor: () => Promise<SupervisorReport>;
}

/** What is known of events. */
export interface EventInsight {
  hasPaths(guest: string, volume: string): boolean;
  mountPoints(guest: string, volume: string): readonly string[];
  readonly redis: PublisherStatus | undefined;
}

/** All that is known at a moment. */
export interface Snapshot {
  readonly status: DaemonStatus;
  readonly followed: readonly FollowedStatus[];
  readonly events: EventCounts;
  readonly counts: readonly ThreadCounts[] | undefined;
}

export class Insight {
  readonly events = new EventCounts();
  readonly #options: InsightOptions;
  readonly #volumes: (() => readonly FollowedStatus[])[] = [];
  readonly #unavailable: (() => readonly UnavailableGuest[])[] = [];
  readonly #counts: ThreadCounts[] | undefined;
  #told: EventInsight | undefined;

  constructor(options: InsightOptions) {
    this.#options = options;
    this.#counts = options.counts && [...options.counts];
  }

  /** `volumes` says how following goes of some volumes: others than those of earlier calls. */
  follow(volumes: () => readonly FollowedStatus[]): void {
    this.#volumes.push(volumes);
  }

  /** `guests` says which guests ought to be shown and are not. */
  miss(guests: () => readonly UnavailableGuest[]): void {
    this.#unavailable.push(guests);
  }

  /** One more thread that answers users. */
  count(counts: ThreadCounts): void {
    this.#counts?.push(counts);
  }

  /** Events are told, and `told` knows of them. */
  tell(told: EventInsight): void {
    this.#told = told;
  }

  /** What `/v1/status` answers. Never rejects. */
  async status(): Promise<DaemonStatus> {
    return (await this.snapshot()).status;
  }

  async snapshot(): Promise<Snapshot> {
    const supervisor = await this.#supervisor();
    const followed = this.#volumes.flatMap((volumes) => volumes());
    const now = performance.timeOrigin + performance.now();
    const volumes = followed.map((each) => {
      const { guest, volume } = each;
      const hasPaths = this.#told?.hasPaths(guest, volume) ?? false;
      const mountPoints = this.#told?.mountPoints(guest, volume) ?? [];
      return volumeStatus(each, mountPoints, hasPaths, this.events.of(guest, volume), now);
    });
    const unavailable = this.#unavailable.flatMap((guests) => guests());
    const redis = this.#told?.redis;
    const processes = processesOf(supervisor);
    const { host, guests } = this.#options;
    const activity = guests.map((guest) => this.#activity(guest, volumes));
    const status: DaemonStatus = {
      pid: process.pid,
      host,
      since: new Date(performance.timeOrigin).toISOString(),
      problems: problemsOf({ unavailable, volumes, processes, redis }),
      guests,
      unavailable,
      events: sumOf(activity.map(({ events }) => events)),
      commits: sumOf(activity.map(({ commits }) => commits)),
      written: sumOf(activity.map(({ written }) => written)),
      activity,
      processes,
      serverStarts: typeof supervisor === "string" ? undefined : supervisor.serverStarts,
      queues:
        typeof supervisor === "string" ? [] : supervisor.taps.flatMap(({ figures }) => figures?.queues ?? []),
      requests: this.#requests(),
      volumes,
      redis,
    };
    return { status, followed, events: this.events, counts: this.#counts };
  }

  /** What it says, or why it says nothing. */
  async #supervisor(): Promise<SupervisorReport | string> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve(`it does not answer within ${PATIENCE / 1000} s`), PATIENCE);
    });
    const report = this.#options.askSupervisor().catch(({ message }: Error) => message);
    return Promise.race([report, late]).finally(() => clearTimeout(timer));
  }

  #activity(guest: string, all: readonly VolumeStatus[]): GuestStatus {
    const volumes = all.filter((volume) => volume.guest === guest);
    const looks = volumes.flatMap(({ lag }) => lag.look ?? []);
    return {
      guest,
      events: this.events.of(guest),
      commits: sumOf(volumes.map(({ commits }) => commits)),
      written: sumOf(volumes.map(({ written }) => written)),
      look: looks.length === 0 ? undefined : Math.max(...looks),
      isStale: volumes.some(({ isStale }) => isStale),
    };
  }

  #requests(): DaemonStatus["requests"] {
    const all = this.#counts;
    if (all === undefined) return undefined;
    const sum = (counts: Float64Array): number => counts.reduce((total, count) => total + count, 0);
    return {
      total: all.reduce((total, { requests }) => total + sum(requests.requests), 0),
      errors: all.reduce((total, { requests }) => total + sum(requests.errors), 0),
    };
  }
}

function processesOf(supervisor: SupervisorReport | string): DaemonStatus["processes"] {
  const server = { role: "server", problem: "", ...ownFigures() } as const;
  if (typeof supervisor === "string") return [{ role: "supervisor", problem: supervisor }, server];
  const taps = supervisor.taps.map(({ role, problem, figures }) => ({ role, problem, ...figures?.process }));
  // One process is both where libfuse serves.
  const isOne = supervisor.process.pid === server.pid;
  const own = isOne ? [] : [{ role: "supervisor", problem: "", ...supervisor.process } as const];
  return [...own, server, ...taps];
}
