/** Volumes of which nobody is told what changes. */
import type { OpenVolume } from "./guest.js";
import { NO_FIGURES } from "./insight/volume-measures.js";
import type { FollowedStatus } from "./status.js";

/** A line about such a volume; none of what is no file system that is known. */
export function unfollowed(
  guest: string,
  { volume, identity, fileSystem, problem }: OpenVolume,
): FollowedStatus[] {
  const isShown = fileSystem !== undefined;
  const isDamaged = problem !== "" && volume.unreadable === undefined;
  const state = isShown ? "unfollowed" : isDamaged ? "damaged" : "unsupported";
  if (!isShown && identity === undefined && problem === "") return [];
  return [
    {
      guest,
      volume: volume.name,
      state,
      capture: "none",
      transaction: undefined,
      reopened: 0,
      lastReopened: undefined,
      reason: undefined,
      seenAt: undefined,
      problem: isShown
        ? "its changes cannot be followed: what is shown is up to a second old"
        : problem || `${identity?.type} is not shown`,
      figures: NO_FIGURES,
    },
  ];
}
