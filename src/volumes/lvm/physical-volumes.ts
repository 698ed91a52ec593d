/** The physical volumes among a guest's partitions and disks, and what they tell of their groups. */
import type { Log, Source } from "../../images/image.js";
import { type Area, type PhysicalVolumeHeader, readLabel } from "./label.js";
import { HEADER_SIZE, readMetadataArea } from "./metadata-area.js";
import { TextError } from "./text.js";
import { parseGroups, type VolumeGroup } from "./volume-group.js";

/** A partition or a disk that may be a physical volume. */
export interface Part {
  /** `sda2` */
  readonly name: string;
  /** The disk's place among the guest's, from 0 on. */
  readonly disk: number;
  readonly source: Source;
}

export interface FoundPhysicalVolume extends PhysicalVolumeHeader {
  readonly part: Part;
}

/** Areas that a physical volume has at most: one at its beginning, and one at its end. */
const MAX_AREAS = 2;
/** Characters of different texts that are read of one guest. */
const MAX_TEXTS = 16 * 1024 * 1024;

/** Those with a good label. What cannot be read is logged, and taken for none. */
export function findPhysicalVolumes(parts: readonly Part[], log: Log): FoundPhysicalVolume[] {
  const found = new Map<string, FoundPhysicalVolume>();
  for (const part of parts) {
    const header = attempt(part, log, () => readLabel(part.source));
    if (header === undefined) continue;
    const other = found.get(header.uuid);
    if (other === undefined) found.set(header.uuid, { ...header, part });
    else
      log(`${part.name}: is the same physical volume of LVM as ${other.part.name}; only that is used`, {
        volume: part.name,
      });
  }
  return [...found.values()];
}

/** Each group in its newest version, by UUID, of what is written down of it anywhere. */
export function readGroups(volumes: readonly FoundPhysicalVolume[], log: Log): Map<string, VolumeGroup> {
  const groups = new Map<string, VolumeGroup>();
  const seen = new Set<string>();
  let characters = 0;
  for (const { part, area } of areasOf(volumes)) {
    const say = (problem: string) =>
      log(`${part.name}: the copy of LVM's metadata at byte ${area.offset} ${problem}; it is not used`, {
        volume: part.name,
      });
    const reading = attempt(part, log, () => readMetadataArea(part.source, area));
    if (reading === undefined) continue;
    if ("problem" in reading) {
      say(reading.problem);
      continue;
    }
    const { text } = reading;
    if (text === undefined || seen.has(text)) continue;
    seen.add(text);
    characters += text.length;
    if (characters > MAX_TEXTS) {
      say("is more than is read of one guest");
      break;
    }
    try {
      for (const group of parseGroups(text)) {
        const known = groups.get(group.uuid);
        if (known === undefined || known.seqno < group.seqno) groups.set(group.uuid, group);
      }
    } catch (error) {
      if (!(error instanceof TextError)) throw error;
      say(error.message);
    }
  }
  return groups;
}

/** The headers of all areas, one after the other: as long as they are the same, so is what is written down. */
export function readHeaders(volumes: readonly FoundPhysicalVolume[], target: Buffer): void {
  let at = 0;
  for (const { part, area } of areasOf(volumes)) {
    part.source.read(target, at, HEADER_SIZE, area.offset);
    at += HEADER_SIZE;
  }
}

/** Bytes that readHeaders reads. */
export function headersSize(volumes: readonly FoundPhysicalVolume[]): number {
  return areasOf(volumes).length * HEADER_SIZE;
}

function areasOf(volumes: readonly FoundPhysicalVolume[]): { part: Part; area: Area }[] {
  return volumes.flatMap(({ part, metadataAreas }) =>
    metadataAreas.slice(0, MAX_AREAS).map((area) => ({ part, area })),
  );
}

function attempt<T>({ name }: Part, log: Log, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    log(`${name}: LVM's metadata cannot be read: ${(error as Error).message}`, { volume: name });
    return undefined;
  }
}
