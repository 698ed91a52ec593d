/** `slashcloud up`: serves guests' disks as a tree, in the foreground. */

import { existsSync } from "node:fs";
import type { EventsOptions } from "../daemon/event-hub.js";
import { type GuestSpec, guestOf, isHostName, parseGuests } from "../daemon/guest-name.js";
import { isThere } from "../daemon/image-name.js";
import { type LogForm, setLogForm, writeLog } from "../daemon/log/writer.js";
import { parseCrawls } from "../daemon/made-crawls.js";
import { type PipeForm, parsePipes } from "../daemon/pipe-option.js";
import { redisAddress } from "../daemon/redis.js";
import { type Driver, NO_POLICY, type Policy, serve } from "../daemon/serve.js";
import { ownUnit } from "../daemon/service/own-unit.js";
import { startPulse } from "../daemon/service/pulse.js";
import { passedDescriptors, type ServiceManager, serviceManager } from "../daemon/service/service-manager.js";
import { stateDirectoryFor } from "../daemon/state-directory.js";
import { giveWay } from "../daemon/succession/giving-way.js";
import { findLeft, type Left } from "../daemon/succession/left-mount.js";
import { MountStore } from "../daemon/succession/mount-store.js";
import { findPredecessor, type Predecessor } from "../daemon/succession/predecessor.js";
import { tapDisks } from "../daemon/tap.js";
import type { TapOptions } from "../daemon/tap-keeper.js";
import { UserError } from "../daemon/user-error.js";
import { complain, write } from "./output.js";
import { type QueueOptions, queueLimits } from "./tap.js";

/** Where the configuration is, unless it is named. */
export const CONFIGURATION = "/etc/slashcloud/slashcloud.yaml";

export interface UpOptions extends QueueOptions {
  /** The configuration; `true`: where it usually is. */
  readonly config?: string | true;
  readonly mount: string;
  readonly host: string;
  readonly driver: Driver;
  readonly state?: string;
  /** Bytes of a segment of each log of events. */
  readonly eventsSize?: number;
  readonly listEvents?: boolean;
  readonly events: boolean;
  /** Where events are published. */
  readonly redis?: string;
  /** Entries that each guest's stream keeps there. */
  readonly redisStream: number;
  /** Bytes added to a file that an event brings along. */
  readonly redisData?: number;
  /** `[NAME=]FILE` */
  readonly crawl?: readonly string[];
  /** Where guests' disks are offered, so that their writes are told. */
  readonly tap?: string[];
  /** Where their QEMUs tell what they write. */
  readonly pipe?: string[];
  readonly pipeForm: PipeForm;
  /** Seconds for which a write is kept that nothing explains yet. */
  readonly unknownLife: number;
  /** Where metrics are told. */
  readonly metrics?: string;
  /** The form of what is logged; undefined: the journal's if it goes there, else text. */
  readonly log?: LogForm;
  /** A file that says who may see what. */
  readonly policy?: string;
  /** Names on guests' NTFS volumes are found in whatever case. */
  readonly ignoreCase?: boolean;
}

/** Whether an option was given by the user, on the command line or in the environment. */
export type IsGiven = (option: string) => boolean;

/**
 * Serves until SIGINT or SIGTERM, or until somebody unmounts the tree; SIGUSR2 has the program as it is on disk now take
 * over, SIGHUP has the configuration read again. Returns the exit code. Throws UserError, MountError.
 */
export async function up(
  images: readonly string[],
  given: UpOptions,
  isGiven: IsGiven = () => true,
): Promise<number> {
  const predecessor = await findPredecessor();
  const left = findLeft(passedDescriptors());
  try {
    return await upAfter(predecessor, left, images, given, isGiven);
  } catch (error) {
    predecessor?.refuse((error as Error).message);
    // Whoever waits for it is not to wait for what is mended by hand.
    left.mount?.unmount(writeLog);
    throw error;
  }
}

async function upAfter(
  predecessor: Predecessor | undefined,
  left: Left,
  images: readonly string[],
  given: UpOptions,
  isGiven: IsGiven,
): Promise<number> {
  // A configuration may say otherwise, once it has been read.
  setLogForm(given.log);
  const named = parseGuests(images);
  const file = configurationOf(images, given);
  const readPolicy = await policyReader(given.policy);
  const configured =
    file === undefined
      ? undefined
      : await (await import("./up-configured.js")).configuredUp({ file, given, isGiven, named, readPolicy });
  const options = configured?.options ?? given;
  setLogForm(options.log);
  // All that are known by their images now; what is offered to them is settled at the start.
  const known = [...named, ...(configured?.plan.guests ?? []).flatMap((guest) => knownGuest(guest, named))];
  const { mount: directory, host, driver, metrics } = options;
  if (!isHostName(host))
    throw new UserError(`"${host}" cannot be this host's name in the tree; name another one with --host`, 2);
  const tap: TapOptions | undefined =
    options.tap || options.pipe
      ? {
          listen: options.tap ?? [],
          disks: options.tap ? tapDisks([...named, ...known.filter(canBeTapped(named))]) : [],
          pipes: parsePipes(options.pipe ?? [], options.pipeForm, known),
        }
      : undefined;
  const writes = { limits: queueLimits(options), unknownLife: 1000 * options.unknownLife };
  const manager = serviceManager(complain);
  const stored = predecessor?.handed.stored ?? left.stored;
  const store = manager && driver !== "libfuse" ? mountStore(manager, stored) : undefined;
  let isStopping = false;
  let stop: () => void = () => {};
  const stopped = new Promise<void>((resolve) => {
    stop = () => {
      isStopping = true;
      resolve();
    };
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, stop);
  });
  // Before it serves, it would end by it.
  let reload: () => void = () => {};
  if (configured !== undefined || manager !== undefined) process.on("SIGHUP", () => reload());
  const served = await serve({
    directory,
    host,
    driver,
    guests: named,
    ...(configured && { plan: configured.plan, reread: configured.reread }),
    settings: {
      events: eventsOf(options, known),
      policy: configured?.plan.settings?.policy ?? readPolicy?.() ?? NO_POLICY,
      matching: { ignoresCase: options.ignoreCase ?? false },
    },
    readPolicy,
    tap,
    writes,
    metrics: metrics === undefined ? undefined : { listen: metrics },
    predecessor,
    left: left.mount,
    store,
    ...(manager && { environment: manager.environment }),
    log: writeLog,
  });
  const serving = (): string =>
    `serving ${directory} (${served.guests} guest${served.guests === 1 ? "" : "s"})`;
  const tellManager = (): void => void manager?.ready(serving());
  reload = () => {
    served.reload().then(
      (lines) => {
        writeLog("the configuration was read again", { level: "info" });
        for (const line of lines) writeLog(line, { level: "info" });
        tellManager();
      },
      ({ message }: Error) => {
        for (const line of message.split("\n")) writeLog(line, { level: "error" });
        writeLog("the configuration is wrong, and all stays as it is", { level: "error" });
      },
    );
  };
  process.on("SIGUSR2", () => {
    if (served.upgrade === undefined)
      complain("this driver cannot be upgraded while it serves: start it again");
    else void served.upgrade();
  });
  await predecessor?.serving(stop);
  if (predecessor !== undefined)
    writeLog(`process ${predecessor.handed.pid} has given way: ${serving()}`, { level: "info" });
  else {
    // Who has started the one before has read it, and may have closed the pipe.
    for (const url of served.urls) write(`slashcloud: ${url}\n`);
    if (!isStopping) write(`slashcloud: ${serving()}\n`);
  }
  // Before it counts as started, so that a restart keeps the mount from then on; one that took over is watched already.
  const kept = served.keep();
  if (predecessor === undefined) await kept;
  tellManager();
  const endPulse = manager && startPulse({ manager, directory, replace: served.replace, log: writeLog });
  const successor = await Promise.race([stopped, served.ended, served.succeeded]).finally(endPulse);
  if (successor !== undefined) return giveWay(successor, manager);
  if (!isStopping) {
    complain(`${directory} was unmounted by somebody else`);
    return 0;
  }
  const isToCome = await store?.isRestarting();
  void manager?.stopping();
  await served.stop(isToCome);
  return 0;
}

/** Who keeps the mount over a restart of the service; undefined: nobody can. */
function mountStore(manager: ServiceManager, stored: readonly string[]): MountStore | undefined {
  const unit = ownUnit();
  return unit === undefined ? undefined : new MountStore(manager, unit, stored, writeLog);
}

/** The configuration's file; undefined: none is read. */
function configurationOf(images: readonly string[], { config }: UpOptions): string | undefined {
  if (typeof config === "string") return config;
  if (config === true) return CONFIGURATION;
  return images.length === 0 && existsSync(CONFIGURATION) ? CONFIGURATION : undefined;
}

/** How events are told; undefined: they are not. Throws UserError. */
export function eventsOf(options: UpOptions, guests: readonly GuestSpec[]): EventsOptions | undefined {
  const { mount, state, events, eventsSize: logSize, listEvents, redis, crawl } = options;
  if (redis !== undefined && !events)
    throw new UserError("--redis publishes events, and --no-events has none told: leave one of them out", 2);
  if (crawl !== undefined && !events)
    throw new UserError(
      "--crawl is for the paths of events, and --no-events has none told: leave one out",
      2,
    );
  if (!events) return undefined;
  return {
    state: stateDirectoryFor(mount, state),
    isStateNamed: state !== undefined,
    logSize,
    areListed: listEvents ?? false,
    redis:
      redis === undefined
        ? undefined
        : {
            address: redisAddress(redis),
            mostEntries: options.redisStream,
            mostData: options.redisData ?? 0,
          },
    crawls: parseCrawls(crawl ?? [], guests),
  };
}

/** A guest of the configuration that has images, and no namesake on the command line. */
function knownGuest(
  { name, images }: { readonly name: string; readonly images: readonly string[] },
  named: readonly GuestSpec[],
): GuestSpec[] {
  return images.length === 0 || named.some((other) => other.name === name) ? [] : [guestOf(name, images)];
}

/** Of the guests that are not on the command line, those whose disks the tap can offer: raw ones that are there. */
function canBeTapped(named: readonly GuestSpec[]): (guest: GuestSpec) => boolean {
  return (guest) => {
    if (named.includes(guest)) return false;
    try {
      const isOffered = tapDisks([guest]).every(({ path }) => isThere(path));
      if (!isOffered) writeLog(`${guest.name}: is not offered at the tap, as an image of it is not there`);
      return isOffered;
    } catch (error) {
      writeLog(`${guest.name}: is not offered at the tap: ${(error as Error).message}`);
      return false;
    }
  };
}

/** Reads the file of a policy, again each time. What it takes to read one is loaded only if there is one. */
async function policyReader(path: string | undefined): Promise<(() => Policy) | undefined> {
  if (path === undefined) return undefined;
  const { readPolicyFile } = await import("../daemon/policy-file.js");
  return () => readPolicyFile(path);
}
