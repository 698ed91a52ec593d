/** Whether a Redis answers. Loaded where it is asked for only, as the client brings much along. */
import type { RedisAddress } from "../events/redis/address.js";
import { Connection } from "../events/redis/connection.js";

/** ms that it is given. */
const PATIENCE = 3000;

/** Resolves with why it does not answer; undefined: it does. */
export function probeRedis(address: RedisAddress): Promise<string | undefined> {
  return new Promise((resolve) => {
    const end = (problem: string | undefined): void => {
      clearTimeout(timer);
      connection.close();
      resolve(problem);
    };
    const timer = setTimeout(() => end(connection.lastError ?? "it does not answer"), PATIENCE);
    const connection = new Connection({
      address,
      mostEntries: 1,
      isReady: () => end(undefined),
      // It is tried no second time.
      log: () => end(connection.lastError ?? "it does not answer"),
    });
  });
}
