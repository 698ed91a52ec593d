/** The boot sector (NTFS documentation, "$Boot": BIOS parameter block and its extension), and what follows from it. */
import type { Source } from "../../images/image.js";
import { EIO, IoError } from "../../images/io-error.js";
import { bytes, structure, u8, u16, u32, u64 } from "../../layout/struct.js";
import { readFully } from "../../versions/block-cache.js";

/** Bytes of a boot sector that mean something, whatever the size of a sector. */
export const BOOT_SECTOR_SIZE = 512;
const OEM = Buffer.from("NTFS    ");

const BootSector = structure("NTFS boot sector", BOOT_SECTOR_SIZE, {
  oem: bytes(0x3, 8),
  bytesPerSector: u16(0xb),
  sectorsPerCluster: u8(0xd),
  sectors: u64(0x28),
  mftCluster: u64(0x30),
  mirrorCluster: u64(0x38),
  clustersPerRecord: u8(0x40),
  clustersPerIndexBlock: u8(0x44),
  serialLow: u32(0x48),
  serialHigh: u32(0x4c),
});

const SMALLEST_CLUSTER = 512;
const LARGEST_CLUSTER = 2 << 20;
const SMALLEST_RECORD = 512;
const LARGEST_RECORD = 16384;

/** The sizes and places that everything else is reckoned by. */
export interface Geometry {
  /** Bytes of a sector, cluster, record of the MFT. */
  readonly sectorSize: number;
  readonly clusterSize: number;
  readonly recordSize: number;
  /** How many clusters the volume has. */
  readonly clusters: number;
  /** First clusters of $MFT and $MFTMirr. */
  readonly mftCluster: number;
  readonly mirrorCluster: number;
  /** The volume's serial number as it is printed: sixteen hexadecimal digits. */
  readonly serial: string;
  /** Bytes of a block of the view: as large as may be with no record and no cluster beginning within one. */
  readonly blockSize: number;
  readonly blocksPerCluster: number;
}

/** Whether the first sector says that it is NTFS's. Throws IoError. */
export function hasBootSector(source: Source): boolean {
  const sector = readSector(source, 0);
  return sector !== undefined && OEM.equals(BootSector.at(sector).oem);
}

/**
 * The geometry by the boot sector, or by its copy in the last sector where that is bad; undefined if neither makes
 * sense. Throws IoError when they cannot be read.
 */
export function readGeometry(source: Source): Geometry | undefined {
  const first = readSector(source, 0);
  return (first && geometryOf(first)) ?? backupGeometry(source);
}

/** The geometry by the copy of the boot sector; undefined if there is none that makes sense. Throws IoError. */
export function backupGeometry(source: Source): Geometry | undefined {
  for (const size of [512, 4096]) {
    const end = Math.floor(source.size / size) * size;
    const last = end < size ? undefined : readSector(source, end - size);
    const geometry = last && geometryOf(last);
    if (geometry !== undefined) return geometry;
  }
  return undefined;
}

/** Throws IoError (EIO): for a volume that says it is NTFS, and whose boot sectors are both bad. */
export function requireGeometry(source: Source): Geometry {
  const geometry = readGeometry(source);
  if (geometry === undefined) throw new IoError(EIO, "NTFS: the boot sector and its copy make no sense");
  return geometry;
}

function readSector(source: Source, position: number): Buffer | undefined {
  const sector = Buffer.alloc(BOOT_SECTOR_SIZE);
  return readFully(source, sector, sector.length, position) < sector.length ? undefined : sector;
}

function geometryOf(sector: Buffer): Geometry | undefined {
  const boot = BootSector.at(sector);
  if (!OEM.equals(boot.oem)) return undefined;
  const sectorSize = boot.bytesPerSector;
  const clusterSize = sectorSize * countOf(boot.sectorsPerCluster, 0x80);
  const recordSize = sizeOf(boot.clustersPerRecord, clusterSize);
  const isSane =
    isPowerOfTwo(sectorSize) &&
    sectorSize >= 256 &&
    sectorSize <= 4096 &&
    isPowerOfTwo(clusterSize) &&
    clusterSize >= SMALLEST_CLUSTER &&
    clusterSize <= LARGEST_CLUSTER &&
    isPowerOfTwo(recordSize) &&
    recordSize >= SMALLEST_RECORD &&
    recordSize <= LARGEST_RECORD;
  if (!isSane) return undefined;
  const clusters = Math.floor(boot.sectors / (clusterSize / sectorSize));
  const { mftCluster, mirrorCluster } = boot;
  if (clusters < 1 || clusters > 2 ** 44 || mftCluster >= clusters) return undefined;
  const blockSize = Math.min(clusterSize, recordSize);
  return {
    sectorSize,
    clusterSize,
    recordSize,
    clusters,
    mftCluster,
    mirrorCluster,
    serial: (hex(boot.serialHigh) + hex(boot.serialLow)).toUpperCase(),
    blockSize,
    blocksPerCluster: clusterSize / blockSize,
  };
}

/** A count in a byte; above `most`, the power of two of which it is the negative logarithm (clusters above 64 KiB). */
function countOf(byte: number, most: number): number {
  return byte > most ? 2 ** (256 - byte) : byte;
}

/** Bytes of a record by a signed byte: that many clusters, or, negative, the logarithm of the bytes. */
function sizeOf(byte: number, clusterSize: number): number {
  return byte >= 0x80 ? 2 ** (256 - byte) : byte * clusterSize;
}

function isPowerOfTwo(number: number): boolean {
  return number > 0 && Number.isInteger(Math.log2(number));
}

function hex(number: number): string {
  return number.toString(16).padStart(8, "0");
}
