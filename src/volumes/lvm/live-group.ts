/** A volume group that its guest may change while it is read: extended, moved to another disk, ... */
import type { Log, Source } from "../../images/image.js";
import { Assembly } from "./assembly.js";
import type { MappedSource } from "./mapped-source.js";
import { type FoundPhysicalVolume, headersSize, readGroups, readHeaders } from "./physical-volumes.js";
import { Unreadable } from "./unreadable.js";
import type { VolumeGroup } from "./volume-group.js";

/** ms between looks at whether the metadata has changed, made while its volumes are read. */
const EVERY = 500;

export class LiveGroup {
  /** All of the guest's, and those that were the group's at first. */
  readonly #physical: readonly FoundPhysicalVolume[];
  readonly #members: readonly FoundPhysicalVolume[];
  readonly #sources = new Map<string, Source>();
  readonly #log: Log;
  readonly #followed = new Map<string, LogicalVolumeSource>();
  readonly #headers: Buffer;
  readonly #now: Buffer;
  #group: VolumeGroup;
  #assembly: Assembly;
  #due: number;

  constructor(group: VolumeGroup, physical: readonly FoundPhysicalVolume[], log: Log) {
    const ownUuids = new Set([...group.physicalVolumes.values()].map(({ uuid }) => uuid));
    this.#members = physical.filter(({ uuid }) => ownUuids.has(uuid));
    this.#group = group;
    this.#physical = physical;
    for (const { uuid, part } of physical) this.#sources.set(uuid, part.source);
    this.#log = log;
    this.#assembly = this.#assemble(group);
    this.#headers = Buffer.alloc(headersSize(this.#members));
    this.#now = Buffer.alloc(this.#headers.length);
    this.#read(this.#headers);
    this.#due = performance.now() + EVERY;
  }

  /** The bytes of one of its logical volumes, that go on to be the right ones when the guest changes it. Throws Unreadable. */
  source(name: string): LogicalVolumeSource {
    const volume = this.#group.logicalVolumes.get(name);
    if (volume === undefined) throw new Unreadable("it is not there");
    const source = new LogicalVolumeSource(this, this.#assembly.source(volume));
    this.#followed.set(volume.uuid, source);
    return source;
  }

  /** The names of those that users know: all but the parts of others. */
  get names(): string[] {
    return [...this.#group.logicalVolumes.values()].flatMap((volume) => {
      const isKnown = volume.status.includes("VISIBLE") || this.#assembly.isSnapshot(volume.name);
      return isKnown && !this.#assembly.isPool(volume) ? [volume.name] : [];
    });
  }

  /** Takes in what the guest has changed, if it is time to look. */
  refresh(): void {
    const now = performance.now();
    if (now < this.#due) return;
    this.#due = now + EVERY;
    if (!this.#read(this.#now) || this.#now.equals(this.#headers)) return;
    const group = readGroups(this.#physical, () => {}).get(this.#group.uuid);
    // Half written, or on disks that are not there: what is known stays, until more is.
    if (group === undefined || group.seqno <= this.#group.seqno) return;
    this.#now.copy(this.#headers);
    this.#take(group);
  }

  #take(group: VolumeGroup): void {
    this.#group = group;
    this.#assembly = this.#assemble(group);
    const byUuid = new Map([...group.logicalVolumes.values()].map((volume) => [volume.uuid, volume]));
    for (const [uuid, source] of this.#followed) {
      const volume = byUuid.get(uuid);
      try {
        source.mapped = volume && this.#assembly.source(volume);
      } catch (error) {
        if (!(error instanceof Unreadable)) throw error;
        source.mapped = undefined;
      }
    }
    this.#log(
      "the guest has changed its logical volumes: those that are shown go on, new names are taken in at the next start",
      { level: "notice" },
    );
  }

  #assemble(group: VolumeGroup): Assembly {
    return new Assembly(group, (uuid) => this.#sources.get(uuid), this.#log);
  }

  /** Whether it could be read. */
  #read(target: Buffer): boolean {
    try {
      readHeaders(this.#members, target);
      return true;
    } catch {
      // Who reads the volume itself learns why.
      return false;
    }
  }
}

/** The bytes of a logical volume, wherever they are now. Of one that is no more there are none. */
export class LogicalVolumeSource implements Source {
  mapped: MappedSource | undefined;
  readonly #group: LiveGroup;

  constructor(group: LiveGroup, mapped: MappedSource) {
    this.#group = group;
    this.mapped = mapped;
  }

  get size(): number {
    return this.mapped?.size ?? 0;
  }

  read(target: Buffer, targetOffset: number, length: number, position: number): number {
    this.#group.refresh();
    return this.mapped?.read(target, targetOffset, length, position) ?? 0;
  }
}
