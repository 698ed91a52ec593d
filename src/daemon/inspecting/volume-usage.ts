/** How full guests' volumes are: the numbers that the guest's own statfs(2) has. */
import { statfsSync } from "node:fs";
import { join } from "node:path";
import { Statistics } from "../../filesystems/filesystem.js";
import type { Log } from "../../images/image.js";
import type { GuestSpec } from "../guest-name.js";
import { openGuestTree } from "../one-shot.js";
import { UserError } from "../user-error.js";
import { type ServedGuests, whyUnavailable } from "./guest-subject.js";

/** Of one volume. Sizes are bytes. */
export interface VolumeUsage {
  readonly guest: string;
  /** `sda1` */
  readonly volume: string;
  readonly size: number;
  readonly used: number;
  /** For users other than the guest's root. */
  readonly available: number;
  readonly inodes: number;
  readonly inodesUsed: number;
  readonly inodesFree: number;
  /** Where the guest has it mounted; it may be several places, or none. */
  readonly mountPoints: readonly string[];
}

const HOST = "host";
/** Volumes with these states are in the tree. */
const SHOWN = new Set(["followed", "unreadable", "unfollowed"]);

/** Of a guest by its images. Throws ImageError, and UserError if there is nothing that can be shown. */
export function usageOfImages(spec: GuestSpec, log: Log): VolumeUsage[] {
  const { guests, mounts } = openGuestTree(HOST, spec, log);
  const guest = spec.name;
  try {
    const found: VolumeUsage[] = [];
    const statistics = new Statistics();
    for (const { volume, fileSystem } of guests.flatMap(({ disks }) =>
      disks.flatMap(({ volumes }) => volumes),
    )) {
      if (fileSystem === undefined) continue;
      fileSystem.statistics(statistics);
      found.push(usage(guest, volume.name, mounts.get(guest)?.get(volume.name) ?? [], statistics));
    }
    return found;
  } finally {
    for (const { image } of guests.flatMap(({ disks }) => disks)) image.close();
  }
}

/** Of a guest that a daemon serves, by its tree. Throws UserError. */
export function usageOfServed(served: ServedGuests, guest: string): VolumeUsage[] {
  const { mount, status } = served;
  const reason = whyUnavailable(served, guest);
  if (reason !== undefined) throw new UserError(`${guest}: ${reason}`);
  return status.volumes.flatMap((each) => {
    if (each.guest !== guest || !SHOWN.has(each.state)) return [];
    const path = join(mount, status.host, guest, ".volumes", each.volume);
    try {
      const { bsize, blocks, bfree, bavail, files, ffree } = statfsSync(path);
      return usage(guest, each.volume, each.mountPoints, {
        blockSize: bsize,
        blocks,
        blocksFree: bfree,
        blocksAvailable: bavail,
        files,
        filesFree: ffree,
      });
    } catch (error) {
      throw new UserError(
        `${guest}: ${(error as Error).message}; is the tree mounted there? name it with --mount`,
      );
    }
  });
}

function usage(
  guest: string,
  volume: string,
  mountPoints: readonly string[],
  of: Omit<Statistics, "nameLength">,
): VolumeUsage {
  return {
    guest,
    volume,
    size: of.blocks * of.blockSize,
    used: (of.blocks - of.blocksFree) * of.blockSize,
    available: of.blocksAvailable * of.blockSize,
    inodes: of.files,
    inodesUsed: of.files - of.filesFree,
    inodesFree: of.filesFree,
    mountPoints,
  };
}
