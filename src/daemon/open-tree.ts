/** Guests opened and composed into a tree, in this thread. */
import { type BuiltTree, buildTree, type EventsShown, type TreeShare } from "../cloud/build.js";
import type { Upkeep } from "../cloud/cloud-tree.js";
import { NO_POLICY, type Policy } from "../cloud/policy/policy.js";
import { EXACT, type NameMatching } from "../filesystems/filesystem.js";
import type { Log } from "../images/image.js";
import { InodeIndex } from "../inference/inode-index.js";
import { BlockCache } from "../versions/block-cache.js";
import { type Guest, type OpenVolume, openGuests, type PassOver } from "./guest.js";
import type { GuestSpec } from "./guest-name.js";
import { nameWindowsVolumes } from "./windows-volumes.js";

/** Bytes of the volumes' metadata that are kept at hand. */
const CACHE_BYTES = 32 << 20;

/** A tree and the guests in it. */
export interface OpenTree extends BuiltTree {
  readonly guests: readonly Guest[];
  readonly cache: BlockCache;
  /** How names are compared where a format leaves that open. */
  readonly matching: NameMatching;
}

/** How a tree is kept current; a tree that is not shows the guests as they were when it was opened. */
export interface Currency extends Upkeep {
  readonly isFollowed: (guest: Guest, volume: OpenVolume) => boolean;
}

const AT_REST: Currency = { refresh: () => {}, holds: () => true, isFollowed: () => false };

/**
 * Opens all guests. `log` gets a line for whatever had to be passed over. Throws ImageError for an image that cannot be
 * opened, unless `passOver` is there to be told. `cacheCounts`: see BlockCache.
 */
export function openTree(
  host: string,
  specs: readonly GuestSpec[],
  log: Log,
  currency: Currency = AT_REST,
  events?: EventsShown,
  share?: TreeShare,
  policy: Policy = NO_POLICY,
  cacheCounts?: Float64Array,
  passOver?: PassOver,
  matching: NameMatching = EXACT,
): OpenTree {
  const cache = new BlockCache(CACHE_BYTES, cacheCounts);
  const passed = new Set<string>();
  const guests = openGuests(
    specs,
    cache,
    log,
    passOver &&
      ((guest, error) => {
        passOver(guest, error);
        passed.add(guest);
      }),
    matching,
  );
  for (const { name, disks } of guests) {
    if (disks.every(({ volumes }) => volumes.every(({ fileSystem }) => fileSystem === undefined))) {
      log(`${name}: no file system that can be shown`, { guest: name });
    }
  }
  const built = buildTree(
    host,
    guests.map((guest) => ({
      name: guest.name,
      volumes: guest.disks.flatMap(({ volumes }) =>
        volumes.map((open) => ({
          name: open.volume.name,
          type: open.identity?.type ?? "",
          label: open.identity?.label ?? "",
          uuid: open.identity?.uuid ?? "",
          partUuid: open.volume.partitionUuid,
          partLabel: open.volume.partitionLabel,
          fileSystem: open.fileSystem,
          isFollowed: currency.isFollowed(guest, open),
        })),
      ),
    })),
    currency,
    log,
    events,
    share && { ...share, guests: share.guests.filter((name) => !passed.has(name)) },
    { ...policy, hints: (rootInode) => new InodeIndex(rootInode) },
  );
  for (const guest of guests) nameWindowsVolumes(guest, built, log);
  return { ...built, guests, cache, matching };
}
