/**
 * What a Windows guest calls its volumes, by its registry: drive letters, and volumes by their numbers. Its links to them
 * then lead to `.volumes` in the guest's tree.
 */
import type { BuiltTree } from "../cloud/build.js";
import { VOLUMES } from "../cloud/cloud-tree.js";
import type { Place } from "../cloud/place.js";
import {
  Attributes,
  type FileSystem,
  FileType,
  type NamedVolume,
  type VolumeNames,
} from "../filesystems/filesystem.js";
import { type Log, logWithin } from "../images/image.js";
import { IoError } from "../images/io-error.js";
import { Hive } from "../inspect/registry/hive.js";
import { type Device, mountedDevices } from "../inspect/windows/machine.js";
import type { Guest } from "./guest.js";

/** Where the system's hive is, in Windows and in older ones. */
const HIVES = ["Windows", "WINNT"].map((folder) => [folder, "System32", "config", "SYSTEM"]);
/** Bytes that are read of it: what all guests wait for is not to depend on what one of them wrote. */
const MOST_BYTES = 16 << 20;
const GPT_VOLUME = /^VOLUME\{(.*)\}$/;

/** Has the links of a guest with a Windows lead to its other volumes. What cannot be read is a line in the log. */
export function nameWindowsVolumes(guest: Guest, { places }: Pick<BuiltTree, "places">, log: Log): void {
  const shown = places.get(guest.name) ?? new Map<string, readonly Place[]>();
  const all = [...shown.values()].flat();
  const root = all.find(({ isGuestRoot }) => isGuestRoot);
  // Links that name volumes are on NTFS alone.
  if (root?.fileSystem.nameVolumes === undefined) return;
  let devices: ReturnType<typeof mountedDevices>;
  try {
    const hive = systemHive(root.fileSystem);
    if (hive === undefined) return;
    devices = mountedDevices(hive);
  } catch (error) {
    logWithin(log, guest.name, { guest: guest.name })(
      `links to other drives lead nowhere: registry: ${(error as Error).message}`,
    );
    return;
  }
  const names = new GuestVolumeNames(guest, shown, root, devices);
  for (const place of all) place.nameVolumes(names.asOf(place.volume), root);
}

/** Undefined if there is none. Throws an Error with a line if it is none, or cannot be read. */
function systemHive(fileSystem: FileSystem): Hive | undefined {
  for (const path of HIVES) {
    const names = fileSystem.listedNames?.(path);
    if (names === undefined) continue;
    let ino = fileSystem.rootInode;
    for (const name of names) ino = fileSystem.lookup(ino, Buffer.from(name, "latin1"));
    const attributes = new Attributes();
    fileSystem.stat(ino, attributes);
    if ((attributes.mode & FileType.MASK) !== FileType.REGULAR) continue;
    let left = MOST_BYTES;
    return new Hive({
      size: attributes.size,
      read: (position, length) => {
        left -= length;
        if (left < 0) throw new Error(`the hive takes more than ${MOST_BYTES} bytes to read`);
        const bytes = Buffer.alloc(length);
        return bytes.subarray(0, fileSystem.read(ino, position, length, bytes, 0));
      },
    });
  }
  return undefined;
}

class GuestVolumeNames {
  readonly #guest: Guest;
  readonly #shown: ReadonlyMap<string, readonly Place[]>;
  readonly #root: Place;
  readonly #devices: ReadonlyMap<string, Device>;

  constructor(
    guest: Guest,
    shown: ReadonlyMap<string, readonly Place[]>,
    root: Place,
    devices: ReturnType<typeof mountedDevices>,
  ) {
    this.#guest = guest;
    this.#shown = shown;
    this.#root = root;
    this.#devices = new Map(devices.map(({ name, ...device }) => [name, device]));
  }

  /** The names as links on one of the volumes mean them. */
  asOf(own: string): VolumeNames {
    return {
      find: (name) => {
        const volume = this.#volumeOf(name);
        if (volume === undefined) return this.#devices.has(name) ? "elsewhere" : undefined;
        return this.#named(volume, own) ?? "elsewhere";
      },
    };
  }

  /** The volume with a name; undefined: it is none of the guest's, or cannot be told from another. */
  #volumeOf(name: string): string | undefined {
    // A volume in a GPT mostly has its partition's GUID for its own, and then needs no entry.
    const device = this.#devices.get(name) ?? gptPartition(name);
    if (device === undefined || "device" in device) return undefined;
    const found = this.#guest.disks.flatMap(({ table, volumes }) =>
      volumes
        .filter(({ volume }) =>
          "partition" in device
            ? volume.partitionUuid === device.partition
            : table.kind === "mbr" && table.id === device.diskSignature && volume.offset === device.offset,
        )
        .map(({ volume }) => volume.name),
    );
    return found.length === 1 ? found[0] : undefined;
  }

  #named(volume: string, own: string): NamedVolume | undefined {
    const place = this.#shown.get(volume)?.[0];
    if (place === undefined) return undefined;
    return {
      isOwn: volume === own,
      path: volume === this.#root.volume ? [] : [VOLUMES, volume],
      listed: (names) => {
        const { fileSystem } = place;
        if (fileSystem.listedNames === undefined) return names;
        try {
          return fileSystem.listedNames(names);
        } catch (error) {
          // What is bad on the other volume, whoever follows the link comes upon.
          if (!(error instanceof IoError)) throw error;
          return undefined;
        }
      },
    };
  }
}

function gptPartition(name: string): Device | undefined {
  const guid = GPT_VOLUME.exec(name)?.[1]?.toLowerCase();
  return guid === undefined ? undefined : { partition: guid };
}
