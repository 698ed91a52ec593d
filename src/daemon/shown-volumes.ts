/** Where the volumes of a tree are shown, for those who follow them elsewhere. */
import type { BuiltTree } from "../cloud/build.js";
import { type MountedVolume, mountedVolume } from "./mounted-volume.js";
import { volumeKey } from "./updates.js";

export interface ShownVolume {
  /** See volumeKey. */
  readonly volume: string;
  readonly placeIds: readonly number[];
  readonly mounted: MountedVolume;
}

export function shownVolumes(tree: Pick<BuiltTree, "mounts" | "places">): ShownVolume[] {
  return [...tree.places].flatMap(([guest, volumes]) =>
    [...volumes].map(([volume, places]) => ({
      volume: volumeKey(guest, volume),
      placeIds: places.map(({ id }) => id),
      mounted: mountedVolume(guest, volume, tree),
    })),
  );
}
