/**
 * The MBR partition table with its extended and logical partitions. What counts as a table, and how logical
 * partitions are numbered, is as in the Linux kernel (block/partitions/msdos.c), since guests name them so.
 */
import { type Of, structure, u8, u32 } from "../layout/struct.js";
import type { Disk } from "./disk.js";
import { hasBootSignature, hasExtSuperblock, isFileSystemBootSector, startsContents } from "./signatures.js";
import { MAX_PARTITION_NUMBER, type Partition, type PartitionTable, type TableRange } from "./volume.js";

/** struct msdos_partition. Sectors are logical sectors, 512 or 4096 bytes. */
const MsdosPartition = structure("msdos_partition", 16, {
  bootIndicator: u8(0),
  type: u8(4),
  startSector: u32(8),
  sectorCount: u32(12),
});
type Entry = Of<typeof MsdosPartition>;

const DISK_SIGNATURE = 0x1b8;
const FIRST_ENTRY = 0x1be;
const EXTENDED_TYPES = [0x05, 0x0f, 0x85];
/** Bytes of a boot record. */
const RECORD = 512;
const FIRST_LOGICAL = 5;
/** Records without a partition in a row after which the kernel gives up. */
const MAX_EMPTY_RECORDS = 100;

/** The type of the entry that tells programs without knowledge of GPT that the disk is in use. */
export const PROTECTIVE_TYPE = 0xee;

/** The four entries of a table in a boot sector or an extended boot record (at least 512 bytes). */
export function entriesOf(sector: Buffer): Entry[] {
  return [0, 1, 2, 3].map((index) => MsdosPartition.at(sector, FIRST_ENTRY + index * MsdosPartition.size));
}

/** The disk's MBR table, undefined if its first sector holds none or one without partitions. */
export function readMbr(disk: Disk, bootSector: Buffer): PartitionTable | undefined {
  if (!hasBootSignature(bootSector)) return undefined;
  const entries = entriesOf(bootSector);
  // A file system's boot code mostly fails this, by the kernel's rule.
  if (entries.some((entry) => entry.bootIndicator !== 0 && entry.bootIndicator !== 0x80)) return undefined;
  const used = entries.filter((entry) => entry.sectorCount > 0);
  if (used.length === 0 || used.some((entry) => entry.type === PROTECTIVE_TYPE)) return undefined;
  const mayBeFileSystem = isFileSystemBootSector(bootSector) || hasExtSuperblock(disk, 0);
  if (mayBeFileSystem && !arePlausible(used, disk.size)) return undefined;

  const sectorSize = sectorSizeOf(disk, used);
  const id = bootSector.readUInt32LE(DISK_SIGNATURE).toString(16).padStart(8, "0");
  const table = new MbrTable(disk, id, sectorSize);
  for (const [index, entry] of entries.entries()) {
    if (entry.sectorCount > 0 && !isExtended(entry)) table.add(index + 1, entry, 0);
  }
  for (const entry of entries) {
    if (entry.sectorCount === 0 || !isExtended(entry)) continue;
    const problem = table.addLogical(entry.startSector, entry.sectorCount);
    if (problem !== undefined) disk.log(`${problem}; no logical partition is shown from there on`);
  }
  return { kind: "mbr", id, sectorSize, partitions: table.partitions, ranges: table.ranges };
}

class MbrTable {
  readonly partitions: Partition[] = [];
  readonly ranges: TableRange[] = [{ offset: 0, length: RECORD }];
  private readonly disk: Disk;
  private readonly id: string;
  private readonly sectorSize: number;
  private nextLogical = FIRST_LOGICAL;

  constructor(disk: Disk, id: string, sectorSize: number) {
    this.disk = disk;
    this.id = id;
    this.sectorSize = sectorSize;
  }

  /** Takes in an entry whose start counts from sector `base`. */
  add(number: number, entry: Entry, base: number): void {
    this.partitions.push({
      number,
      offset: (base + entry.startSector) * this.sectorSize,
      length: entry.sectorCount * this.sectorSize,
      type: entry.type.toString(16).padStart(2, "0"),
      uuid: `${this.id}-${number.toString(16).padStart(2, "0")}`,
      label: "",
    });
  }

  /**
   * Follows the chain of extended boot records of the extended partition at sector `first`. Returns what ended it
   * early, undefined if it came to its end.
   */
  addLogical(first: number, size: number): string | undefined {
    const seen = new Set<number>();
    let emptyRecords = 0;
    let sector = first;
    let sectors = size;
    while (!seen.has(sector)) {
      seen.add(sector);
      const record = this.disk.read(sector * this.sectorSize, RECORD);
      if (!hasBootSignature(record)) return `the extended boot record at sector ${sector} has no signature`;
      const entries = entriesOf(record);
      this.ranges.push({ offset: sector * this.sectorSize, length: RECORD });
      emptyRecords++;
      for (const [index, entry] of entries.entries()) {
        if (entry.sectorCount === 0 || isExtended(entry)) continue;
        // The first two entries are the format's; only OS/2 used the others, which else may hold anything.
        if (index >= 2 && !liesWithin(entry, sector, sectors, first, size)) continue;
        if (this.nextLogical > MAX_PARTITION_NUMBER)
          return `there are more than ${MAX_PARTITION_NUMBER} partitions`;
        this.add(this.nextLogical++, entry, sector);
        emptyRecords = 0;
      }
      const link = entries.find((entry) => entry.sectorCount > 0 && isExtended(entry));
      if (link === undefined) return undefined;
      if (emptyRecords >= MAX_EMPTY_RECORDS)
        return `${emptyRecords} extended boot records in a row are empty`;
      sector = first + link.startSector;
      sectors = link.sectorCount;
    }
    return `the chain of extended boot records leads back to sector ${sector}`;
  }
}

function isExtended(entry: Entry): boolean {
  return EXTENDED_TYPES.includes(entry.type);
}

/** Whether an entry of the record at `sector` lies within what the link to it announced and in the extended partition. */
function liesWithin(entry: Entry, sector: number, sectors: number, first: number, size: number): boolean {
  const end = entry.startSector + entry.sectorCount;
  return end <= sectors && sector + end <= first + size;
}

/** Whether the entries can be a table at all: of a known type, on the disk, and apart from each other. */
function arePlausible(used: Entry[], diskSize: number): boolean {
  return used.every(
    (entry, index) =>
      entry.type !== 0 &&
      entry.startSector > 0 &&
      entry.startSector * 512 < diskSize &&
      used.every(
        (other, otherIndex) =>
          index === otherIndex ||
          entry.startSector >= other.startSector + other.sectorCount ||
          other.startSector >= entry.startSector + entry.sectorCount,
      ),
  );
}

/**
 * Bytes of a sector. The table does not tell, so what the partitions hold must: 4096 only if something is recognised
 * where they then begin, and nothing where they would begin with 512.
 */
function sectorSizeOf(disk: Disk, used: Entry[]): number {
  const isFound = (sectorSize: number) =>
    used.some((entry) => {
      const offset = entry.startSector * sectorSize;
      if (offset === 0) return false;
      return isExtended(entry) ? hasBootSignature(disk.read(offset, 512)) : startsContents(disk, offset);
    });
  const fits = used.every((entry) => entry.startSector * 4096 < disk.size);
  return fits && !isFound(512) && isFound(4096) ? 4096 : 512;
}
