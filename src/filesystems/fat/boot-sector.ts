/** FAT's boot sector: the BIOS parameter block (Microsoft's FAT specification, "Boot Sector and BPB"). */
import { EIO, IoError } from "../../images/io-error.js";
import { bytes, type Of, structure, u8, u16, u32 } from "../../layout/struct.js";
import type { TableWidth } from "../clusters/cluster-table.js";

export const BootSector = structure("FAT boot sector", 512, {
  BytsPerSec: u16(11),
  SecPerClus: u8(13),
  RsvdSecCnt: u16(14),
  NumFATs: u8(16),
  RootEntCnt: u16(17),
  TotSec16: u16(19),
  Media: u8(21),
  FATSz16: u16(22),
  TotSec32: u32(32),
  /** FAT12, FAT16 */
  BS_BootSig: u8(38),
  BS_VolID: u32(39),
  BS_VolLab: bytes(43, 11),
  BS_FilSysType: bytes(54, 8),
  /** FAT32 */
  FATSz32: u32(36),
  ExtFlags: u16(40),
  FSVer: u16(42),
  RootClus: u32(44),
  FSInfo: u16(48),
  BS32_BootSig: u8(66),
  BS32_VolID: u32(67),
  BS32_VolLab: bytes(71, 11),
});

/** The most clusters that FAT12, FAT16 and FAT32 can have, as the kernel has it (MAX_FAT12, MAX_FAT16, MAX_FAT32). */
const MOST_CLUSTERS_12 = 0xff4;
const MOST_CLUSTERS_16 = 0xfff4;
const MOST_CLUSTERS_32 = 0x0ffffff6;
/** ExtFlags: only one of the tables is kept, and which. */
const IS_NOT_MIRRORED = 0x80;
const ACTIVE = 0x0f;
const SLOT = 32;

/** What follows from a boot sector. Sectors are numbered within the volume. */
export class Geometry {
  /** Bytes. */
  readonly sectorSize: number;
  readonly clusterSize: number;
  readonly width: TableWidth;
  /** How many there are; the first is number 2. */
  readonly clusters: number;
  /** The table that counts: its first sector, and how many sectors it has. */
  readonly tableStart: number;
  readonly tableSectors: number;
  /** FAT12, FAT16: the first sector of the root directory, and how many slots it has. */
  readonly rootSector: number;
  readonly rootSlots: number;
  /** FAT32: the first cluster of the root directory; else 0. */
  readonly rootCluster: number;
  /** The first sector of cluster 2. */
  readonly dataSector: number;
  readonly sectors: number;
  readonly serial: number;
  /** The label's bytes in the code page. */
  readonly label: Buffer;

  /** Throws IoError if there can be no such file system. */
  constructor(boot: Of<typeof BootSector>) {
    const { BytsPerSec, SecPerClus, RsvdSecCnt, NumFATs, RootEntCnt, TotSec16, TotSec32 } = boot;
    this.sectorSize = BytsPerSec;
    if (!isPowerOfTwo(BytsPerSec) || BytsPerSec < 512 || BytsPerSec > 4096)
      throw bad(`has sectors of ${BytsPerSec} bytes`);
    if (!isPowerOfTwo(SecPerClus)) throw bad(`has clusters of ${SecPerClus} sectors`);
    if (RsvdSecCnt === 0 || NumFATs === 0) throw bad("has no reserved sectors, or no table");
    this.clusterSize = BytsPerSec * SecPerClus;
    // As the kernel tells FAT32 from the others: it has no 16-bit size of a table.
    const isFat32 = boot.FATSz16 === 0 && boot.FATSz32 !== 0;
    this.tableSectors = isFat32 ? boot.FATSz32 : boot.FATSz16;
    if (this.tableSectors === 0) throw bad("has no table");
    if ((RootEntCnt * SLOT) % BytsPerSec !== 0) throw bad(`has ${RootEntCnt} entries in its root directory`);
    this.rootSector = isFat32 ? 0 : RsvdSecCnt + NumFATs * this.tableSectors;
    this.rootSlots = isFat32 ? 0 : RootEntCnt;
    this.rootCluster = isFat32 ? boot.RootClus : 0;
    this.dataSector = RsvdSecCnt + NumFATs * this.tableSectors + (RootEntCnt * SLOT) / BytsPerSec;
    this.sectors = TotSec16 === 0 ? TotSec32 : TotSec16;
    const there = Math.floor((this.sectors - this.dataSector) / SecPerClus);
    if (there < 1) throw bad(`has ${this.sectors} sectors, and no room for data`);
    this.width = isFat32 ? 28 : there > MOST_CLUSTERS_12 ? 16 : 12;
    const entries = Math.floor((this.tableSectors * BytsPerSec * 8) / (isFat32 ? 32 : this.width));
    this.clusters = Math.min(there, entries - 2);
    const most =
      this.width === 12 ? MOST_CLUSTERS_12 : this.width === 16 ? MOST_CLUSTERS_16 : MOST_CLUSTERS_32;
    if (this.clusters < 1 || this.clusters > most) throw bad(`has ${this.clusters} clusters`);
    if (isFat32 && (this.rootCluster < 2 || this.rootCluster > this.clusters + 1))
      throw bad(`has its root directory in cluster ${this.rootCluster}`);
    const active = isFat32 && (boot.ExtFlags & IS_NOT_MIRRORED) !== 0 ? boot.ExtFlags & ACTIVE : 0;
    this.tableStart = RsvdSecCnt + (active < NumFATs ? active : 0) * this.tableSectors;
    this.serial = isFat32 ? boot.BS32_VolID : boot.BS_VolID;
    this.label = Buffer.from(isFat32 ? boot.BS32_VolLab : boot.BS_VolLab);
  }
}

/** Whether a first sector is that of a FAT file system, as far as the kernel would mount it. */
export function isBootSector(sector: Buffer): boolean {
  if (sector.length < BootSector.size) return false;
  const boot = BootSector.at(sector);
  const name = sector.toString("latin1", 3, 11);
  if (name === "NTFS    " || name === "EXFAT   ") return false;
  // (A partition table has none of these.)
  const isJump = sector[0] === 0xeb || sector[0] === 0xe9;
  const hasSignature = sector[510] === 0x55 && sector[511] === 0xaa;
  return (
    isJump &&
    hasSignature &&
    isPowerOfTwo(boot.BytsPerSec) &&
    boot.BytsPerSec >= 512 &&
    boot.BytsPerSec <= 4096 &&
    isPowerOfTwo(boot.SecPerClus) &&
    boot.RsvdSecCnt > 0 &&
    boot.NumFATs > 0 &&
    (boot.Media === 0xf0 || boot.Media >= 0xf8) &&
    (boot.FATSz16 !== 0 || boot.FATSz32 !== 0)
  );
}

function isPowerOfTwo(number: number): boolean {
  return number > 0 && (number & (number - 1)) === 0;
}

function bad(what: string): IoError {
  return new IoError(EIO, `its boot sector ${what}`);
}
