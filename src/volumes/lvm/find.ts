/** From the partitions and disks of a guest to the logical volumes on them. */
import { type Log, logWithin, type Source } from "../../images/image.js";
import type { Volume, VolumeTable } from "../volume.js";
import { LiveGroup } from "./live-group.js";
import { type FoundPhysicalVolume, findPhysicalVolumes, readGroups } from "./physical-volumes.js";
import { Unreadable } from "./unreadable.js";
import type { VolumeGroup } from "./volume-group.js";

/** Logical volumes of a guest that are shown at most. */
const MAX_VOLUMES = 1000;
/** What LVM takes for the name of a group or of a volume, and what the device mapper takes for both together. */
const NAME = /^(?!\.{1,2}$)[a-zA-Z0-9_.+][a-zA-Z0-9_.+-]*$/;
const MAX_NAME = 127;
/** A volume without bytes. */
const EMPTY: Source = { size: 0, read: () => 0 };

/**
 * The logical volumes of a guest with these disks, by groups. Those that are parts of others are left out; those that
 * cannot be read have no bytes, and say why. Throws nothing for bad contents: what has to be passed over is logged.
 */
export function findLogicalVolumes(tables: readonly VolumeTable[], log: Log): Volume[] {
  const parts = tables.flatMap(({ volumes }, disk) =>
    volumes.map(({ name, source }) => ({ name, disk, source })),
  );
  const physical = findPhysicalVolumes(parts, log);
  if (physical.length === 0) return [];
  const found = new Map<string, Volume>();
  const names = new Set<string>();
  for (const group of readGroups(physical, log).values()) {
    if (!NAME.test(group.name) || names.has(group.name)) {
      const what = names.has(group.name) ? "there is another of that name" : "its name is none";
      log(`the volume group ${inOneLine(group.name)} is not shown: ${what}`);
      continue;
    }
    names.add(group.name);
    for (const volume of volumesOf(group, physical, log)) {
      if (found.size === MAX_VOLUMES) {
        log(`there are more than ${MAX_VOLUMES} logical volumes; the rest is not shown`);
        return [...found.values()];
      }
      found.set(volume.name, volume);
    }
  }
  return [...found.values()];
}

function* volumesOf(
  group: VolumeGroup,
  physical: readonly FoundPhysicalVolume[],
  log: Log,
): Generator<Volume> {
  const uuids = new Set([...group.physicalVolumes.values()].map(({ uuid }) => uuid));
  const members = physical.filter(({ uuid }) => uuids.has(uuid)).map(({ part }) => part);
  const live = new LiveGroup(group, physical, logWithin(log, `volume group ${group.name}`, {}));
  const place = {
    number: 0,
    offset: 0,
    partitionType: "",
    partitionUuid: "",
    partitionLabel: "",
    parent: members.map(({ name }) => name).join(","),
    disks: [...new Set(members.map(({ disk }) => disk))],
  };
  for (const own of live.names) {
    const name = `${doubled(group.name)}-${doubled(own)}`;
    if (!NAME.test(own) || name.length > MAX_NAME) {
      log(`the logical volume ${inOneLine(name)} is not shown: its name is none`);
      continue;
    }
    try {
      const source = live.source(own);
      yield { ...place, name, length: source.size, source };
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      log(`${name}: not shown: ${error.message}`, { volume: name });
      yield { ...place, name, length: 0, source: EMPTY, unreadable: error.message };
    }
  }
}

/** A guest's text for the log. */
function inOneLine(name: string): string {
  return JSON.stringify(name.slice(0, MAX_NAME));
}

/** As the device mapper joins names: `vg-0` and `root` are `vg--0-root`. */
function doubled(name: string): string {
  return name.replaceAll("-", "--");
}
