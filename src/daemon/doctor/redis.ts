/** Redis, if events are published there. */

import { redisAddress } from "../redis.js";
import { type Found, fail, ok, warn } from "./finding.js";
import type { Subject } from "./subject.js";

export async function checkRedis({ redis, daemon }: Subject): Promise<Found[]> {
  const found: Found[] = [];
  const publisher = daemon?.status.redis;
  if (publisher !== undefined) {
    const { server, since, lastError, missed } = publisher;
    if (since === undefined)
      found.push(
        fail(`the daemon is not connected to ${server}: ${lastError ?? "not yet"}`, "look after that Redis"),
      );
    else if (missed > 0)
      found.push(
        warn(
          `${server} was away for so long that ${missed} events were missed`,
          "larger logs (--events-size) bridge longer",
        ),
      );
    else found.push(ok(`the daemon publishes on ${server}`));
  }
  if (redis !== undefined) {
    const address = redisAddress(redis);
    const { probeRedis } = await import("../probe-redis.js");
    const problem = await probeRedis(address);
    found.push(
      problem === undefined
        ? ok(`${address.shown} answers`)
        : fail(`${address.shown}: ${problem}`, "check the address, its user and password, and that it runs"),
    );
  }
  return found;
}
