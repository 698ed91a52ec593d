/**
 * What the disk shows that has not been agreed on: blocks that changed, those that came with them, and the inodes and
 * names that this concerns, sorted into groups that can only be taken together.
 */
import type { Source } from "../../../images/image.js";
import { IoError } from "../../../images/io-error.js";
import { readFully } from "../../../versions/block-cache.js";
import { Attributes, FileType } from "../../filesystem.js";
import { directoryChecksumIsRight } from "../dirblock.js";
import { Inode, InodeFlags } from "../inode.js";
import { type Accepted, copyInode, isLive } from "./accepted.js";
import { judge, Verdict } from "./agree.js";
import { Entity } from "./entity.js";
import { type NameVisitor, visitInlineNames, visitNames } from "./names.js";

/** What can be taken of a candidate. */
export interface Taken {
  /** Blocks and their bytes; also of such as are no metadata any longer. */
  readonly blocks: Map<number, Buffer>;
  readonly entities: readonly Entity[];
  /** Inodes that do not agree, but are taken all the same. */
  readonly forced: readonly number[];
  /** Inodes that are not taken. */
  readonly held: readonly number[];
}

type Names = Map<string, { readonly ino: number; readonly type: number }>;

/** An inode's blocks in one version. */
interface Side {
  readonly inode: Inode;
  readonly isLive: boolean;
  readonly maps: Set<number>;
  readonly contents: Set<number>;
  allocated: number;
  isBad: boolean;
}

export class Candidate {
  readonly #source: Source;
  readonly #accepted: Accepted;
  readonly #blocks: Map<number, Buffer>;
  readonly #entities = new Map<number, Entity>();
  readonly #claimed = new Map<number, Entity>();
  /** Blocks that have not been looked into, and claims that have not been checked. */
  readonly #unseen: number[];
  readonly #unchecked: Array<readonly [Entity, number]> = [];
  readonly #scratch: Inode;
  readonly #stat = new Attributes();
  #room: number;

  /**
   * `changed`: blocks that differ from those of the version that has been agreed on; `room`: how many more may come with
   * them. Throws IoError.
   */
  constructor(source: Source, accepted: Accepted, changed: ReadonlyMap<number, Buffer>, room: number) {
    this.#source = source;
    this.#accepted = accepted;
    this.#blocks = new Map(changed);
    this.#unseen = [...changed.keys()];
    this.#room = room;
    this.#scratch = new Inode(accepted.parts.geometry);
    for (;;) {
      const block = this.#unseen.pop();
      const claim = block === undefined ? this.#unchecked.pop() : undefined;
      if (block !== undefined) this.#examine(block);
      else if (claim !== undefined) this.#check(...claim);
      else break;
    }
    this.#joinBlocks();
  }

  /** Whether there was not enough room. */
  get isTooMuch(): boolean {
    return this.#room < 0;
  }

  /**
   * Takes those groups of which every part agrees; and others if one of their inodes `mustGo`, which is told how far from
   * agreeing the group is (a Verdict).
   */
  take(mustGo: (ino: number, verdict: number) => boolean): Taken {
    const verdicts = new Map<Entity, number>();
    const disagreeing: Entity[] = [];
    for (const entity of this.#entities.values()) {
      const verdict = judge(this.#accepted, entity, this.#table(entity.ino));
      if (verdict === Verdict.AGREES) continue;
      verdicts.set(entity.group, Math.max(verdict, verdicts.get(entity.group) ?? 0));
      disagreeing.push(entity);
    }
    const overdue = new Set<Entity>();
    for (const { ino, group } of this.#entities.values()) {
      const verdict = verdicts.get(group);
      if (verdict !== undefined && mustGo(ino, verdict)) overdue.add(group);
    }
    const isHeld = ({ group }: Entity) => verdicts.has(group) && !overdue.has(group);
    const entities = [...this.#entities.values()].filter((entity) => !isHeld(entity));
    const held = [...this.#entities.values()].filter(isHeld);
    return {
      blocks: this.#composed(entities, held),
      entities,
      forced: disagreeing.filter(({ group }) => overdue.has(group)).map(({ ino }) => ino),
      held: held.map(({ ino }) => ino),
    };
  }

  /** The candidate's blocks without what is held: inodes that are lie among others in the blocks of their tables. */
  #composed(taken: readonly Entity[], held: readonly Entity[]): Map<number, Buffer> {
    const { kept, places } = this.#accepted;
    const blocks = new Map(this.#blocks);
    for (const { ino, blocks: own } of held) {
      for (const block of own) blocks.delete(block);
      const table = places.tableBlock(ino);
      if (blocks.has(table)) blocks.set(table, this.#without(ino, table, blocks.get(table) as Buffer));
    }
    for (const [block, bytes] of blocks) if (kept.get(block)?.equals(bytes) === true) blocks.delete(block);
    // With a directory's block, or a map's, goes the block that holds its inode, as that tells whose it is.
    for (const { ino, blocks: own } of taken) {
      const table = places.tableBlock(ino);
      const bytes = kept.get(table);
      if (own.length > 0 && bytes !== undefined && !blocks.has(table)) blocks.set(table, bytes);
    }
    return blocks;
  }

  /** A block of an inode table with one inode as it was. */
  #without(ino: number, table: number, bytes: Buffer): Buffer {
    const copy = bytes === this.#blocks.get(table) ? Buffer.from(bytes) : bytes;
    this.#accepted.inode(ino, this.#scratch).raw.copy(copy, this.#accepted.placeInTable(ino));
    return copy;
  }

  #examine(block: number): void {
    const { kept, owners, parts, places } = this.#accepted;
    const now = this.#blocks.get(block) as Buffer;
    for (const bitmap of places.bitmapsOf(block, now)) this.#bytes(bitmap);
    for (const table of places.tableBlocksOf(block, now)) this.#bytes(table);
    const first = places.tables.firstInode(block);
    if (first === 0) {
      const owner = owners.get(block);
      if (owner !== undefined) this.#touch(owner);
      return;
    }
    const { inodeSize } = parts.geometry;
    const old = kept.get(block) ?? Buffer.alloc(now.length);
    for (let n = 0, at = 0; n < places.inodesPerBlock; n++, at += inodeSize) {
      if (now.compare(old, at, at + inodeSize, at, at + inodeSize) !== 0) this.#touch(first + n);
    }
  }

  #entity(ino: number): Entity {
    let entity = this.#entities.get(ino);
    if (entity === undefined) {
      entity = new Entity(ino);
      this.#entities.set(ino, entity);
    }
    return entity;
  }

  #touch(ino: number): void {
    const entity = this.#entity(ino);
    if (entity.isTouched) return;
    entity.isTouched = true;
    const old = this.#oldSide(ino);
    const now = this.#nowSide(entity);
    entity.hasChanged = !old.inode.raw.equals(now.inode.raw);
    entity.isWrong ||= now.isBad && !old.isBad;
    this.#attributes(entity, old, now);
    const had = [...old.maps, ...old.contents];
    const has = [...now.maps, ...now.contents];
    entity.claims = has.filter((block) => !old.maps.has(block) && !old.contents.has(block));
    entity.releases = new Set(had.filter((block) => !now.maps.has(block) && !now.contents.has(block)));
    for (const block of new Set([...had, ...has])) if (this.#blocks.has(block)) entity.blocks.push(block);
    entity.missed = this.#missing(old);
    entity.missing = this.#missing(now);
    for (const block of entity.claims) {
      this.#claimed.set(block, entity);
      this.#unchecked.push([entity, block]);
    }
    if (isDirectory(old) || isDirectory(now)) this.#compareNames(entity, old, now);
  }

  #oldSide(ino: number): Side {
    const { kept, owners, parts } = this.#accepted;
    const inode = this.#accepted.inode(ino, new Inode(parts.geometry));
    return this.#side(inode, (block) =>
      owners.get(block) === ino ? (kept.get(block) ?? NOTHING) : undefined,
    );
  }

  #nowSide(entity: Entity): Side {
    const { parts, places } = this.#accepted;
    const inode = copyInode(this.#accepted, entity.ino, this.#table(entity.ino), new Inode(parts.geometry));
    const side = this.#side(inode, (block) => {
      const other = this.#claimed.get(block);
      if (places.isFixed(block) || other !== undefined) {
        entity.isWrong = true;
        if (other !== undefined) entity.join(other);
        return undefined;
      }
      return this.#bytes(block);
    });
    return side;
  }

  #side(inode: Inode, bytesOf: (block: number) => Buffer | undefined): Side {
    const { fileBlocks } = this.#accepted;
    const side: Side = {
      inode,
      isLive: isLive(inode),
      maps: new Set(),
      contents: new Set(),
      allocated: 0,
      isBad: false,
    };
    if (!side.isLive) return side;
    const enter = (to: Set<number>, block: number): Buffer | undefined => {
      if (side.maps.has(block) || side.contents.has(block)) return undefined;
      const bytes = bytesOf(block);
      if (bytes === undefined) return undefined;
      to.add(block);
      return bytes.length === 0 ? undefined : bytes;
    };
    fileBlocks.visit(inode, {
      map: (block) => enter(side.maps, block),
      content: (block) => {
        enter(side.contents, block);
      },
    });
    side.allocated = fileBlocks.allocated;
    side.isBad = fileBlocks.isBad;
    return side;
  }

  #attributes(entity: Entity, old: Side, now: Side): void {
    const { fileBlocks, places } = this.#accepted;
    const before = old.isLive ? fileBlocks.attributes(old.inode) : 0;
    const after = now.isLive ? fileBlocks.attributes(now.inode) : 0;
    if (after !== 0 && !places.isFixed(after)) {
      this.#bytes(after);
      if (this.#blocks.has(after)) entity.blocks.push(after);
    }
    if (before === after) return;
    if (before !== 0 && this.#blocks.has(before)) entity.blocks.push(before);
    if (before !== 0) entity.shares.push([before, -1]);
    if (after !== 0 && !places.isFixed(after)) entity.shares.push([after, 1]);
  }

  /** A block must have been given back before another inode has it. */
  #check(entity: Entity, block: number): void {
    const owner = this.#accepted.owners.get(block);
    if (owner === undefined || owner === entity.ino) return;
    this.#touch(owner);
    const other = this.#entity(owner);
    entity.join(other);
    if (!other.releases.has(block)) entity.isWrong = true;
  }

  #compareNames(entity: Entity, old: Side, now: Side): void {
    const { kept } = this.#accepted;
    const before: Names = new Map();
    const after: Names = new Map();
    const isBoth = (block: number) => old.contents.has(block) && now.contents.has(block);
    const concerns = (block: number) => this.#blocks.has(block) || !isBoth(block);
    const wasGood = !isDirectory(old) || this.#collect(old, before, concerns, (block) => kept.get(block));
    const isGood = !isDirectory(now) || this.#collect(now, after, concerns, (block) => this.#bytes(block));
    if (wasGood && !isGood) entity.isWrong = true;
    for (const [name, { ino }] of before) {
      if (after.get(name)?.ino === ino) continue;
      const lost = this.#entity(ino);
      lost.lost++;
      lost.join(entity);
    }
    for (const [name, { ino, type }] of after) {
      if (before.get(name)?.ino === ino) continue;
      if (!this.#isNameable(ino)) {
        entity.isWrong = true;
        continue;
      }
      const got = this.#entity(ino);
      got.got++;
      if (type !== 0) got.nameType = type;
      if (name !== "." && name !== "..") got.isNamed = true;
      else if (name === "." && ino !== entity.ino) entity.isWrong = true;
      got.join(entity);
    }
  }

  #collect(
    side: Side,
    names: Names,
    concerns: (block: number) => boolean,
    bytesOf: (block: number) => Buffer | undefined,
  ): boolean {
    const { directoryBlock, parts } = this.#accepted;
    const visitor: NameVisitor = (buffer, at, length, ino, type) => {
      names.set(buffer.toString("latin1", at, at + length), { ino, type });
    };
    if (side.inode.hasFlag(InodeFlags.INLINE_DATA))
      return visitInlineNames(parts.directories, side.inode, directoryBlock, visitor);
    let isGood = true;
    for (const block of side.contents) {
      const bytes = concerns(block) ? bytesOf(block) : undefined;
      if (bytes === undefined) continue;
      const isRight = this.#hasRightChecksum(side.inode, bytes);
      isGood = visitNames(directoryBlock, bytes, visitor) && isRight && isGood;
    }
    return isGood;
  }

  #hasRightChecksum(directory: Inode, bytes: Buffer): boolean {
    const { geometry, inodes } = this.#accepted.parts;
    if (!geometry.checksums) return true;
    inodes.setSeed(directory);
    const isIndexed = directory.hasFlag(InodeFlags.INDEX);
    return directoryChecksumIsRight(bytes, 0, bytes.length, directory.checksumSeed, isIndexed);
  }

  /** Whether there is an inode of that number; then the block that holds it is at hand. */
  #isNameable(ino: number): boolean {
    const table = this.#accepted.places.tableBlock(ino);
    return table !== 0 && this.#bytes(table) !== undefined;
  }

  /** The block that holds an inode, as the candidate has it. */
  #table(ino: number): Buffer | undefined {
    const table = this.#accepted.places.tableBlock(ino);
    return this.#blocks.get(table) ?? this.#accepted.kept.get(table);
  }

  /** How many blocks an inode counts that its map does not lead to. */
  #missing(side: Side): number {
    const { geometry, inodes } = this.#accepted.parts;
    // There, blocks are given out by the cluster.
    if (!side.isLive || geometry.clusterBlocks > 1) return 0;
    try {
      inodes.attributes(side.inode, this.#stat);
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      return 0;
    }
    return (this.#stat.blocks * 512) / geometry.blockSize - side.allocated;
  }

  /** A block as it is now; one that was no metadata so far is read. Undefined if it cannot be had. */
  #bytes(block: number): Buffer | undefined {
    const known = this.#blocks.get(block) ?? this.#accepted.kept.get(block);
    if (known !== undefined) return known;
    if (--this.#room < 0) return undefined;
    const { blockSize } = this.#accepted.parts.geometry;
    const bytes = Buffer.allocUnsafeSlow(blockSize);
    if (readFully(this.#source, bytes, blockSize, block * blockSize) < blockSize) return undefined;
    this.#blocks.set(block, bytes);
    this.#unseen.push(block);
    return bytes;
  }

  #joinBlocks(): void {
    const first = new Map<number, Entity>();
    for (const entity of this.#entities.values()) {
      for (const block of entity.blocks) {
        const other = first.get(block);
        if (other === undefined) first.set(block, entity);
        else other.join(entity);
      }
    }
  }
}

/** In place of a block that could not be read. */
const NOTHING = Buffer.alloc(0);

function isDirectory({ isLive, inode }: Side): boolean {
  return isLive && inode.type === FileType.DIRECTORY;
}
