/** A guest's disks: its images opened, the volumes found on them, and the file systems on those. */
import { diskName } from "../cloud/mount-table.js";
import type { FileSystem, NameMatching } from "../filesystems/filesystem.js";
import { type Identity, identify, openFileSystem } from "../filesystems/formats.js";
import { type Image, type Log, logWithin } from "../images/image.js";
import { ImageError } from "../images/image-error.js";
import { IoError } from "../images/io-error.js";
import { openImage } from "../images/open.js";
import type { BlockCache } from "../versions/block-cache.js";
import { findLogicalVolumes, findVolumes, type Volume, type VolumeTable } from "../volumes/volumes.js";
import type { GuestSpec } from "./guest-name.js";

/** A volume with what lies on it. */
export interface OpenVolume {
  readonly volume: Volume;
  /** What it says it is; undefined: nothing that is known. */
  readonly identity: Identity | undefined;
  readonly fileSystem: FileSystem | undefined;
  /** Why there is no file system though it says it is one; "" if nothing is wrong. */
  readonly problem: string;
}

/** One disk of a guest. */
export interface OpenDisk {
  /** `sda`, `sdb`, ... in the order in which the images were named. */
  readonly name: string;
  readonly image: Image;
  readonly table: VolumeTable;
  /** The first disk of a volume group has its logical volumes. */
  readonly volumes: readonly OpenVolume[];
}

/** A guest with its disks open. */
export interface Guest {
  readonly name: string;
  readonly disks: readonly OpenDisk[];
}

/** Is told of a guest that cannot be opened, so that the others are. */
export type PassOver = (guest: string, error: Error) => void;

/**
 * Opens guests, each as openGuest does. Throws what that throws, unless `passOver` is there to be told. `matching`: see
 * openFileSystem.
 */
export function openGuests(
  specs: readonly GuestSpec[],
  cache: BlockCache,
  log: Log,
  passOver?: PassOver,
  matching?: NameMatching,
): Guest[] {
  return specs.flatMap((spec) => {
    try {
      return [openGuest(spec, cache, logWithin(log, spec.name, { guest: spec.name }), matching)];
    } catch (error) {
      if (passOver === undefined) throw error;
      passOver(spec.name, error as Error);
      return [];
    }
  });
}

/** Whether nothing at all is on a guest's disks: no partition table, no file system, not even one that cannot be shown. */
export function isBlank({ disks }: Guest): boolean {
  return disks.every(({ volumes }) => volumes.every(({ identity }) => identity === undefined));
}

/**
 * Opens a guest's images and whatever can be read on them. A volume that cannot be opened is a line in the log, not an
 * error. Throws ImageError when an image cannot be opened.
 */
export function openGuest(spec: GuestSpec, cache: BlockCache, log: Log, matching?: NameMatching): Guest {
  const disks: OpenDisk[] = [];
  try {
    for (const [index, path] of spec.images.entries()) {
      disks.push(openDisk(diskName(index), path, cache, log, matching));
    }
    return { name: spec.name, disks: withLogicalVolumes(disks, cache, log, matching) };
  } catch (error) {
    for (const disk of disks) disk.image.close();
    throw error;
  }
}

/** The images that a volume of the guest's lies on; `disk`: the one that has it. */
export function imagesOf({ disks }: Guest, disk: OpenDisk, volume: Volume): Image[] {
  return volume.disks?.flatMap((index) => disks[index]?.image ?? []) ?? [disk.image];
}

/** Throws ImageError as openDisk does. */
function withLogicalVolumes(
  disks: readonly OpenDisk[],
  cache: BlockCache,
  log: Log,
  matching?: NameMatching,
): OpenDisk[] {
  const outages = disks.map(({ image }) => image.service?.outages);
  const tables = disks.map(({ table }) => table);
  const logical = findLogicalVolumes(tables, log).map((volume) => openVolume(volume, cache, log, matching));
  for (const [index, { image }] of disks.entries()) {
    const { name, service } = image;
    if (service !== undefined && service.outages !== outages[index])
      throw new ImageError(name, service.trouble);
  }
  return disks.map((disk, index) => {
    const own = logical.filter(({ volume }) => volume.disks?.[0] === index);
    return own.length === 0 ? disk : { ...disk, volumes: [...disk.volumes, ...own] };
  });
}

/** Throws ImageError, also when the image's bytes could not be had for a while: then what is missing is not missing. */
function openDisk(
  name: string,
  path: string,
  cache: BlockCache,
  log: Log,
  matching?: NameMatching,
): OpenDisk {
  const image = openImage(path);
  try {
    const { service } = image;
    const outages = service?.outages;
    const table = findVolumes(image, name, log);
    const volumes = table.volumes.map((volume) => openVolume(volume, cache, log, matching));
    if (service !== undefined && service.outages !== outages) throw new ImageError(path, service.trouble);
    return { name, image, table, volumes };
  } catch (error) {
    image.close();
    throw error;
  }
}

function openVolume(volume: Volume, cache: BlockCache, log: Log, matching?: NameMatching): OpenVolume {
  let identity: Identity | undefined;
  if (volume.unreadable !== undefined)
    return { volume, identity, fileSystem: undefined, problem: volume.unreadable };
  try {
    identity = identify(volume.source);
    const fileSystem = openFileSystem(
      volume.source,
      cache,
      logWithin(log, volume.name, { volume: volume.name }),
      matching,
    );
    return { volume, identity, fileSystem, problem: "" };
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    log(`${volume.name}: cannot be shown: ${error.message}`, { level: "error", volume: volume.name });
    return { volume, identity, fileSystem: undefined, problem: error.message };
  }
}
