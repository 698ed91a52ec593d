/** A volume group as LVM's text describes it (the lvm2 sources' lib/format_text; vgcfgbackup(8) writes the same). */
import { SECTOR } from "./label.js";
import { parseText, type Section } from "./text.js";

export interface VolumeGroup {
  readonly name: string;
  readonly uuid: string;
  /** Counts up with each change. */
  readonly seqno: number;
  /** Bytes. */
  readonly extentSize: number;
  /** By the names that segments use for them: `pv0`. */
  readonly physicalVolumes: ReadonlyMap<string, PhysicalVolume>;
  /** By name, hidden ones too. */
  readonly logicalVolumes: ReadonlyMap<string, LogicalVolume>;
}

export interface PhysicalVolume {
  /** 32 letters and digits, without hyphens. */
  readonly uuid: string;
  /** The first extent's first byte. */
  readonly start: number;
  readonly extents: number;
  /** Whether the guest went on without it, so that what is on it is old. */
  readonly isMissing: boolean;
}

export interface LogicalVolume {
  readonly name: string;
  readonly uuid: string;
  /** `VISIBLE`, `REBUILD`, ... */
  readonly status: readonly string[];
  readonly segments: readonly Segment[];
}

/** A run of a logical volume's extents. Numbers can be NaN. */
export interface Segment {
  /** `striped`, `thin`, ... */
  readonly type: string;
  /** In extents of the logical volume. */
  readonly start: number;
  readonly count: number;
  /** What else is said of it. */
  readonly section: Section;
}

/** Each group in a text: there should be one. Throws TextError. */
export function parseGroups(text: string): VolumeGroup[] {
  return [...parseText(text).sections].flatMap(([name, section]) => {
    const uuid = uuidOf(section);
    const seqno = numberOf(section, "seqno");
    return uuid === "" || !(seqno >= 0) ? [] : [toGroup(name, uuid, seqno, section)];
  });
}

function toGroup(name: string, uuid: string, seqno: number, section: Section): VolumeGroup {
  const physical = section.sections.get("physical_volumes")?.sections ?? new Map<string, Section>();
  const logical = section.sections.get("logical_volumes")?.sections ?? new Map<string, Section>();
  return {
    name,
    uuid,
    seqno,
    extentSize: numberOf(section, "extent_size") * SECTOR,
    physicalVolumes: new Map([...physical].map(([key, one]) => [key, toPhysicalVolume(one)])),
    logicalVolumes: new Map([...logical].map(([key, one]) => [key, toLogicalVolume(key, one)])),
  };
}

function toPhysicalVolume(section: Section): PhysicalVolume {
  return {
    uuid: uuidOf(section),
    start: numberOf(section, "pe_start") * SECTOR,
    extents: numberOf(section, "pe_count"),
    isMissing: stringsOf(section, "flags").includes("MISSING"),
  };
}

function toLogicalVolume(name: string, section: Section): LogicalVolume {
  const segments = [...section.sections.values()].map((one) => ({
    // Flags follow after a plus.
    type: stringOf(one, "type").split("+")[0] as string,
    start: numberOf(one, "start_extent"),
    count: numberOf(one, "extent_count"),
    section: one,
  }));
  const status = [...stringsOf(section, "status"), ...stringsOf(section, "flags")];
  return { name, uuid: uuidOf(section), status, segments };
}

/** NaN: there is none. */
export function numberOf(section: Section, name: string): number {
  const value = section.values.get(name);
  return typeof value === "number" ? value : Number.NaN;
}

/** "": there is none. */
export function stringOf(section: Section, name: string): string {
  const value = section.values.get(name);
  return typeof value === "string" ? value : "";
}

/** A list of strings, or none. */
export function stringsOf(section: Section, name: string): string[] {
  const value = section.values.get(name);
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
}

function uuidOf(section: Section): string {
  return stringOf(section, "id").replaceAll("-", "");
}
