/** The label by which a partition or a disk says that it is a physical volume of LVM, and the header behind it. */
import type { Source } from "../../images/image.js";
import { bytes, structure, text, u32, u64 } from "../../layout/struct.js";
import { lvmChecksum } from "./checksum.js";

/** struct label_header. */
const LabelHeader = structure("label_header", 32, {
  id: bytes(0, 8),
  sector: u64(8),
  /** Of what follows this field, to the end of the sector. */
  crc: u32(16),
  /** Bytes from the label's beginning to the header. */
  offset: u32(20),
  type: text(24, 8),
});

/** struct pv_header, without its lists of areas. */
const PvHeader = structure("pv_header", 40, {
  uuid: text(0, 32),
  deviceSize: u64(32),
});

/** struct disk_locn. */
const DiskLocation = structure("disk_locn", 16, { offset: u64(0), size: u64(8) });

const LABEL_ID = Buffer.from("LABELONE", "latin1");
const LABEL_TYPE = "LVM2 001";
/** A label lies in one of the first four sectors, of 512 bytes whatever the disk has. */
export const SECTOR = 512;
const LABEL_SECTORS = 4;
const CHECKED_FROM = LabelHeader.fields.offset.offset;

/** Bytes of a physical volume. */
export interface Area {
  readonly offset: number;
  readonly size: number;
}

/** What the header of a physical volume says. */
export interface PhysicalVolumeHeader {
  /** 32 letters and digits, without hyphens. */
  readonly uuid: string;
  readonly metadataAreas: readonly Area[];
}

/** The header of the physical volume that a source is; undefined if it has no good label. Throws what reading throws. */
export function readLabel(source: Source): PhysicalVolumeHeader | undefined {
  const start = Buffer.alloc(LABEL_SECTORS * SECTOR);
  const length = source.read(start, 0, start.length, 0);
  for (let sector = 0; (sector + 1) * SECTOR <= length; sector++) {
    const header = headerIn(start.subarray(sector * SECTOR, (sector + 1) * SECTOR), sector);
    if (header !== undefined) return header;
  }
  return undefined;
}

function headerIn(block: Buffer, sector: number): PhysicalVolumeHeader | undefined {
  const label = LabelHeader.at(block);
  if (!label.id.equals(LABEL_ID) || label.type !== LABEL_TYPE || label.sector !== sector) return undefined;
  if (lvmChecksum(block.subarray(CHECKED_FROM)) !== label.crc) return undefined;
  const { offset } = label;
  if (offset < LabelHeader.size || offset + PvHeader.size > SECTOR) return undefined;
  const lists = offset + PvHeader.size;
  const data = areasAt(block, lists);
  const metadata = data && areasAt(block, data.end);
  return metadata && { uuid: PvHeader.at(block, offset).uuid, metadataAreas: metadata.areas };
}

/** A list that an empty location ends; undefined if none does. */
function areasAt(block: Buffer, start: number): { areas: Area[]; end: number } | undefined {
  const areas: Area[] = [];
  for (let at = start; at + DiskLocation.size <= SECTOR; at += DiskLocation.size) {
    const { offset, size } = DiskLocation.at(block, at);
    if (offset === 0) return { areas, end: at + DiskLocation.size };
    areas.push({ offset, size });
  }
  return undefined;
}
