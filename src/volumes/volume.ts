import type { Source } from "../images/image.js";

/** A partition as its table describes it. */
export interface Partition {
  /** Counted from 1 as the Linux kernel counts; logical partitions from 5. */
  readonly number: number;
  /** First byte on the disk. */
  readonly offset: number;
  /** Bytes, as the table has them: the image may be shorter. */
  readonly length: number;
  /** MBR: the type byte as two hexadecimal digits. GPT: the type GUID in lower case. */
  readonly type: string;
  /** What PARTUUID= means in the guest. GPT: the unique GUID. MBR: the disk's id and the number, `0a1b2c3d-01`. */
  readonly uuid: string;
  /** GPT's partition name; "" if there is none. */
  readonly label: string;
}

/**
 * What may hold a file system: a partition, the whole disk if it is not partitioned, or a logical volume of LVM, put
 * together of parts of disks.
 */
export interface Volume {
  /** `sda1`; of a whole disk, `sda`; of a logical volume, `vg-lv` as the device mapper writes it. */
  readonly name: string;
  /** The partition's number, 0 for all others. */
  readonly number: number;
  /** First byte on the disk; of a logical volume 0, as its bytes lie where its source knows. */
  readonly offset: number;
  /** Bytes, as the table has them. */
  readonly length: number;
  /** The volume's bytes, as far as the image has them. */
  readonly source: Source;
  /** As `Partition.type`; "" for a whole disk. So are the next two. */
  readonly partitionType: string;
  readonly partitionUuid: string;
  readonly partitionLabel: string;
  /** The name of the disk that the volume is a part of; "" for a whole disk. Of a logical volume, all that its group has. */
  readonly parent: string;
  /** Of a logical volume: the disks that its group lies on, by their place among the guest's, from 0 on. */
  readonly disks?: readonly number[];
  /** Why its bytes cannot be had; left out where they can. */
  readonly unreadable?: string;
}

/** Bytes of a disk that a partition table takes. */
export interface TableRange {
  readonly offset: number;
  readonly length: number;
}

/** What a disk is divided into. */
export interface VolumeTable {
  readonly kind: "mbr" | "gpt" | "none";
  /** MBR: the disk's signature as eight hexadecimal digits. GPT: the disk's GUID. Otherwise "". */
  readonly id: string;
  /** Bytes of a logical sector, the unit of the table's numbers. */
  readonly sectorSize: number;
  /** In the order of the table; logical partitions after the primary ones. */
  readonly volumes: readonly Volume[];
  /** Where the table itself lies, with its copies and the records of logical partitions, as far as it says. */
  readonly ranges: readonly TableRange[];
}

/** What a parser of tables finds. */
export interface PartitionTable {
  readonly kind: "mbr" | "gpt";
  readonly id: string;
  readonly sectorSize: number;
  readonly partitions: readonly Partition[];
  readonly ranges: readonly TableRange[];
}

/** The highest partition number: the kernel counts 256 minors a disk (DISK_MAX_PARTS), the disk's own among them. */
export const MAX_PARTITION_NUMBER = 255;
