/** The GUID partition table (UEFI specification, "GUID Partition Table (GPT) Disk Layout"). */
import { bytes, type Field, type Of, structure, u32, u64 } from "../layout/struct.js";
import { crc32 } from "./crc32.js";
import type { Disk } from "./disk.js";
import { entriesOf, PROTECTIVE_TYPE } from "./mbr.js";
import { hasBootSignature } from "./signatures.js";
import { MAX_PARTITION_NUMBER, type Partition, type PartitionTable, type TableRange } from "./volume.js";

/** A GUID as it is written: the first three groups are little-endian on disk. In lower case. */
const guid = (offset: number): Field<string> => ({
  offset,
  size: 16,
  getter: () =>
    function () {
      const at = this.base + offset;
      const number = (start: number, size: number) =>
        this.buffer
          .readUIntLE(at + start, size)
          .toString(16)
          .padStart(2 * size, "0");
      const rest = this.buffer.toString("hex", at + 8, at + 16);
      return `${number(0, 4)}-${number(4, 2)}-${number(6, 2)}-${rest.slice(0, 4)}-${rest.slice(4)}`;
    },
});

/** Text of at most `size` bytes in UTF-16LE, ended by a NUL if it is shorter. */
const utf16 = (offset: number, size: number): Field<string> => ({
  offset,
  size,
  getter: () =>
    function () {
      const at = this.base + offset;
      const whole = this.buffer.toString("utf16le", at, at + size);
      const end = whole.indexOf("\0");
      return end < 0 ? whole : whole.slice(0, end);
    },
});

const Header = structure("EFI_PARTITION_TABLE_HEADER", 92, {
  signature: bytes(0, 8),
  headerSize: u32(12),
  headerCrc32: u32(16),
  myLba: u64(24),
  alternateLba: u64(32),
  diskGuid: guid(56),
  partitionEntryLba: u64(72),
  numberOfPartitionEntries: u32(80),
  sizeOfPartitionEntry: u32(84),
  partitionEntryArrayCrc32: u32(88),
});

const Entry = structure("EFI_PARTITION_ENTRY", 128, {
  partitionTypeGuid: guid(0),
  uniquePartitionGuid: guid(16),
  startingLba: u64(32),
  endingLba: u64(40),
  partitionName: utf16(56, 72),
});

const SIGNATURE = Buffer.from("EFI PART", "latin1");
const UNUSED = "00000000-0000-0000-0000-000000000000";
const SECTOR_SIZES = [512, 4096];
/** Bytes of an entry array beyond which it is not believed: 256 times what it usually has, as in the kernel. */
const MAX_ARRAY = 4 * 1024 * 1024;

/** A place where a header may lie. */
interface HeaderPlace {
  readonly sectorSize: number;
  /** Sector number. */
  readonly lba: number;
}

/**
 * The disk's GPT, undefined if it has none. One counts only where the first sector says that there is one, so that an
 * old table on a disk that was put to another use is not taken for a new one; or where that sector was wiped, and the
 * primary header stands.
 */
export function readGpt(disk: Disk, bootSector: Buffer): PartitionTable | undefined {
  const protective = protectiveEntry(bootSector);
  if (protective === undefined && bootSector.some((byte) => byte !== 0)) return undefined;

  let problem: string | undefined;
  const backups: HeaderPlace[] = [];
  for (const sectorSize of SECTOR_SIZES) {
    const primary = readHeader(disk, { sectorSize, lba: 1 });
    if (typeof primary.content !== "string") {
      if (protective === undefined) disk.log("the first sector is wiped; the GPT after it is used");
      return toTable(disk, primary.content);
    }
    if (primary.alternateLba !== undefined) {
      problem = primary.content;
      backups.push({ sectorSize, lba: primary.alternateLba });
    }
  }
  if (protective === undefined) return undefined;

  problem ??= "has no signature";
  for (const sectorSize of SECTOR_SIZES) {
    backups.push({ sectorSize, lba: Math.floor(disk.size / sectorSize) - 1 });
    // The protective partition ends at what was the last sector when the table was made, if 32 bits could tell.
    backups.push({ sectorSize, lba: protective.startSector + protective.sectorCount - 1 });
  }
  for (const place of backups) {
    const backup = readHeader(disk, place);
    if (typeof backup.content === "string") continue;
    disk.log(`the primary GPT header ${problem}; the backup at sector ${place.lba} is used`);
    return toTable(disk, backup.content);
  }
  disk.log(`the primary GPT header ${problem}, and there is no good backup; no partition is shown`);
  return undefined;
}

/** The entry of an MBR, protective or hybrid, that announces a GPT. */
function protectiveEntry(bootSector: Buffer) {
  if (!hasBootSignature(bootSector)) return undefined;
  return entriesOf(bootSector).find((entry) => entry.type === PROTECTIVE_TYPE);
}

interface Content {
  readonly sectorSize: number;
  readonly header: Of<typeof Header>;
  readonly entries: Buffer;
}

interface HeaderReading {
  /** The header and its entries, or what is wrong with them. */
  readonly content: Content | string;
  /** Where the header says that the other one is; undefined if there is no header at all. */
  readonly alternateLba?: number;
}

function readHeader(disk: Disk, { sectorSize, lba }: HeaderPlace): HeaderReading {
  const sector = lba > 0 ? disk.read(lba * sectorSize, sectorSize) : Buffer.alloc(0);
  if (sector.length < sectorSize) return { content: "lies past the end of the image" };
  const header = Header.at(sector);
  if (!header.signature.equals(SIGNATURE)) return { content: "has no signature" };
  return { content: readContent(disk, sectorSize, lba, header), alternateLba: header.alternateLba };
}

function readContent(
  disk: Disk,
  sectorSize: number,
  lba: number,
  header: Of<typeof Header>,
): Content | string {
  const { headerSize, numberOfPartitionEntries: count, sizeOfPartitionEntry: entrySize } = header;
  if (headerSize < Header.size || headerSize > sectorSize) return `has an impossible size (${headerSize})`;
  const checked = Buffer.from(header.buffer.subarray(0, headerSize));
  checked.fill(0, Header.fields.headerCrc32.offset, Header.fields.headerCrc32.offset + 4);
  if (crc32(checked) !== header.headerCrc32) return "has a wrong checksum";
  if (header.myLba !== lba) return "belongs to another sector";
  if (entrySize < Entry.size || count * entrySize > MAX_ARRAY) {
    return `has impossible entries (${count} of ${entrySize} bytes)`;
  }
  const entries = disk.read(header.partitionEntryLba * sectorSize, count * entrySize);
  if (entries.length < count * entrySize) return "has entries past the end of the image";
  if (crc32(entries) !== header.partitionEntryArrayCrc32) return "has entries with a wrong checksum";
  return { sectorSize, header, entries };
}

function toTable(disk: Disk, { sectorSize, header, entries }: Content): PartitionTable {
  const partitions: Partition[] = [];
  const entry = Entry.at(Buffer.alloc(Entry.size));
  for (let index = 0; index < header.numberOfPartitionEntries; index++) {
    entry.move(entries, index * header.sizeOfPartitionEntry);
    if (entry.partitionTypeGuid === UNUSED) continue;
    const number = index + 1;
    if (number > MAX_PARTITION_NUMBER) {
      disk.log(`partitions from number ${number} on are not shown`);
      break;
    }
    if (entry.endingLba < entry.startingLba) {
      disk.log(`partition ${number} ends before it begins; it is not shown`);
      continue;
    }
    partitions.push({
      number,
      offset: entry.startingLba * sectorSize,
      length: (entry.endingLba - entry.startingLba + 1) * sectorSize,
      type: entry.partitionTypeGuid,
      uuid: entry.uniquePartitionGuid,
      label: entry.partitionName,
    });
  }
  return {
    kind: "gpt",
    id: header.diskGuid,
    sectorSize,
    partitions,
    ranges: rangesOf(disk, sectorSize, header),
  };
}

/** The protective record, the header and the other one, and the entries of each. */
function rangesOf(disk: Disk, sectorSize: number, header: Of<typeof Header>): TableRange[] {
  const sector = (lba: number): TableRange => ({ offset: lba * sectorSize, length: sectorSize });
  const entries = ({ partitionEntryLba, numberOfPartitionEntries, sizeOfPartitionEntry }: typeof header) => ({
    offset: partitionEntryLba * sectorSize,
    length: numberOfPartitionEntries * sizeOfPartitionEntry,
  });
  const ranges = [sector(0), sector(header.myLba), entries(header)];
  const other = disk.read(header.alternateLba * sectorSize, sectorSize);
  if (other.length < sectorSize) return ranges;
  const copy = Header.at(other);
  if (typeof readContent(disk, sectorSize, header.alternateLba, copy) === "string") return ranges;
  return [...ranges, sector(header.alternateLba), entries(copy)];
}
