/** exFAT's boot region (Microsoft's exFAT specification, sections 3.1 and 3.4). */
import type { Source } from "../../images/image.js";
import { EIO, IoError } from "../../images/io-error.js";
import { type Of, structure, text, u8, u16, u32, u64 } from "../../layout/struct.js";
import { readFully } from "../../versions/block-cache.js";

export const BootSector = structure("exFAT boot sector", 512, {
  FileSystemName: text(3, 8),
  PartitionOffset: u64(64),
  VolumeLength: u64(72),
  FatOffset: u32(80),
  FatLength: u32(84),
  ClusterHeapOffset: u32(88),
  ClusterCount: u32(92),
  FirstClusterOfRootDirectory: u32(96),
  VolumeSerialNumber: u32(100),
  FileSystemRevision: u16(104),
  VolumeFlags: u16(106),
  BytesPerSectorShift: u8(108),
  SectorsPerClusterShift: u8(109),
  NumberOfFats: u8(110),
  BootSignature: u16(510),
});

const NAME = "EXFAT   ";
const SIGNATURE = 0xaa55;
/** Bytes that must be zeros: where FAT has its parameters. */
const ZEROS_FROM = 11;
const ZEROS_TO = 64;
/** VolumeFlags: the second table counts. */
const SECOND_FAT = 0x1;
const SMALLEST_SECTOR = 9;
const LARGEST_SECTOR = 12;
/** Shift of the largest cluster, 32 MiB. */
const LARGEST_CLUSTER = 25;
const MOST_CLUSTERS = 0xfffffff5;
/** Sectors over which the checksum goes, which the next one is full of. */
const CHECKED_SECTORS = 11;
/** Bytes of the boot sector that change all the time: VolumeFlags and PercentInUse. */
const UNCHECKED = new Set([106, 107, 112]);

/** What follows from a boot sector. Sectors are numbered within the volume. */
export class Geometry {
  /** Bytes. */
  readonly sectorSize: number;
  readonly clusterSize: number;
  readonly clusters: number;
  readonly tableStart: number;
  readonly tableSectors: number;
  readonly rootCluster: number;
  /** The first sector of cluster 2. */
  readonly dataSector: number;
  readonly serial: number;

  /** Throws IoError if there can be no such file system. */
  constructor(boot: Of<typeof BootSector>) {
    const { BytesPerSectorShift, SectorsPerClusterShift, NumberOfFats } = boot;
    if (BytesPerSectorShift < SMALLEST_SECTOR || BytesPerSectorShift > LARGEST_SECTOR)
      throw bad(`has sectors of 2^${BytesPerSectorShift} bytes`);
    if (BytesPerSectorShift + SectorsPerClusterShift > LARGEST_CLUSTER)
      throw bad(`has clusters of 2^${BytesPerSectorShift + SectorsPerClusterShift} bytes`);
    if (NumberOfFats !== 1 && NumberOfFats !== 2) throw bad(`has ${NumberOfFats} tables`);
    this.sectorSize = 2 ** BytesPerSectorShift;
    this.clusterSize = 2 ** (BytesPerSectorShift + SectorsPerClusterShift);
    this.clusters = boot.ClusterCount;
    if (this.clusters < 1 || this.clusters > MOST_CLUSTERS) throw bad(`has ${this.clusters} clusters`);
    this.tableSectors = boot.FatLength;
    if ((this.clusters + 2) * 4 > this.tableSectors * this.sectorSize)
      throw bad(`has a table of ${this.tableSectors} sectors for ${this.clusters} clusters`);
    const isSecond = NumberOfFats === 2 && (boot.VolumeFlags & SECOND_FAT) !== 0;
    this.tableStart = boot.FatOffset + (isSecond ? this.tableSectors : 0);
    this.dataSector = boot.ClusterHeapOffset;
    if (this.dataSector < boot.FatOffset + this.tableSectors * NumberOfFats)
      throw bad("has clusters where its table is");
    this.rootCluster = boot.FirstClusterOfRootDirectory;
    if (this.rootCluster < 2 || this.rootCluster >= this.clusters + 2)
      throw bad(`has its root directory in cluster ${this.rootCluster}`);
    this.serial = boot.VolumeSerialNumber;
  }
}

/** Whether a first sector is that of an exFAT file system. */
export function isBootSector(sector: Buffer): boolean {
  if (sector.length < BootSector.size) return false;
  const boot = BootSector.at(sector);
  return boot.FileSystemName === NAME && boot.BootSignature === SIGNATURE;
}

/** Reads the shape of a file system whose boot region is sound. Throws IoError. */
export function readGeometry(source: Source): Geometry {
  const sector = Buffer.alloc(BootSector.size);
  readFully(source, sector, sector.length, 0);
  if (!isBootSector(sector)) throw new IoError(EIO, "there is no boot sector of exFAT's");
  if (sector.subarray(ZEROS_FROM, ZEROS_TO).some((byte) => byte !== 0)) throw bad("has parameters of FAT's");
  const geometry = new Geometry(BootSector.at(sector));
  requireChecksum(source, geometry.sectorSize);
  return geometry;
}

/** As the kernel does (exfat_verify_boot_region). */
function requireChecksum(source: Source, sectorSize: number): void {
  const length = (CHECKED_SECTORS + 1) * sectorSize;
  const region = Buffer.alloc(length);
  if (readFully(source, region, length, 0) < length) throw bad("is not there as a whole");
  const end = CHECKED_SECTORS * sectorSize;
  let sum = 0;
  for (let at = 0; at < end; at++)
    if (!UNCHECKED.has(at)) sum = (((sum << 31) | (sum >>> 1)) + (region[at] as number)) >>> 0;
  for (let at = end; at < length; at += 4)
    if (region.readUInt32LE(at) !== sum) throw bad("has a wrong checksum");
}

function bad(what: string): IoError {
  return new IoError(EIO, `its boot region ${what}`);
}
