/** Marks by which a place on a disk shows that it holds a file system (or other contents) and no partition table. */
import type { Disk } from "./disk.js";

/** Byte 510 of a boot sector, be it a partition table's or a file system's. */
export function hasBootSignature(sector: Buffer): boolean {
  return sector.length >= 512 && sector[510] === 0x55 && sector[511] === 0xaa;
}

/** Whether a first sector is that of a FAT, NTFS or exFAT file system, by its BIOS parameter block. */
export function isFileSystemBootSector(sector: Buffer): boolean {
  if (!hasBootSignature(sector)) return false;
  const oem = sector.toString("latin1", 3, 11);
  if (oem === "NTFS    " || oem === "EXFAT   ") return true;
  const jump = sector[0];
  const bytesPerSector = sector.readUInt16LE(11);
  const sectorsPerCluster = sector[13]!;
  const reservedSectors = sector.readUInt16LE(14);
  const fats = sector[16]!;
  const media = sector[21]!;
  return (
    (jump === 0xeb || jump === 0xe9) &&
    [512, 1024, 2048, 4096].includes(bytesPerSector) &&
    sectorsPerCluster > 0 &&
    (sectorsPerCluster & (sectorsPerCluster - 1)) === 0 &&
    reservedSectors > 0 &&
    fats > 0 &&
    (media === 0xf0 || media >= 0xf8)
  );
}

/** Whether an ext2/3/4 superblock (s_magic 0xef53) lies at byte 1024 after `offset`. */
export function hasExtSuperblock(disk: Disk, offset: number): boolean {
  const magic = disk.read(offset + 1024 + 0x38, 2);
  return magic[0] === 0x53 && magic[1] === 0xef;
}

const MARKS: readonly (readonly [offset: number, mark: string])[] = [
  [0, "XFSB"],
  [0, "LUKS\xba\xbe"],
  [512, "LABELONE"],
  [4096 - 10, "SWAPSPACE2"],
  [0x1_0040, "_BHRfS_M"],
];

/** Whether byte `offset` of the disk is the start of something that is usually found at the start of a partition. */
export function startsContents(disk: Disk, offset: number): boolean {
  if (isFileSystemBootSector(disk.read(offset, 512)) || hasExtSuperblock(disk, offset)) return true;
  return MARKS.some(([at, mark]) => disk.read(offset + at, mark.length).toString("latin1") === mark);
}
