/** Events on Redis: from the user's address to what publishes the daemon's events. */
import { join } from "node:path";
import type { Logs } from "../events/logs.js";
import { parseAddress, type RedisAddress } from "../events/redis/address.js";
import { ChangedBytes, type ReadFile } from "../events/redis/changed-bytes.js";
import { Publisher } from "../events/redis/publisher.js";
import type { Log } from "../images/image.js";
import { UserError } from "./user-error.js";

/** Can be sent to another process. */
export interface RedisSettings {
  readonly address: RedisAddress;
  /** Entries that each guest's stream keeps, about. */
  readonly mostEntries: number;
  /** Bytes of a file that an event may bring along. */
  readonly mostData: number;
}

export interface PublishOptions {
  readonly host: string;
  readonly guests: Iterable<string>;
  readonly logs: Logs;
  readonly read: ReadFile;
  /** The daemon's state directory. */
  readonly state: string;
  readonly log: Log;
}

/** Reads an address as users write it. Throws UserError. */
export function redisAddress(text: string): RedisAddress {
  try {
    return parseAddress(text);
  } catch (error) {
    const { message } = error as Error;
    throw error instanceof SyntaxError
      ? new UserError(message, 2)
      : new UserError(`the address of Redis names a file that cannot be read: ${message}`);
  }
}

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
