/** Guests opened and composed into a tree, in this thread. */
import { buildTree } from "../cloud/build.js";
import type { Tree } from "../cloud/tree.js";
import type { Log } from "../images/image.js";
import { BlockCache } from "../versions/block-cache.js";
import { type Guest, openGuest } from "./guest.js";
import type { GuestSpec } from "./guest-name.js";

/** Bytes of the volumes' metadata that are kept at hand. */
const CACHE_BYTES = 32 << 20;

/** A tree and the guests in it. */
export interface OpenTree {
  readonly tree: Tree;
  readonly guests: readonly Guest[];
  /** Where each guest mounts its volumes: by the guest's name, then by the volume's. */
  readonly mounts: ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;
}

/** Opens all guests. `log` gets a line for whatever had to be passed over. Throws ImageError for an image that cannot be opened. */
export function openTree(host: string, specs: readonly GuestSpec[], log: Log): OpenTree {
  const cache = new BlockCache(CACHE_BYTES);
  const guests = specs.map((spec) => openGuest(spec, cache, (line) => log(`${spec.name}: ${line}`)));
  const { tree, mounts } = buildTree(
    host,
    guests.map(({ name, disks }) => ({
      name,
      volumes: disks.flatMap(({ volumes }) =>
        volumes.map(({ volume, identity, fileSystem }) => ({
          name: volume.name,
          type: identity?.type ?? "",
          label: identity?.label ?? "",
          uuid: identity?.uuid ?? "",
          partUuid: volume.partitionUuid,
          partLabel: volume.partitionLabel,
          fileSystem,
        })),
      ),
    })),
    log,
  );
  return { tree, guests, mounts };
}
