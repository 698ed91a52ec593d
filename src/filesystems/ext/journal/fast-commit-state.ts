/**
 * What fast commits make of a file system, laid over it as the last full transaction left it: inodes, maps of files
 * and directories, each worked out when it is first asked for.
 *
 * It follows the kernel's replay (ext4_fc_replay_* in fs/ext4/fast_commit.c) but where that falls short of what the
 * guest had: the replay leaves the link counts of directories wrong in which directories come or go (a fsck rights
 * them), gives directories the time of the replay (here they keep their own), leaves a new file the attributes of the
 * deleted one that had its number, and loses names and bytes of a file that has no links in the midst of it.
 */
import type { Log } from "../../../images/image.js";
import { IoError } from "../../../images/io-error.js";
import { crc32c } from "../../../layout/crc32c.js";
import { EntryType, Errno, FileSystemError, FileType } from "../../filesystem.js";
import type { Content, MapOverlay } from "../content.js";
import type { Directories, DirectoryOverlay } from "../directory.js";
import { GOOD_OLD_SIZE, I_BLOCK, I_BLOCK_SIZE, Inode, InodeFlags, type Inodes } from "../inode.js";
import { Run } from "../run.js";
import type { Geometry } from "../superblock.js";
import type { FastCommit, FastCommitOperation } from "./fast-commit.js";
import { type AddedName, DirectoryChange } from "./fast-commit-directory.js";
import { ChangedMap, type MappedRange } from "./fast-commit-map.js";

/** The file system without its fast commits. */
export interface Committed {
  readonly geometry: Geometry;
  readonly inodes: Inodes;
  readonly content: Content;
  readonly directories: Directories;
}

/** An operation and the number of the fast commit that it belongs to. */
interface Step<Operation = FastCommitOperation> {
  readonly commit: number;
  readonly operation: Operation;
}

type EntryOperation = Extract<FastCommitOperation, { name: Buffer }>;

/** An inode as fast commits leave it. */
interface ChangedInode {
  readonly inode: Inode;
  /** Whether it is another file than the one that had its number before, if there was one. */
  readonly isNew: boolean;
  readonly isDeleted: boolean;
  /** Changes of its map, in order. */
  readonly ranges: readonly MappedRange[];
  /** The fast commit that recorded it last; -1: none did. */
  readonly recorded: number;
  /** Whether i_links_count is right: that of a directory is counted when it is asked for. */
  areLinksCounted: boolean;
}

/** i_links_count, i_generation and the two halves of i_checksum. */
const LINKS_AT = 0x1a;
const GENERATION_AT = 0x64;
const CHECKSUM_LO_AT = 0x7c;
const CHECKSUM_HI_AT = 0x82;
/** The header of an extent tree's root in i_block: its magic number, and how many entries it has room for. */
const EXTENT_MAGIC = 0xf30a;
const EXTENT_HEADER = 12;
const ROOT_ENTRIES = 4;
/** Links of a directory without others in it, and of any at most (EXT4_LINK_MAX). */
const OWN_LINKS = 2;
const MOST_LINKS = 65_000;
/** A map of more runs than this is not merged with changes: reading the file fails. */
const MOST_RUNS = 1_000_000;

export class FastCommitState implements MapOverlay, DirectoryOverlay {
  readonly #committed: Committed;
  readonly #log: Log;
  readonly #byInode = new Map<number, Step[]>();
  readonly #byDirectory = new Map<number, Step<EntryOperation>[]>();
  readonly #inodes = new Map<number, ChangedInode | undefined>();
  readonly #maps = new Map<number, ChangedMap | undefined>();
  readonly #directories = new Map<number, DirectoryChange>();
  #commits = 0;

  /**
   * `committed` must have no overlays set: give its users' own instances those. `log` is told of operations that make no
   * sense.
   */
  constructor(committed: Committed, log: Log) {
    this.#committed = committed;
    this.#log = log;
  }

  /** Takes one more fast commit, the next in order. Nothing is read yet. */
  add(operations: FastCommit): void {
    for (const operation of operations) this.#take(operation, this.#commits);
    this.#commits++;
  }

  /** All inodes that fast commits name, directories among them whose entries they change. */
  get touched(): ReadonlySet<number> {
    return new Set([...this.#byInode.keys(), ...this.#byDirectory.keys()]);
  }

  /** The names that fast commits give to a directory or take from it; some may stand as before. */
  touchedNames(directory: number): Buffer[] {
    const names = new Map<string, Buffer>();
    for (const { operation } of this.#byDirectory.get(directory) ?? []) {
      names.set(operation.name.toString("latin1"), operation.name);
    }
    return [...names.values()];
  }

  /**
   * The raw inode as it is now, its checksum right; i_mode is 0 if it has been deleted. Undefined: as the inode table
   * says. Throws IoError when the inode on the disk cannot be read.
   */
  inode(ino: number): Buffer | undefined {
    if (!this.#byInode.has(ino) && !this.#byDirectory.has(ino)) return undefined;
    const changed = this.#changed(ino);
    if (changed?.areLinksCounted === false) this.#countDirectoryLinks(changed);
    return changed?.inode.raw;
  }

  map(ino: number, logical: number, run: Run): boolean {
    if (!this.#byInode.has(ino)) return false;
    const map = this.#map(ino);
    map?.map(logical, run);
    return map !== undefined;
  }

  lookup(directory: number, name: Buffer): number | undefined {
    return this.#directory(directory)?.lookup(name);
  }

  stored(directory: number, name: Buffer, start: number, length: number): number {
    return this.#directory(directory)?.stored(name, start, length) ?? -1;
  }

  typeOf(directory: number, ino: number): number {
    return this.#directory(directory)?.typeOf(ino) ?? EntryType.UNKNOWN;
  }

  added(directory: number): readonly AddedName[] {
    return this.#directory(directory)?.added ?? [];
  }

  #take(operation: FastCommitOperation, commit: number): void {
    const { inodesCount } = this.#committed.geometry;
    const { kind, ino } = operation;
    if (ino < 1 || ino > inodesCount || ("parent" in operation && operation.parent > inodesCount)) {
      this.#log(`a fast commit's ${kind} record names an inode that does not exist: it is passed over`);
      return;
    }
    append(this.#byInode, ino, { commit, operation });
    this.#inodes.delete(ino);
    this.#maps.delete(ino);
    if (kind === "inode") this.#directories.delete(ino);
    if (!("parent" in operation)) return;
    append(this.#byDirectory, operation.parent, { commit, operation });
    // Its count of links, and with a new one its parent, are known by these.
    this.#inodes.delete(operation.parent);
    this.#directories.delete(ino);
    this.#directories.get(operation.parent)?.add(operation);
  }

  /** Undefined: the inode is not in use, or nothing has changed it. */
  #changed(ino: number): ChangedInode | undefined {
    if (this.#inodes.has(ino)) return this.#inodes.get(ino);
    const changed = this.#change(ino);
    this.#inodes.set(ino, changed);
    return changed;
  }

  #change(ino: number): ChangedInode | undefined {
    const { geometry } = this.#committed;
    let inode = this.#committedInode(ino);
    let isNew = false;
    let ranges: MappedRange[] = [];
    let recorded = -1;
    const steps = this.#byInode.get(ino) ?? [];
    for (const { commit, operation } of steps) {
      if (operation.kind === "add" || operation.kind === "delete") {
        if (inode !== undefined && this.#isRange(operation)) ranges.push(toRange(operation));
      } else if (operation.kind === "inode") {
        recorded = commit;
        if (inode === undefined || inode.raw.readUInt32LE(GENERATION_AT) !== generation(operation.raw)) {
          inode = new Inode(geometry);
          inode.ino = ino;
          isNew = true;
          ranges = [];
        }
        patch(inode, operation.raw);
      }
    }
    if (inode === undefined) return undefined;
    const isDeleted = countLinks(inode, steps, recorded);
    if (isDeleted) inode.raw.fill(0);
    else sign(inode, geometry);
    const areLinksCounted = isDeleted || inode.type !== FileType.DIRECTORY;
    return { inode, isNew, isDeleted, ranges: isDeleted ? [] : ranges, recorded, areLinksCounted };
  }

  #committedInode(ino: number): Inode | undefined {
    try {
      const { geometry, inodes } = this.#committed;
      return inodes.read(ino, new Inode(geometry));
    } catch (error) {
      if (error instanceof FileSystemError && error.errno === Errno.ESTALE) return undefined;
      throw error;
    }
  }

  /**
   * Sets a directory's i_links_count: a fast commit records only new ones, and these while others go on in them
   * (ext4_fc_perform_commit). It has a link from each directory in it, unless there are too many to count: then it has one.
   */
  #countDirectoryLinks(changed: ChangedInode): void {
    const { inode, isNew, recorded } = changed;
    changed.areLinksCounted = true;
    const links = inode.raw.readUInt16LE(LINKS_AT);
    const names = this.#directory(inode.ino);
    if (links === 1 || names === undefined) return;
    // The block of a new directory is not recorded: all names in it are counted here.
    const base = isNew && !inode.hasFlag(InodeFlags.INLINE_DATA) ? OWN_LINKS : links;
    const more = names.moreDirectories((ino) => this.#isDirectory(ino, isNew ? recorded : -1));
    const count = Math.max(OWN_LINKS, base + more);
    inode.raw.writeUInt16LE(count > MOST_LINKS ? 1 : count, LINKS_AT);
    sign(inode, this.#committed.geometry);
  }

  /** Whether an inode was a directory in a fast commit, or before it; -1: before all of them. */
  #isDirectory(ino: number, before: number): boolean {
    let mode: number | undefined;
    for (const { commit, operation } of this.#byInode.get(ino) ?? []) {
      if (commit <= before && operation.kind === "inode") mode = operation.raw.readUInt16LE(0);
    }
    mode ??= this.#committedMode(ino);
    return (mode & FileType.MASK) === FileType.DIRECTORY;
  }

  #isRange(operation: Extract<FastCommitOperation, { kind: "add" | "delete" }>): boolean {
    const { geometry } = this.#committed;
    if (operation.kind === "delete") return true;
    const { physical, length } = operation;
    if (physical > geometry.firstDataBlock && physical + length <= geometry.blocksCount) return true;
    this.#log(
      `inode ${operation.ino}: a fast commit adds blocks outside the file system: they are passed over`,
    );
    return false;
  }

  /** Undefined: the inode's own map holds. */
  #map(ino: number): ChangedMap | undefined {
    if (this.#maps.has(ino)) return this.#maps.get(ino);
    const changed = this.#changed(ino);
    const map =
      changed === undefined || changed.ranges.length === 0
        ? undefined
        : new ChangedMap([...this.#committedRanges(changed.inode), ...changed.ranges]);
    this.#maps.set(ino, map);
    return map;
  }

  /** What the inode's own map holds. Throws IoError for a bad map, or one that is too long. */
  #committedRanges(inode: Inode): MappedRange[] {
    const { content, geometry, inodes } = this.#committed;
    const ranges: MappedRange[] = [];
    const run = new Run();
    // A tree of extents tells where it ends; a map of indirect blocks is asked only for what the file's size reaches.
    const isTree = inode.hasFlag(InodeFlags.EXTENTS);
    const end = isTree ? 2 ** 32 : Math.ceil(inodes.size(inode) / geometry.blockSize);
    let looked = 0;
    for (let block = 0; block < end; block += run.length) {
      content.map(inode, block, run);
      if (run.physical !== 0) {
        ranges.push({ block, length: run.length, physical: run.physical, unwritten: run.unwritten });
      }
      if (++looked > MOST_RUNS) throw new IoError(Errno.EIO, `inode ${inode.ino}: a map of too many runs`);
    }
    return ranges;
  }

  #directory(ino: number): DirectoryChange | undefined {
    const known = this.#directories.get(ino);
    if (known !== undefined) return known;
    const steps = this.#byDirectory.get(ino) ?? [];
    const changed = this.#byInode.has(ino) ? this.#changed(ino) : undefined;
    const isNew = changed?.isNew === true && changed.inode.type === FileType.DIRECTORY;
    if (steps.length === 0 && !isNew) return undefined;
    const inode = changed?.inode ?? this.#committedInode(ino);
    if (inode === undefined || inode.type !== FileType.DIRECTORY) return undefined;
    const change = new DirectoryChange(
      inode,
      isNew ? this.#parentOf(ino) : 0,
      this.#committed.directories,
      (entry) => this.#modeOf(entry),
    );
    for (const { operation } of steps) change.add(operation);
    this.#directories.set(ino, change);
    return change;
  }

  /** The directory in which a new directory was made, as far as that is known. */
  #parentOf(ino: number): number {
    let parent = 0;
    for (const { operation } of this.#byInode.get(ino) ?? []) {
      if (operation.kind === "create") parent = operation.parent;
    }
    return parent;
  }

  /** 0: not in use, or bad. */
  #committedMode(ino: number): number {
    try {
      return this.#committedInode(ino)?.mode ?? 0;
    } catch (error) {
      if (error instanceof IoError) return 0;
      throw error;
    }
  }

  #modeOf(ino: number): number {
    return this.#byInode.has(ino) ? (this.#changed(ino)?.inode.mode ?? 0) : this.#committedMode(ino);
  }
}

/**
 * Corrects i_links_count, if the inode is no directory's, by the names that came and went in fast commits after the last
 * that recorded the inode itself: a record of an inode is as of the end of its commit. Returns whether the inode is gone.
 */
function countLinks(inode: Inode, steps: readonly Step[], recorded: number): boolean {
  const isDirectory = inode.type === FileType.DIRECTORY;
  let links = inode.raw.readUInt16LE(LINKS_AT);
  let isUnlinked = false;
  for (const { commit, operation } of steps) {
    if (commit <= recorded) continue;
    if (operation.kind === "unlink") {
      isUnlinked = true;
      links--;
    } else if (operation.kind === "link") links++;
  }
  if (isUnlinked && (isDirectory || links <= 0)) return true;
  if (!isDirectory) inode.raw.writeUInt16LE(Math.min(Math.max(0, links), 0xffff), LINKS_AT);
  return false;
}

function append<Value>(lists: Map<number, Value[]>, key: number, value: Value): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}

function generation(raw: Buffer): number {
  return raw.readUInt32LE(GENERATION_AT);
}

function toRange(operation: Extract<FastCommitOperation, { kind: "add" | "delete" }>): MappedRange {
  const { block, length } = operation;
  return operation.kind === "add"
    ? { block, length, physical: operation.physical, unwritten: operation.unwritten }
    : { block, length, physical: 0, unwritten: false };
}

/**
 * Takes over a recorded inode but for i_block (ext4_fc_replay_inode), which holds the root of its map, and the map is
 * recorded on its own. Where i_block is no map, it is taken as well.
 */
function patch(inode: Inode, recorded: Buffer): void {
  const { raw } = inode;
  recorded.copy(raw, 0, 0, I_BLOCK);
  recorded.copy(raw, GENERATION_AT, GENERATION_AT);
  if (inode.hasFlag(InodeFlags.EXTENTS)) {
    if (raw.readUInt16LE(I_BLOCK) === EXTENT_MAGIC) return;
    raw.fill(0, I_BLOCK, I_BLOCK + EXTENT_HEADER);
    raw.writeUInt16LE(EXTENT_MAGIC, I_BLOCK);
    raw.writeUInt16LE(ROOT_ENTRIES, I_BLOCK + 4);
  } else if (inode.hasFlag(InodeFlags.INLINE_DATA) || !hasMap(inode)) {
    recorded.copy(raw, I_BLOCK, I_BLOCK, I_BLOCK + I_BLOCK_SIZE);
  }
}

/** Whether i_block of an inode without extents or inline data is a map: not so of short links and device nodes. */
function hasMap(inode: Inode): boolean {
  return inode.type === FileType.REGULAR || inode.type === FileType.DIRECTORY;
}

/** Sets i_checksum, and the seed of what belongs to the inode (ext4_inode_csum_set). */
function sign(inode: Inode, geometry: Geometry): void {
  if (!geometry.checksums) return;
  const { raw } = inode;
  NUMBERS.writeUInt32LE(inode.ino, 0);
  NUMBERS.writeUInt32LE(generation(raw), 4);
  inode.checksumSeed = crc32c(geometry.checksumSeed, NUMBERS, 0, 8);
  const hasHigh = raw.length > GOOD_OLD_SIZE && inode.extraEnd >= CHECKSUM_HI_AT + 2;
  raw.writeUInt16LE(0, CHECKSUM_LO_AT);
  if (hasHigh) raw.writeUInt16LE(0, CHECKSUM_HI_AT);
  const sum = crc32c(inode.checksumSeed, raw, 0, raw.length);
  raw.writeUInt16LE(sum & 0xffff, CHECKSUM_LO_AT);
  if (hasHigh) raw.writeUInt16LE(sum >>> 16, CHECKSUM_HI_AT);
}

const NUMBERS = Buffer.alloc(8);
