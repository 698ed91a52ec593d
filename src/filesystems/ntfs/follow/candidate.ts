/**
 * What the disk shows that has not been agreed on: records and blocks that changed, those that came with them, and the
 * files and names that this concerns, sorted into groups that can only be taken together.
 */

import type { Source } from "../../../images/image.js";
import { IoError } from "../../../images/io-error.js";
import { type BlockCache, readFully } from "../../../versions/block-cache.js";
import { EXACT } from "../../filesystem.js";
import { Inode } from "../inode.js";
import { SystemRecord } from "../mft.js";
import { Parts } from "../parts.js";
import type { Accepted } from "./accepted.js";
import { type Copies, CopiesView } from "./copies-view.js";
import { Entity } from "./entity.js";
import { type Entries, type Entry, OpenIndex } from "./entries.js";
import { baseOf, saysInUse } from "./raw-record.js";
import { isSystem, nameKey, type Side, Sides } from "./side.js";

/** Records by number and other blocks, as they are on the disk. */
export interface Changed {
  readonly records: Map<number, Buffer>;
  readonly others: Map<number, Buffer>;
}

/** What can be taken of a candidate. */
export interface Taken extends Changed {
  readonly entities: readonly Entity[];
  /** Blocks that are no metadata any longer. */
  readonly freed: readonly number[];
  /** Files that do not agree, but are taken all the same, and why they do not. */
  readonly forced: ReadonlyMap<number, string>;
  /** Files that are not taken. */
  readonly held: readonly number[];
}

/** Blocks of one file that were agreed on before: no limit that a real one comes to. */
const MOST_BLOCKS = 1 << 20;
const NONE: Entries = { names: new Map(), children: new Set(), isBad: false };
const NO_BLOCKS: ReadonlyMap<number, number[]> = new Map();

/** Reads whichever candidate there is: so what is remembered of the volume as a whole is remembered between them. */
export class CandidateReader implements Copies {
  readonly parts: Parts;
  readonly sides: Sides;
  readonly inode: Inode;
  candidate: Copies | undefined;

  constructor(source: Source, { geometry }: Accepted, cache: BlockCache) {
    const view = new CopiesView(source, geometry.blockSize, cache, this);
    this.parts = new Parts(geometry, view, () => {}, EXACT);
    this.sides = new Sides(this.parts);
    this.inode = new Inode(this.parts.mft);
  }

  get at(): number {
    return (this.candidate as Copies).at;
  }

  find(block: number): Buffer | undefined {
    return (this.candidate as Copies).find(block);
  }
}

export class Candidate implements Copies {
  at = 0;
  readonly #source: Source;
  readonly #accepted: Accepted;
  readonly #reader: CandidateReader;
  readonly #records: Map<number, Buffer>;
  readonly #others: Map<number, Buffer>;
  readonly #entities = new Map<number, Entity>();
  readonly #untouched: Entity[] = [];
  readonly #none: Buffer;
  #room: number;
  #lookedUp = -1;

  /** `changed` differs from the version that has been agreed on; `room`: bytes that may come with it. Throws IoError. */
  constructor(source: Source, accepted: Accepted, reader: CandidateReader, changed: Changed, room: number) {
    this.#source = source;
    this.#accepted = accepted;
    this.#reader = reader;
    this.#records = new Map(changed.records);
    this.#others = new Map(changed.others);
    this.#none = Buffer.alloc(accepted.geometry.recordSize);
    this.#room = room;
    reader.candidate = this;
    reader.parts.forget();
    for (const record of changed.records.keys()) this.#enter(record);
    for (const block of changed.others.keys()) {
      const owner = accepted.owners.get(block);
      if (owner !== undefined) this.#entity(owner);
    }
    // New descriptors come with the files that have them.
    this.#refresh(SystemRecord.SECURE);
    for (let next = this.#untouched.pop(); next !== undefined; next = this.#untouched.pop())
      this.#touch(next);
  }

  /** Whether there was not enough room. */
  get isTooMuch(): boolean {
    return this.#room < 0;
  }

  /** What was looked at: to be read again if it does not agree. */
  get looked(): { readonly records: readonly number[]; readonly blocks: readonly number[] } {
    const blocks = new Set(this.#others.keys());
    for (const { now } of this.#entities.values()) for (const block of now?.blocks ?? []) blocks.add(block);
    return {
      records: [...new Set([...this.#records.keys(), ...this.#entities.keys()])],
      blocks: [...blocks],
    };
  }

  find(block: number): Buffer | undefined {
    const { places, records, others } = this.#accepted;
    const record = places.recordAt(block);
    if (record < 0) {
      this.at = 0;
      return this.#others.get(block) ?? others.get(block);
    }
    const { within } = places;
    const bytes = this.#records.get(record) ?? records.get(record) ?? this.#fetch(record);
    this.at = within;
    return bytes;
  }

  /** Why an entity does not agree; "": it does. To be asked before another candidate is made. */
  judge(entity: Entity): string {
    const { ino, old, now } = entity;
    if (old === undefined || now === undefined) return "";
    if (now.problem !== "" && old.problem === "") return now.problem;
    if (isSystem(ino)) return "";
    if (now.isUndescribed && !old.isUndescribed) return "its security descriptor";
    if (entity.wrong !== "") return entity.wrong;
    for (const entry of entity.keys) {
      const key = nameKey(entry.directory, entry.name);
      const isInRecord = this.#entities.get(entry.ino)?.now?.names.has(key) === true;
      if (!this.#isInIndex(entry, isInRecord)) return `a name of ${entry.ino} in ${entry.directory}`;
    }
    return "";
  }

  /** Whether all agrees. */
  get agrees(): boolean {
    for (const entity of this.#entities.values()) if (this.judge(entity) !== "") return false;
    return true;
  }

  /** The record of a file that it had before, and that has got a name; undefined for others. */
  renamed(entity: Entity): Buffer | undefined {
    const { ino, old, now } = entity;
    if (!old?.isThere || !now?.isThere || old.generation !== now.generation) return undefined;
    for (const key of now.names.keys()) if (!old.names.has(key)) return this.#records.get(ino);
    return undefined;
  }

  /**
   * Takes those groups of which every part agrees and none `mayWait`, and others if one of their files `mustGo`.
   */
  take(mayWait: (entity: Entity) => boolean, mustGo: (ino: number, isUnreadable: boolean) => boolean): Taken {
    const entities = [...this.#entities.values()];
    const wrong = new Map<Entity, string>();
    const held = new Set<Entity>();
    for (const entity of entities) {
      const why = this.judge(entity);
      if (why !== "") wrong.set(entity, why);
      if (why !== "" || mayWait(entity)) held.add(entity.group);
    }
    const table = this.#entities.get(SystemRecord.MFT);
    // Where the records are is told by $MFT's own: all else depends on it.
    if (table !== undefined && wrong.has(table)) for (const { group } of entities) held.add(group);
    const forced = new Map<number, string>();
    for (const entity of entities) {
      if (!held.has(entity.group)) continue;
      if (mustGo(entity.ino, entity.now?.problem !== "")) forced.set(entity.group.ino, "");
    }
    for (const group of [...held]) if (forced.has(group.ino)) held.delete(group);
    forced.clear();
    for (const [entity, why] of wrong) if (!held.has(entity.group)) forced.set(entity.ino, why);
    const isHeld = (entity: Entity) => held.has(entity.group);
    return {
      ...this.#composed(entities, isHeld),
      entities: entities.filter((entity) => !isHeld(entity)),
      forced,
      held: entities.filter(isHeld).map(({ ino }) => ino),
    };
  }

  #composed(entities: readonly Entity[], isHeld: (entity: Entity) => boolean): Changed & { freed: number[] } {
    const records = new Map<number, Buffer>();
    const others = new Map<number, Buffer>();
    const freed = new Set<number>();
    for (const entity of entities) {
      const { old, now } = entity;
      if (isHeld(entity) || old === undefined || now === undefined) continue;
      for (const record of entity.records) records.set(record, this.#records.get(record) as Buffer);
      for (const block of old.blocks) if (!now.blocks.has(block)) freed.add(block);
    }
    for (const entity of entities) {
      if (isHeld(entity)) continue;
      for (const block of entity.now?.blocks ?? []) {
        freed.delete(block);
        const bytes = this.#others.get(block);
        if (bytes !== undefined) others.set(block, bytes);
      }
    }
    return { records, others, freed: [...freed] };
  }

  #entity(ino: number): Entity {
    let entity = this.#entities.get(ino);
    if (entity === undefined) {
      entity = new Entity(ino);
      this.#entities.set(ino, entity);
      this.#untouched.push(entity);
    }
    return entity;
  }

  /** A record that differs concerns the file that it is of, and was of. */
  #enter(record: number): void {
    const old = this.#accepted.records.get(record);
    const now = this.#records.get(record) as Buffer;
    const before = old && this.#entity(baseOf(old, 0, record));
    const after = saysInUse(now, 0) ? this.#entity(baseOf(now, 0, record)) : undefined;
    before?.records.add(record);
    after?.records.add(record);
    if (before !== undefined && after !== undefined && before !== after) before.join(after);
  }

  /** A record that was not in use, as it is now. */
  #fetch(record: number): Buffer {
    const { places, geometry } = this.#accepted;
    this.#room -= geometry.recordSize;
    if (record >= places.records || this.#room < 0) return this.#none;
    const bytes = Buffer.allocUnsafeSlow(geometry.recordSize);
    places.read(this.#source, record, 1, bytes);
    this.#records.set(record, bytes);
    if (saysInUse(bytes, 0)) this.#enter(record);
    return bytes;
  }

  /** A file's record as it is now, which can be later than when all were compared. */
  #refresh(ino: number): void {
    const { places, geometry, records } = this.#accepted;
    if (this.#records.has(ino) || ino >= places.records) return;
    const bytes = Buffer.allocUnsafeSlow(geometry.recordSize);
    places.read(this.#source, ino, 1, bytes);
    const old = records.get(ino);
    if (old === undefined ? !saysInUse(bytes, 0) : old.equals(bytes)) return;
    this.#records.set(ino, bytes);
    this.#enter(ino);
  }

  #touch(entity: Entity): void {
    const { ino } = entity;
    const { geometry, owners } = this.#accepted;
    this.#refresh(ino);
    const most = Math.max(0, Math.floor(this.#room / geometry.blockSize));
    const old = this.#accepted.side(ino, MOST_BLOCKS);
    const raw = this.#records.get(ino) ?? this.#accepted.records.get(ino);
    const now = this.#reader.sides.of(ino, raw !== undefined && saysInUse(raw, 0), most + old.blocks.size);
    entity.old = old;
    entity.now = now;
    for (const block of now.blocks) {
      this.#readOther(block);
      const owner = owners.get(block);
      if (owner === undefined || owner === ino) continue;
      const other = this.#entity(owner);
      entity.join(other);
      if (other.now?.blocks.has(block) === true) entity.wrong = "a block that two have";
    }
    this.#compareNames(entity, old, now);
    if ((old.isDirectory || now.isDirectory) && this.#accepted.isListed(ino))
      this.#compareIndex(entity, old, now);
  }

  #compareNames(entity: Entity, old: Side, now: Side): void {
    for (const [one, other] of [
      [old, now],
      [now, old],
    ] as const) {
      for (const [key, { directory, name }] of one.names) {
        if (other.names.has(key) || !this.#accepted.isListed(directory)) continue;
        entity.keys.push({ directory, name, ino: entity.ino });
        entity.join(this.#entity(directory));
      }
    }
  }

  #compareIndex(entity: Entity, old: Side, now: Side): void {
    try {
      const before = this.#accepted.inode;
      const oldIndex =
        old.isDirectory && old.problem === "" && before.ino === old.ino
          ? new OpenIndex(this.#accepted.parts, before)
          : undefined;
      const oldUsed = oldIndex?.used() ?? NO_BLOCKS;
      const { inode } = this.#reader.sides;
      const nowIndex =
        now.isDirectory && now.problem === "" ? new OpenIndex(this.#reader.parts, inode) : undefined;
      const nowUsed = nowIndex?.used() ?? NO_BLOCKS;
      const isOfInterest = (number: number): boolean => {
        const was = oldUsed.get(number);
        const is = nowUsed.get(number);
        if (was === undefined || is === undefined || was.length !== is.length) return true;
        return is.some((block, n) => block !== was[n] || this.#others.has(block));
      };
      const hasRoot = entity.records.size > 0 || oldIndex === undefined;
      const had = oldIndex?.entries([...oldUsed.keys()].filter(isOfInterest), hasRoot) ?? NONE;
      const has = nowIndex?.entries([...nowUsed.keys()].filter(isOfInterest), hasRoot) ?? NONE;
      if (has.isBad && !had.isBad) entity.wrong = "its index cannot be read, or has something twice";
      if (nowIndex !== undefined && !isWhole(had, has, oldUsed, nowUsed))
        entity.wrong = "the tree of its index";
      for (const [key, entry] of had.names) {
        if (has.names.get(key)?.ino !== entry.ino) this.#nameDiffers(entity, entry);
      }
      for (const [key, entry] of has.names) {
        if (had.names.get(key)?.ino === entry.ino) continue;
        this.#nameDiffers(entity, entry);
        const isElsewhere =
          oldIndex !== undefined &&
          !had.names.has(key) &&
          this.#accepted.parts.directories.lookup(before, entry.name, false) !== 0;
        if (isElsewhere) entity.wrong = "a name that its index has twice";
      }
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      entity.wrong = error.message;
    }
  }

  #nameDiffers(directory: Entity, entry: Entry): void {
    directory.keys.push(entry);
    directory.join(this.#entity(entry.ino));
  }

  /** Whether the index of a directory has a name, or (`isThere` false) has not. What cannot be read is neither. */
  #isInIndex({ directory, name, ino }: Entry, isThere: boolean): boolean {
    const now = this.#entities.get(directory)?.now;
    if (now === undefined || !now.isDirectory) return !isThere;
    const { inode, parts } = this.#reader;
    try {
      if (this.#lookedUp !== directory) inode.load(directory);
      this.#lookedUp = directory;
      return (parts.directories.lookup(inode, name, false) === ino) === isThere;
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      this.#lookedUp = -1;
      return false;
    }
  }

  /** A block that was no metadata so far, as it is now. */
  #readOther(block: number): void {
    if (this.#others.has(block) || this.#accepted.others.has(block)) return;
    const { blockSize } = this.#accepted.geometry;
    this.#room -= blockSize;
    if (this.#room < 0) return;
    const bytes = Buffer.alloc(blockSize);
    readFully(this.#source, bytes, blockSize, block * blockSize);
    this.#others.set(block, bytes);
  }
}

/** Whether index blocks that are in use have a parent, as far as the nodes that changed tell, and the others none. */
function isWhole(
  had: Entries,
  has: Entries,
  oldUsed: ReadonlyMap<number, number[]>,
  nowUsed: ReadonlyMap<number, number[]>,
): boolean {
  for (const child of had.children) if (!has.children.has(child) && nowUsed.has(child)) return false;
  for (const child of has.children) if (!nowUsed.has(child)) return false;
  for (const number of nowUsed.keys()) if (!oldUsed.has(number) && !has.children.has(number)) return false;
  return true;
}
