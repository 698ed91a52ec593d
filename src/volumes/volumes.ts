/** From a disk's image to its volumes. */
import type { Log, Source } from "../images/image.js";
import { Range } from "../images/range.js";
import { Disk } from "./disk.js";
import { readGpt } from "./gpt.js";
import { readMbr } from "./mbr.js";
import type { Partition, Volume, VolumeTable } from "./volume.js";

export { findLogicalVolumes } from "./lvm/find.js";
export type { Volume, VolumeTable } from "./volume.js";

/**
 * The volumes of a disk that is to be called `diskName` (`sda`). A disk without a partition table, or with one that
 * makes no sense, is one volume; whether that holds a file system is for others to find out. Throws nothing for bad
 * contents; a place that cannot be read is logged and taken for empty.
 */
export function findVolumes(image: Source, diskName: string, log: Log): VolumeTable {
  const disk = new Disk(image, diskName, log);
  const bootSector = disk.read(0, 512);
  const table = readGpt(disk, bootSector) ?? readMbr(disk, bootSector);
  if (table === undefined) {
    const volumes = [wholeDisk(image, diskName, disk.size)];
    return { kind: "none", id: "", sectorSize: 512, volumes, ranges: [] };
  }
  const { kind, id, sectorSize, partitions, ranges } = table;
  const volumes = partitions.map((partition) => toVolume(image, diskName, partition));
  for (const { name, offset, length } of volumes) {
    const missing = offset + length - disk.size;
    if (missing > 0) {
      log(`${name}: reaches ${missing} bytes past the end of the image; served as far as it goes`, {
        volume: name,
      });
    }
  }
  return { kind, id, sectorSize, volumes, ranges };
}

function wholeDisk(image: Source, diskName: string, size: number): Volume {
  return {
    name: diskName,
    number: 0,
    offset: 0,
    length: size,
    // Not bound to the size of today: the disk may grow.
    source: new Range(image, 0, Number.POSITIVE_INFINITY),
    partitionType: "",
    partitionUuid: "",
    partitionLabel: "",
    parent: "",
  };
}

function toVolume(image: Source, diskName: string, partition: Partition): Volume {
  const { number, offset, length, type, uuid, label } = partition;
  return {
    // As the kernel does: a disk name that ends in a digit needs a letter before the number.
    name: `${diskName}${/\d$/.test(diskName) ? "p" : ""}${number}`,
    number,
    offset,
    length,
    source: new Range(image, offset, length),
    partitionType: type,
    partitionUuid: uuid,
    partitionLabel: label,
    parent: diskName,
  };
}
