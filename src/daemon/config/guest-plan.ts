/** What a configuration has shown: its guests, and what finds others. */
import type { FoundGuest } from "../discovery/source.js";
import type { SourcePlan } from "../guests/sources.js";
import type { Configuration } from "./configuration.js";

export interface ConfiguredPlan {
  readonly guests: readonly FoundGuest[];
  readonly sources: readonly SourcePlan[];
}

/** `mount`: the daemon's own mount point. */
export async function planOf({ guests, settings }: Configuration, mount: string): Promise<ConfiguredPlan> {
  const { libvirt, images, interval } = settings.discover;
  const sources: SourcePlan[] = [];
  const ms = 1000 * interval;
  // What is not used is not loaded.
  if (libvirt !== undefined) {
    const { LibvirtSource } = await import("../discovery/libvirt.js");
    sources.push({
      key: JSON.stringify(["libvirt", libvirt, ms]),
      make: () => new LibvirtSource(libvirt, { interval: ms }),
    });
  }
  if (images.length > 0) {
    const { ImageSource } = await import("../discovery/image-source.js");
    sources.push({
      key: JSON.stringify(["images", images, ms, mount]),
      make: () => new ImageSource({ patterns: images, interval: ms, mount }),
    });
  }
  return {
    guests: guests.map(({ name, disks, qmp, nodes, capture }) => ({
      name,
      images: disks ?? [],
      ...(qmp !== undefined && { qmp }),
      ...(nodes !== undefined && { disks: nodes }),
      ...(capture !== undefined && { capture }),
    })),
    sources,
  };
}
