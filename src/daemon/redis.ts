/** Events on Redis, as users ask for them. What publishes them (publishing.ts) brings much along, and is loaded for them only. */
import { parseAddress, type RedisAddress } from "../events/redis/address.js";
import type { PublishOn } from "./publishing.js";
import { UserError } from "./user-error.js";

/** Can be sent to another process. */
export interface RedisSettings {
  readonly address: RedisAddress;
  /** Entries that each guest's stream keeps, about. */
  readonly mostEntries: number;
  /** Bytes of a file that an event may bring along. */
  readonly mostData: number;
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

/** Loads what publishes, where events are to be published. */
export async function loadPublishing(settings: RedisSettings | undefined): Promise<PublishOn | undefined> {
  return settings && (await import("./publishing.js")).publishOn;
}
