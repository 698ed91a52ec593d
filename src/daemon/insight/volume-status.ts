/** From what is known of a volume to what is told of it. */
import type { FollowedStatus, VolumeStatus } from "../status.js";
import type { Amount } from "./rate.js";

/** ms without a look after which a volume counts as stale: one that rests is seen four times a second. */
const LONGEST_LOOK = 5000;

/** `now`: ms since 1970. */
export function volumeStatus(
  { seenAt, figures, ...followed }: FollowedStatus,
  mountPoints: readonly string[],
  hasPaths: boolean,
  events: Amount,
  now: number,
): VolumeStatus {
  const { state } = followed;
  const look = seenAt === undefined ? undefined : Math.max(0, now - seenAt);
  const isLate = state === "followed" && look !== undefined && look > LONGEST_LOOK;
  const { commits, written, commitLag, takeLag } = figures;
  return {
    ...followed,
    problem: isLate ? `its image was not looked at for ${Math.round(look / 1000)} s` : followed.problem,
    mountPoints,
    hasPaths,
    isStale: isLate || state === "unreadable" || state === "unfollowed",
    lag: { commit: commitLag.last, take: takeLag.last, look },
    commits,
    written,
    events,
  };
}
