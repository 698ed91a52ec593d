/** Where a guest has a volume mounted. */
import type { BuiltTree } from "../cloud/build.js";

export interface MountedVolume {
  readonly guest: string;
  /** `sda1` */
  readonly volume: string;
  /** "" for the root; else without a "/" at its end. */
  readonly mountPoint: string;
  /** All of them, "/" for the root; none if it is mounted nowhere. */
  readonly mountPoints: readonly string[];
  /** The directory that it covers, in another volume. */
  readonly covers: { readonly volume: string; readonly ino: number } | undefined;
}

type Shown = Pick<BuiltTree, "mounts" | "places">;

/** All volumes of all guests. */
export function mountedVolumes(tree: Shown): MountedVolume[] {
  return [...tree.places].flatMap(([guest, volumes]) =>
    [...volumes.keys()].map((volume) => mountedVolume(guest, volume, tree)),
  );
}

/** Of several mount points the first; of a volume that is mounted nowhere its directory in `.volumes`. */
export function mountedVolume(guest: string, volume: string, { mounts, places }: Shown): MountedVolume {
  const mountPoints = mounts.get(guest)?.get(volume) ?? [];
  const [mountPoint] = mountPoints;
  const [place] = places.get(guest)?.get(volume) ?? [];
  if (mountPoint === undefined || place === undefined) {
    return { guest, volume, mountPoint: `/.volumes/${volume}`, mountPoints: [], covers: undefined };
  }
  const covers =
    "place" in place.parent ? { volume: place.parent.place.volume, ino: place.parent.covered } : undefined;
  return { guest, volume, mountPoint: mountPoint === "/" ? "" : mountPoint, mountPoints, covers };
}
