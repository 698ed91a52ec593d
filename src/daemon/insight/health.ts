/** What of a daemon is not well, and why. */
import type { PublisherStatus } from "../../events/redis/publisher.js";
import type { Problem, ProcessStatus, UnavailableGuest, VolumeStatus } from "../status.js";

export interface Examined {
  readonly unavailable: readonly UnavailableGuest[];
  readonly volumes: readonly VolumeStatus[];
  readonly processes: readonly ProcessStatus[];
  readonly redis: PublisherStatus | undefined;
}

/**
 * A volume of a kind that is not shown, or that cannot be followed, is as well as it can be, and so is one whose map of names
 * is not made yet.
 */
export function problemsOf({ unavailable, volumes, processes, redis }: Examined): Problem[] {
  const problems: Problem[] = unavailable.map(({ guest, reason }) => ({ what: `guest ${guest}`, reason }));
  for (const { guest, volume, state, isStale, problem } of volumes) {
    const isWell = state === "unsupported" || state === "unfollowed" || (state === "followed" && !isStale);
    if (!isWell) problems.push({ what: `volume ${guest}/${volume}`, reason: problem || "it cannot be read" });
  }
  for (const { role, problem } of processes)
    if (problem !== "") problems.push({ what: `process ${role}`, reason: problem });
  if (redis !== undefined && !redis.isConnected && redis.lastError !== undefined)
    problems.push({ what: "redis", reason: `${redis.server}: ${redis.lastError}` });
  return problems;
}
