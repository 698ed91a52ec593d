/** Publishing a daemon's events on Redis. */
import { join } from "node:path";
import type { Logs } from "../events/logs.js";
import { ChangedBytes, type ReadFile } from "../events/redis/changed-bytes.js";
import { Publisher } from "../events/redis/publisher.js";
import type { Log } from "../images/image.js";
import type { RedisSettings } from "./redis.js";

export interface PublishOptions {
  readonly host: string;
  readonly guests: Iterable<string>;
  readonly logs: Logs;
  readonly read: ReadFile;
  /** The daemon's state directory. */
  readonly state: string;
  readonly log: Log;
}

export type PublishOn = typeof publishOn;

/** Begins to publish what the logs have, and what is offered. */
export function publishOn(
  { address, mostEntries, mostData }: RedisSettings,
  { host, guests, logs, read, state, log }: PublishOptions,
): Publisher {
  const guestLogs = Array.from(guests, (guest) => {
    const writer = logs.guest(guest);
    const guestLog = {
      get lastId() {
        return writer.lastId;
      },
      replay: () => logs.replay(guest),
    };
    return [guest, guestLog] as const;
  });
  return new Publisher({
    address,
    host,
    guests: new Map(guestLogs),
    mostEntries,
    changedBytes: new ChangedBytes(mostData, read),
    numberings: join(state, "redis.json"),
    log,
  });
}
