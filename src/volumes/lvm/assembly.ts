/** Putting the logical volumes of a group together. */
import type { Log, Source } from "../../images/image.js";
import { CachedSource } from "./cached-source.js";
import { SECTOR } from "./label.js";
import { type MappedArea, type MappedSegment, MappedSource } from "./mapped-source.js";
import { ThinPool, ThinSource } from "./thin-pool.js";
import { Unreadable } from "./unreadable.js";
import {
  type LogicalVolume,
  numberOf,
  type Segment,
  stringOf,
  stringsOf,
  type VolumeGroup,
} from "./volume-group.js";

/** Logical volumes that lie on others that lie on others: a leg of a mirror that is being moved has three. */
const MAX_DEPTH = 6;
/** Of volumes that only others use. */
const POOLS = new Set(["thin-pool", "cache-pool"]);
/** Cache modes in which all that is written is on the origin, too (lvmcache(7)). */
const CLEAN_MODES = new Set(["writethrough", "passthrough"]);
/** What a segment may be called: the text is the guest's. */
const TYPE = /^[a-z0-9_-]{1,32}$/;

export class Assembly {
  readonly #group: VolumeGroup;
  readonly #sourceOf: (uuid: string) => Source | undefined;
  readonly #log: Log;
  readonly #made = new Map<string, MappedSource | Unreadable>();
  readonly #pools = new Map<string, ThinPool>();
  /** Copy-on-write stores of snapshots, and origins that one is being merged into. */
  readonly #stores = new Set<string>();
  readonly #merging = new Set<string>();
  #depth = 0;

  /** `sourceOf`: the physical volume with a UUID, if it is there. */
  constructor(group: VolumeGroup, sourceOf: (uuid: string) => Source | undefined, log: Log) {
    this.#group = group;
    this.#log = log;
    this.#sourceOf = sourceOf;
    for (const { segments } of group.logicalVolumes.values()) {
      for (const { type, section } of segments) {
        if (type !== "snapshot") continue;
        this.#stores.add(stringOf(section, "cow_store"));
        if (stringOf(section, "merging_store") === "") continue;
        this.#stores.add(stringOf(section, "merging_store"));
        this.#merging.add(stringOf(section, "origin"));
      }
    }
  }

  /** Whether a volume holds the blocks of a snapshot: LVM hides it, its users know it. */
  isSnapshot(name: string): boolean {
    return this.#stores.has(name);
  }

  /** Whether a volume is there for others alone, although LVM does not hide it. */
  isPool({ segments }: LogicalVolume): boolean {
    return segments.some(({ type }) => POOLS.has(type));
  }

  /** Throws Unreadable. */
  source({ name }: LogicalVolume): MappedSource {
    if (this.isSnapshot(name)) throw new Unreadable("it is a snapshot, and snapshots are not read");
    if (this.#merging.has(name)) throw new Unreadable("a snapshot is being merged into it");
    return this.#resolve(name);
  }

  #resolve(name: string): MappedSource {
    let made = this.#made.get(name);
    if (made === undefined) {
      // Whoever comes back to it while it is being made is part of a circle.
      this.#made.set(name, new Unreadable("its parts refer to each other"));
      made = this.#attempt(name);
      this.#made.set(name, made);
    }
    if (made instanceof Unreadable) throw made;
    return made;
  }

  #attempt(name: string): MappedSource | Unreadable {
    const volume = this.#group.logicalVolumes.get(name);
    if (volume === undefined) return new Unreadable("a part of it is not there");
    if (this.#depth === MAX_DEPTH) return new Unreadable("its parts are nested too deep");
    this.#depth++;
    try {
      return this.#make(volume);
    } catch (error) {
      if (error instanceof Unreadable) return error;
      throw error;
    } finally {
      this.#depth--;
    }
  }

  #make({ segments }: LogicalVolume): MappedSource {
    const made: MappedSegment[] = [];
    let extents = 0;
    for (const segment of segments) {
      const { start, count } = segment;
      const end = (start + count) * this.#group.extentSize;
      if (start !== extents || !(count > 0) || !(end > 0 && end <= Number.MAX_SAFE_INTEGER))
        throw new Unreadable("its segments do not follow each other");
      made.push(this.#segment(segment));
      extents += count;
    }
    if (made.length === 0) throw new Unreadable("it has no segments");
    return new MappedSource(made);
  }

  #segment(segment: Segment): MappedSegment {
    const { extentSize } = this.#group;
    const { type, count, section } = segment;
    const place = { start: segment.start * extentSize, length: count * extentSize, stripe: 0 };
    switch (type) {
      case "zero":
        return { ...place, areas: [] };
      case "linear":
      case "striped":
        return this.#striped(segment, place);
      case "mirror":
        return { ...place, areas: [this.#anyOf(legsIn(segment, "mirrors"), count)] };
      case "raid1": {
        // Pairs of what a leg knows of itself, and the leg.
        const legs = stringsOf(section, "raids").filter((_, n) => n % 2 === 1);
        const current = legs
          .filter((leg) => !this.#isBehind(leg))
          .map((name) => ({ name, extent: segment.start }));
        return { ...place, areas: [this.#anyOf(current, count)] };
      }
      case "thin":
        return { ...place, areas: [this.#thin(segment, place.start + place.length)] };
      case "cache":
        return { ...place, areas: [this.#cached(segment)] };
      default:
        throw new Unreadable(`its type is ${TYPE.test(type) ? type : "unknown"}, which is not read`);
    }
  }

  /** `end`: bytes up to the end of the segment. */
  #thin({ section, start }: Segment, end: number): MappedArea {
    if (stringOf(section, "external_origin") !== "")
      throw new Unreadable("it has an origin outside of its thin pool, which is not read");
    const pool = this.#thinPool(stringOf(section, "thin_pool"));
    const device = numberOf(section, "device_id");
    try {
      if (!pool.has(device)) throw new Unreadable("its thin pool does not know it");
    } catch (error) {
      if (error instanceof Unreadable) throw error;
      throw new Unreadable("the metadata of its thin pool cannot be read");
    }
    return { source: new ThinSource(pool, device, end), offset: start * this.#group.extentSize };
  }

  #thinPool(name: string): ThinPool {
    const known = this.#pools.get(name);
    if (known !== undefined) return known;
    const [segment, another] = this.#group.logicalVolumes.get(name)?.segments ?? [];
    if (segment?.type !== "thin-pool" || another !== undefined)
      throw new Unreadable("its thin pool is not there");
    const { section } = segment;
    const metadata = this.#resolve(stringOf(section, "metadata"));
    const data = this.#resolve(stringOf(section, "pool"));
    try {
      const pool = new ThinPool(metadata, data, numberOf(section, "chunk_size"), this.#log);
      this.#pools.set(name, pool);
      return pool;
    } catch (error) {
      if (error instanceof Unreadable) throw error;
      throw new Unreadable("the metadata of its thin pool cannot be read");
    }
  }

  /** What is cached is read from where it belongs. */
  #cached({ section, start, count }: Segment): MappedArea {
    const pool = this.#group.logicalVolumes.get(stringOf(section, "cache_pool"))?.segments[0]?.section;
    const mode = stringOf(section, "cache_mode") || (pool === undefined ? "" : stringOf(pool, "cache_mode"));
    const origin = this.#area({ name: stringOf(section, "origin"), extent: start }, count);
    if (CLEAN_MODES.has(mode)) return origin;
    // A cache in one volume has its metadata at a place of its own.
    if (pool === undefined || stringOf(pool, "metadata") === "")
      throw new Unreadable("its cache (writeback) is of a kind that is not read (a cachevol)");
    const metadata = this.#resolve(stringOf(pool, "metadata"));
    return { source: new CachedSource(origin.source, metadata, this.#log), offset: origin.offset };
  }

  #striped(segment: Segment, place: { start: number; length: number }): MappedSegment {
    const legs = legsIn(segment, "stripes");
    const each = segment.count / legs.length;
    const stripe = numberOf(segment.section, "stripe_size") * SECTOR;
    const isEven = Number.isInteger(each) && stripe > 0;
    if (legs.length === 0 || (legs.length > 1 && !isEven)) throw new Unreadable("its stripes make no sense");
    const areas = legs.map((leg) => this.#area(leg, each));
    return { ...place, areas, stripe: legs.length > 1 ? stripe : 0 };
  }

  /** The first that is there. */
  #anyOf(legs: readonly Leg[], count: number): MappedArea {
    let problem = new Unreadable("none of its legs is there");
    for (const leg of legs) {
      try {
        return this.#area(leg, count);
      } catch (error) {
        if (!(error instanceof Unreadable)) throw error;
        problem = error;
      }
    }
    throw problem;
  }

  /** Whether a leg is being filled, or has been left behind. */
  #isBehind(leg: string): boolean {
    const status = this.#group.logicalVolumes.get(leg)?.status;
    return status === undefined || status.includes("REBUILD") || status.includes("PARTIAL");
  }

  /** `count` extents of a physical volume or of another logical one. */
  #area({ name, extent }: Leg, count: number): MappedArea {
    const { extentSize, physicalVolumes } = this.#group;
    const physical = physicalVolumes.get(name);
    if (physical === undefined) {
      const source = this.#resolve(name);
      const offset = extent * extentSize;
      if (!(offset >= 0 && offset + count * extentSize <= source.size))
        throw new Unreadable("a segment reaches past the end of what it lies on");
      return { source, offset };
    }
    const { uuid, start, extents, isMissing } = physical;
    const source = this.#sourceOf(uuid);
    if (isMissing || source === undefined)
      throw new Unreadable(`its physical volume ${asWritten(uuid)} is missing`);
    if (!(start >= 0 && extent >= 0 && extent + count <= extents))
      throw new Unreadable("a segment reaches past the end of its physical volume");
    return { source, offset: start + extent * extentSize };
  }
}

/** Where a segment begins: on what, and at which of its extents. */
interface Leg {
  readonly name: string;
  readonly extent: number;
}

/** Pairs of a name and a number; none, if they are anything else. */
function legsIn({ section }: Segment, list: string): Leg[] {
  const value = section.values.get(list);
  if (!Array.isArray(value)) return [];
  const legs: Leg[] = [];
  for (let at = 0; at + 1 < value.length; at += 2) {
    const [name, extent] = [value[at], value[at + 1]];
    if (typeof name !== "string" || typeof extent !== "number") return [];
    legs.push({ name, extent });
  }
  return legs;
}

/** A UUID as LVM's tools write it; "" for what is none. */
function asWritten(uuid: string): string {
  return /^\w{32}$/.test(uuid)
    ? uuid.replace(/^(.{6})(.{4})(.{4})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-$5-$6-")
    : "";
}
