/** `slashcloud up`: serves guests' disks as a tree, in the foreground. */

import { parseGuests } from "../daemon/guest-name.js";
import { parseCrawls } from "../daemon/made-crawls.js";
import { type PipeForm, parsePipes } from "../daemon/pipe-option.js";
import { redisAddress } from "../daemon/redis.js";
import { type Driver, serve } from "../daemon/serve.js";
import { startPulse } from "../daemon/service/pulse.js";
import { serviceManager } from "../daemon/service/service-manager.js";
import { stateDirectoryFor } from "../daemon/state-directory.js";
import { tapDisks } from "../daemon/tap.js";
import type { TapOptions } from "../daemon/tap-keeper.js";
import { UserError } from "../daemon/user-error.js";
import { complain, write } from "./output.js";
import { type QueueOptions, queueLimits } from "./tap.js";

export interface UpOptions extends QueueOptions {
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
}

/**
 * Serves until SIGINT or SIGTERM, or until somebody unmounts the tree; SIGUSR2 has the program as it is on disk now take
 * over. Returns the exit code. Throws UserError, MountError.
 */
export async function up(images: readonly string[], options: UpOptions): Promise<number> {
  const guests = parseGuests(images);
  const { mount: directory, host, driver, eventsSize: logSize, listEvents } = options;
  if (options.redis !== undefined && !options.events)
    throw new UserError("--redis publishes events, and --no-events has none told: leave one of them out", 2);
  if (options.crawl !== undefined && !options.events)
    throw new UserError(
      "--crawl is for the paths of events, and --no-events has none told: leave one out",
      2,
    );
  const redis =
    options.redis === undefined
      ? undefined
      : {
          address: redisAddress(options.redis),
          mostEntries: options.redisStream,
          mostData: options.redisData ?? 0,
        };
  const events = options.events
    ? {
        state: stateDirectoryFor(directory, options.state),
        isStateNamed: options.state !== undefined,
        logSize,
        areListed: listEvents ?? false,
        redis,
        crawls: parseCrawls(options.crawl ?? [], guests),
      }
    : undefined;
  const tap: TapOptions | undefined =
    options.tap || options.pipe
      ? {
          listen: options.tap ?? [],
          disks: options.tap ? tapDisks(guests) : [],
          pipes: parsePipes(options.pipe ?? [], options.pipeForm, guests),
        }
      : undefined;
  const writes = { limits: queueLimits(options), unknownLife: 1000 * options.unknownLife };
  const manager = serviceManager(complain);
  let isStopping = false;
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => {
        isStopping = true;
        resolve();
      });
    }
  });
  const served = await serve({ directory, host, driver, guests, events, tap, writes, log: complain });
  process.on("SIGUSR2", () => {
    if (served.upgrade === undefined)
      complain("this driver cannot be upgraded while it serves: start it again");
    else void served.upgrade();
  });
  for (const url of served.urls ?? []) write(`slashcloud: ${url}\n`);
  if (!isStopping)
    write(`slashcloud: serving ${directory} (${guests.length} guest${guests.length === 1 ? "" : "s"})\n`);
  void manager?.ready(`serving ${directory} (${guests.length} guest${guests.length === 1 ? "" : "s"})`);
  const endPulse = manager && startPulse({ manager, directory, replace: served.replace, log: complain });
  await Promise.race([stopped, served.ended]).finally(endPulse);
  if (!isStopping) {
    complain(`${directory} was unmounted by somebody else`);
    return 0;
  }
  void manager?.stopping();
  await served.stop();
  return 0;
}
