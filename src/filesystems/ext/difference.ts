/** What a transaction changes: the inodes that differ, and the names that no longer stand for what they stood for. */
import { IoError } from "../../images/io-error.js";
import type { Commit } from "../../versions/commit.js";
import type { AttributeValues, Changes, InodeChange, Listing, NameChange } from "../changes.js";
import { FileType } from "../filesystem.js";
import { DirectoryBlock } from "./dirblock.js";
import { Incompat } from "./features.js";
import { GOOD_OLD_SIZE, Inode, InodeFlags } from "./inode.js";
import { inodeChange, targetOf } from "./inode-change.js";
import { attributeValues, inodeState } from "./inode-state.js";
import { InodeTables } from "./inode-tables.js";
import type { Parts } from "./parts.js";
import { Run } from "./run.js";

/** Names of a directory, one character a byte, and the inodes that they stand for. */
type Names = Map<string, number>;

/** An inode that the transaction may have changed, as it was. */
interface Touched {
  readonly ino: number;
  readonly old: Inode;
  /** The raw inode as the transaction has it. */
  readonly after: Buffer;
  readonly isSame: boolean;
  /** Whether `old` and what follows may be of this or a later version instead, or could not be read. */
  isUnsure: boolean;
  /** Of a directory: the names in those of its blocks that the transaction logs; all, if it is gone. */
  readonly names: Names;
  /** Undefined: they are the same, or of no account. */
  readonly attributes: AttributeValues | undefined;
}

const NO_NAMES: Names = new Map();
const NOT_A_DIRECTORY = { names: NO_NAMES, isWhole: true };
const NO_ATTRIBUTES: AttributeValues = new Map();

/** Commits with which a directory is listed again that could not be read as a whole. */
const READ_AGAIN = 50;
/** Directories that wait to be listed. */
const MOST_UNLISTED = 10_000;

/** What is known of transactions that are finished, and not applied yet. */
export interface Later {
  /** Takes in what is finished by now: to be called after blocks have been read, and before they are asked about. */
  look(): void;
  /**
   * Whether a block, as it was found in its place, may be of a version after the one that is being left: transactions are
   * taken some milliseconds after they were finished, and by then their blocks can be in their places.
   */
  isNewer(block: number, bytes: Buffer, at: number): boolean;
  /** Whether the commit that is being applied is the last one that is finished. */
  isLast(): boolean;
}

/** For what is compared with copies of its own. */
export const NOTHING_LATER: Later = { look: () => {}, isNewer: () => false, isLast: () => true };

/** Finds what commits change; one for each composition of parts. */
export class Difference {
  readonly #parts: Parts;
  readonly #tables: InodeTables;
  readonly #block: DirectoryBlock;
  readonly #run = new Run();
  readonly #perBlock: number;
  /** Directories that have changed, and whose names were of later versions when they were looked at. */
  readonly #unlisted: Set<number>;
  /** Those that could not be read as a whole, and with how many commits more that is tried. */
  readonly #unread = new Map<number, number>();

  /** `before`: the one for the parts that these take the place of. */
  constructor(parts: Parts, before?: Difference) {
    this.#parts = parts;
    this.#unlisted = new Set(before === undefined ? [] : before.#unlisted);
    this.#tables = new InodeTables(parts.geometry, parts.groups);
    this.#block = new DirectoryBlock(parts.geometry.blockSize, parts.geometry.hasIncompat(Incompat.FILETYPE));
    this.#perBlock = parts.geometry.blockSize / parts.geometry.inodeSize;
  }

  /**
   * Applies the commit to the parts' view, and tells what differs between before and after. `later` is asked after the
   * blocks have been read.
   */
  apply(commit: Commit, later: Later): Changes {
    const { view } = this.#parts;
    const logged = new Set(commit.blocks);
    const reads: (readonly number[])[] = [];
    const touched = this.#touched(commit, logged, reads);
    this.#doubt(touched, reads, later);
    view.apply(commit);
    this.#parts.forget();
    // A block that is in no inode table may hold the map of any file whose inode is logged beside it.
    const hasOther = commit.blocks.some((block) => this.#tables.firstInode(block) === 0);
    const inodes: InodeChange[] = [];
    const names: NameChange[] = [];
    const unsureInodes: InodeChange[] = [];
    const unsureDirectories: Listing[] = [];
    const now = new Inode(this.#parts.geometry);
    for (const one of touched) {
      one.after.copy(now.raw);
      now.ino = one.ino;
      this.#parts.inodes.setSeed(now);
      if (one.isUnsure) {
        unsureInodes.push(this.#unsureChange(one.ino, now));
        if (isDirectory(one.old) || isDirectory(now)) {
          const generation = generationOf(isDirectory(now) ? now.raw : one.old.raw);
          unsureDirectories.push(this.#listing(one.ino, generation, now, later));
        }
        continue;
      }
      const change = inodeChange(this.#parts, one.ino, one.old, one.attributes, now);
      if (!one.isSame || change.attributes !== undefined || (hasOther && isRegular(now.mode)))
        inodes.push(change);
      if (!isDirectory(one.old) && !isDirectory(now)) continue;
      const isKnown = !this.#unlisted.has(one.ino) && !this.#unread.has(one.ino);
      if (!isKnown || !this.#compareNames(one, now, logged, names))
        unsureDirectories.push(this.#listing(one.ino, generationOf(one.old.raw), now, later));
    }
    const listed = new Set(unsureDirectories.map(({ directory }) => directory));
    for (const ino of [...this.#unlisted, ...this.#unread.keys()]) {
      if (!listed.has(ino)) unsureDirectories.push(...this.#listLate(ino, now, later));
    }
    return { inodes, names, unsureInodes, unsureDirectories, isPartial: this.#unlisted.size > 0 };
  }

  /** Marks what was read from blocks that may be newer. */
  #doubt(touched: readonly Touched[], reads: readonly (readonly number[])[], later: Later): void {
    later.look();
    const asked = new Map<number, boolean>();
    const doubtful = (block: number): boolean => {
      let answer = asked.get(block);
      if (answer === undefined) {
        answer = this.#isNewer(block, later);
        asked.set(block, answer);
      }
      return answer;
    };
    for (const [index, one] of touched.entries()) one.isUnsure ||= (reads[index] ?? []).some(doubtful);
  }

  /** Whether a block may be of another version; one that cannot be read may. */
  #isNewer(block: number, later: Later): boolean {
    const { view } = this.#parts;
    try {
      const bytes = view.locate(block);
      return view.isGone || later.isNewer(block, bytes, view.at);
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      return true;
    }
  }

  #unsureChange(ino: number, now: Inode): InodeChange {
    const { inodes, attributes } = this.#parts;
    const state = inodeState(inodes, now);
    const target = state === undefined ? undefined : targetOf(this.#parts, now);
    return {
      ino,
      old: undefined,
      now: state,
      ...(state === undefined
        ? {}
        : { attributes: { old: NO_ATTRIBUTES, now: attributeValues(attributes, now) } }),
      ...(target === undefined ? {} : { target }),
    };
  }

  /** All names of a directory as it is now; none of them if some of its blocks may be of a later version. */
  #listing(ino: number, generation: number, now: Inode, later: Later): Listing {
    const { view, directories } = this.#parts;
    this.#unlisted.delete(ino);
    const names = new Map<string, number>();
    if (!isDirectory(now)) {
      this.#unread.delete(ino);
      return { directory: ino, generation, names };
    }
    const reads = new Set<number>();
    view.noteReads(reads);
    const { names: stored, isWhole } = this.#names(now, undefined);
    view.noteReads(undefined);
    later.look();
    // What cannot be read even when all is taken in had no names that anybody was told of.
    const isLater = (!isWhole && !later.isLast()) || [...reads].some((block) => this.#isNewer(block, later));
    if (isLater && !later.isLast()) {
      if (this.#unlisted.size < MOST_UNLISTED) this.#unlisted.add(ino);
      return { directory: ino, generation, names: undefined };
    }
    const tries = (this.#unread.get(ino) ?? READ_AGAIN) - 1;
    if (isWhole || tries === 0) this.#unread.delete(ino);
    else if (this.#unread.size < MOST_UNLISTED) this.#unread.set(ino, tries);
    for (const [name, stands] of stored) {
      const shown = directories.shownName(now, Buffer.from(name, "latin1"));
      names.set(shown.toString("latin1"), stands);
    }
    return { directory: ino, generation, names, ...(isWhole ? {} : { isIncomplete: true }) };
  }

  /** The names of a directory that could not be listed when it had changed, if they can be now. */
  #listLate(ino: number, inode: Inode, later: Later): Listing[] {
    try {
      this.#parts.inodes.read(ino, inode);
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      this.#unlisted.delete(ino);
      this.#unread.delete(ino);
      return [];
    }
    const listing = this.#listing(ino, generationOf(inode.raw), inode, later);
    return listing.names === undefined ? [] : [listing];
  }

  /**
   * All inodes in use, before or after, in the blocks of inode tables that are logged: as they are before. Adds to
   * `reads`, for each, the blocks that were read for it in their places.
   */
  #touched(commit: Commit, logged: ReadonlySet<number>, reads: (readonly number[])[]): Touched[] {
    const { geometry, view } = this.#parts;
    const inTable = new Set<number>();
    const inOthers = new Set<number>();
    const touched: Touched[] = [];
    const block = Buffer.alloc(geometry.blockSize);
    for (const [index, number] of commit.blocks.entries()) {
      const first = this.#tables.firstInode(number);
      if (first === 0) continue;
      inTable.clear();
      view.noteReads(inTable);
      this.#readOld(number, block);
      const bytes = bytesOf(commit, index, geometry.blockSize);
      for (let n = 0; n < this.#perBlock; n++) {
        const at = n * geometry.inodeSize;
        const before = block.subarray(at, at + geometry.inodeSize);
        const after = bytes.subarray(at, at + geometry.inodeSize);
        if (modeOf(before) === 0 && modeOf(after) === 0) continue;
        inOthers.clear();
        view.noteReads(inOthers);
        touched.push(this.#touch(first + n, before, after, logged));
        reads.push([...inTable, ...inOthers]);
      }
    }
    view.noteReads(undefined);
    return touched;
  }

  #touch(ino: number, before: Buffer, after: Buffer, logged: ReadonlySet<number>): Touched {
    const old = new Inode(this.#parts.geometry);
    old.ino = ino;
    before.copy(old.raw);
    this.#parts.inodes.setSeed(old);
    const isSame = before.equals(after);
    const isGone = modeOf(after) === 0 || linksOf(after) === 0;
    const isOther =
      modeOf(before) === 0 || linksOf(before) === 0 || generationOf(before) !== generationOf(after);
    const mayDiffer = !isGone && !isOther && this.#attributesMayDiffer(old, before, after, logged);
    // The blocks of a directory that has been removed are not logged, but given back, and can be another file's by now.
    const { names, isWhole } = isDirectory(old)
      ? this.#names(old, isGone || isOther ? undefined : logged)
      : NOT_A_DIRECTORY;
    let isUnsure = !isWhole;
    const fail = () => {
      isUnsure = true;
    };
    const attributes = mayDiffer
      ? attributeValues(this.#parts.attributes, old, fail)
      : isOther && !isGone
        ? NO_ATTRIBUTES
        : undefined;
    return { ino, old, after, isSame, isUnsure, names, attributes };
  }

  #attributesMayDiffer(old: Inode, before: Buffer, after: Buffer, logged: ReadonlySet<number>): boolean {
    const block = this.#parts.inodes.attributeBlock(old);
    if (block !== 0 && logged.has(block)) return true;
    if (before.readUInt32LE(FILE_ACL_AT) !== after.readUInt32LE(FILE_ACL_AT)) return true;
    const { extraEnd } = old;
    return !before.subarray(extraEnd).equals(after.subarray(extraEnd));
  }

  /** The block as it was; zeros if it cannot be read: then all in it counts as new. */
  #readOld(block: number, into: Buffer): void {
    const { view } = this.#parts;
    try {
      const found = view.locate(block);
      found.copy(into, 0, view.at, view.at + into.length);
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      into.fill(0);
    }
  }

  /** Tells which names differ; false, and none, if its blocks cannot all be read. */
  #compareNames(touched: Touched, now: Inode, logged: ReadonlySet<number>, names: NameChange[]): boolean {
    const { old, ino } = touched;
    const generation = generationOf(isDirectory(old) ? old.raw : now.raw);
    const isThere = isDirectory(now) && linksOf(now.raw) !== 0;
    const { names: after, isWhole } = isThere ? this.#names(now, logged) : NOT_A_DIRECTORY;
    if (!isWhole) return false;
    const shown = (name: string) =>
      this.#parts.directories.shownName(isThere ? now : old, Buffer.from(name, "latin1"));
    // In a directory that took the number of another one, all names are new.
    const isAnother = generationOf(old.raw) !== generationOf(now.raw);
    for (const [name, before] of touched.names) {
      const stands = after.get(name) ?? 0;
      if (stands !== before || isAnother)
        names.push({ directory: ino, generation, name: shown(name), ino: before, now: stands });
    }
    for (const [name, stands] of after) {
      if (!touched.names.has(name))
        names.push({ directory: ino, generation, name: shown(name), ino: 0, now: stands });
    }
    return true;
  }

  /**
   * The names in those blocks of a directory that are logged (undefined: in all), or in the inode itself. `isWhole`: all
   * of them are good.
   */
  #names(inode: Inode, logged: ReadonlySet<number> | undefined): { names: Names; isWhole: boolean } {
    const names: Names = new Map();
    let isWhole = true;
    const { content, directories } = this.#parts;
    try {
      if (inode.hasFlag(InodeFlags.INLINE_DATA)) {
        for (let part = 0; part < 2; part++) {
          directories.enterInline(inode, inode.raw, part, this.#block);
          isWhole = this.#collect(names) && isWhole;
        }
        return { names, isWhole };
      }
      const blocks = directories.blocks(inode);
      for (let index = 0; index < blocks; index += this.#run.length) {
        content.map(inode, index, this.#run);
        if (!this.#run.isData) continue;
        const { physical } = this.#run;
        const length = Math.min(this.#run.length, blocks - index);
        for (const block of loggedWithin(logged, physical, length))
          isWhole = this.#namesIn(inode, block, names) && isWhole;
      }
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      isWhole = false;
    }
    return { names, isWhole };
  }

  /** Adds the names in a directory's block; false if it is bad. */
  #namesIn(inode: Inode, block: number, names: Names): boolean {
    const { directories, geometry, view } = this.#parts;
    try {
      const buffer = view.locate(block);
      const { at } = view;
      directories.verify(inode, buffer, at);
      this.#block.enter(buffer, at, geometry.blockSize);
      return this.#collect(names);
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      return false;
    }
  }

  /** False if an entry is bad. */
  #collect(names: Names): boolean {
    const block = this.#block;
    while (block.step()) {
      const { inode, nameAt, nameLength } = block;
      if (inode === 0) continue;
      const name = block.buffer.toString("latin1", nameAt, nameAt + nameLength);
      if (name !== "." && name !== "..") names.set(name, inode);
    }
    return !block.isBad;
  }
}

function* loggedWithin(
  logged: ReadonlySet<number> | undefined,
  first: number,
  length: number,
): Generator<number> {
  if (logged === undefined || length <= logged.size) {
    for (let n = 0; n < length; n++) if (logged?.has(first + n) !== false) yield first + n;
    return;
  }
  for (const block of logged) if (block >= first && block < first + length) yield block;
}

/** Offsets in struct ext4_inode. */
const MODE_AT = 0;
const LINKS_AT = 0x1a;
const GENERATION_AT = 0x64;
const FILE_ACL_AT = 0x68;

function modeOf(raw: Buffer): number {
  return raw.length >= GOOD_OLD_SIZE ? raw.readUInt16LE(MODE_AT) : 0;
}

function linksOf(raw: Buffer): number {
  return raw.readUInt16LE(LINKS_AT);
}

function generationOf(raw: Buffer): number {
  return raw.readUInt32LE(GENERATION_AT);
}

function bytesOf(commit: Commit, index: number, blockSize: number): Buffer {
  return Buffer.from(commit.bytes.buffer, commit.bytes.byteOffset + index * blockSize, blockSize);
}

/** i_mode stays when an inode is freed; then it has no names, and is no directory any more. */
function isDirectory(inode: Inode): boolean {
  return inode.type === FileType.DIRECTORY && linksOf(inode.raw) !== 0;
}

function isRegular(mode: number): boolean {
  return (mode & FileType.MASK) === FileType.REGULAR;
}
