/** ext2, ext3 and ext4 behind the interface of all file systems. */
import type { Log } from "../../images/image.js";
import { type Commit, isAfter, type LogicalChanges } from "../../versions/commit.js";
import type { View } from "../../versions/view.js";
import {
  type Attributes,
  type EntryVisitor,
  Errno,
  type FileSystem,
  FileSystemError,
  FileType,
  type Standing,
  type Statistics,
} from "../filesystem.js";
import { Compat, typeOf } from "./features.js";
import { FreedBlocks } from "./freed-blocks.js";
import { HeldSizes } from "./held-sizes.js";
import { countInlineData, Inode, InodeFlags } from "./inode.js";
import { InodeTables } from "./inode-tables.js";
import { type FastCommit, fastCommitOperations } from "./journal/fast-commit.js";
import { Lookout } from "./lookout.js";
import { Parts } from "./parts.js";
import { freeSpace, overheadBlocks, reservedForExtents } from "./space.js";
import type { Geometry } from "./superblock.js";
import { readInline, symlinkTarget } from "./symlink.js";
import { committedGeometry, type OpenJournal, superblockBlock, type Version } from "./version.js";

/** EXT4_ROOT_INO */
const ROOT_INODE = 2;

/** One version of an ext file system. */
export class ExtFileSystem implements FileSystem {
  readonly type: string;
  readonly label: string;
  readonly uuid: string;
  readonly rootInode = ROOT_INODE;
  readonly #log: Log;
  readonly #journal: OpenJournal | undefined;
  readonly #lookout: Lookout | undefined;
  /** Reads of the image that have been looked after. */
  #reads = 0;
  #copyReads = 0;
  readonly #held: HeldSizes;
  #tables: InodeTables | undefined;
  #freed: FreedBlocks | undefined;
  #sequence: number | undefined;
  /** How many fast commits there are in force. */
  #fastCommits: number;
  #parts!: Parts;
  #inode!: Inode;
  /** A visitor may stat what it is told of, which uses the inode above: so listing has one of its own. */
  #listed!: Inode;
  #overhead = -1;

  constructor(version: Version, log: Log) {
    const { geometry } = version;
    this.type = typeOf(geometry.compat, geometry.incompat, geometry.roCompat);
    this.label = geometry.label;
    this.uuid = geometry.uuid;
    this.#log = log;
    const { journal } = version;
    this.#journal = journal;
    this.#lookout = journal === undefined ? undefined : new Lookout(journal, log);
    this.#held = new HeldSizes(geometry.blockSize);
    this.#sequence = version.sequence;
    this.#fastCommits = version.fastCommits.length;
    this.#compose(version.geometry, version.view, version.fastCommits);
  }

  /**
   * Moves on to the next committed version. Commits that this one has already been opened with are passed over. Throws
   * IoError when the superblock has become bad.
   */
  apply(commit: Commit): void {
    if (this.#sequence !== undefined && !isAfter(commit.sequence, this.#sequence)) return;
    const { logical } = commit;
    if (logical !== undefined) {
      this.#addFastCommit(logical);
      return;
    }
    this.#sequence = commit.sequence;
    if (commit.next !== undefined) this.#journal?.journal.pass(commit.sequence, commit.next);
    const { view, geometry } = this.#parts;
    this.#tables ??= new InodeTables(geometry, this.#parts.groups);
    this.#held.addFrom(commit, this.#parts, this.#tables);
    // A full transaction has in it what the fast commits before it said.
    this.#fastCommits = 0;
    this.#parts.dropFastCommits();
    view.apply(commit);
    this.#dropFreed(commit.blocks);
    this.#overhead = -1;
    if (commit.blocks.includes(superblockBlock(view)))
      this.#compose(committedGeometry(view, geometry, this.#log), view, []);
    else this.#parts.forget();
  }

  /** Copies of transactions before this one are in their places. */
  settle(sequence: number): void {
    this.#parts.view.settle(sequence);
  }

  /** Looks at the journal, if the image was read since. What was begun in it is taken in. Throws IoError. */
  standing(): Standing {
    if (this.#journal === undefined || this.#lookout === undefined) return "current";
    const { source } = this.#journal;
    if (source.reads === this.#reads) return "current";
    const { view } = this.#parts;
    const standing = this.#lookout.look(this, view.copyReads !== this.#copyReads);
    this.#reads = source.reads;
    this.#copyReads = view.copyReads;
    return standing;
  }

  /** Forgets what was read of blocks in their places. */
  reread(): void {
    this.#parts.view.forgetPlaces();
    this.#parts.forget();
    this.#overhead = -1;
  }

  /** Forgets all that was read: for a file system whose changes nobody tells of. */
  forget(): void {
    this.#parts.view.forgetAll();
    this.#parts.forget();
    this.#overhead = -1;
  }

  stat(ino: number, out: Attributes): void {
    const inode = this.#parts.inodes.read(ino, this.#inode);
    this.#parts.inodes.attributes(inode, out);
    if (!this.#held.isEmpty) out.size = this.#held.shown(inode, out.generation, out.size, this.#parts);
    countInlineData(inode, out);
    // The kernel tells the length of what readlink gives, as an encrypted target is longer as shown.
    if (inode.type === FileType.LINK && inode.hasFlag(InodeFlags.ENCRYPT))
      out.size = symlinkTarget(this.#parts, inode).length;
  }

  lookup(directory: number, name: Buffer, asListed = false): number {
    return this.#parts.directories.lookup(this.#parts.inodes.read(directory, this.#inode), name, asListed);
  }

  foldsNames(directory: number): boolean {
    return this.#parts.inodes.read(directory, this.#inode).hasFlag(InodeFlags.CASEFOLD);
  }

  parent(directory: number): number {
    if (directory === ROOT_INODE) return ROOT_INODE;
    return this.#parts.directories.parent(this.#parts.inodes.read(directory, this.#inode));
  }

  list(directory: number, position: number, visitor: EntryVisitor): void {
    this.#parts.directories.list(this.#parts.inodes.read(directory, this.#listed), position, visitor);
  }

  read(ino: number, position: number, length: number, target: Buffer, targetOffset: number): number {
    const inode = this.#parts.inodes.read(ino, this.#inode);
    if (inode.type === FileType.DIRECTORY)
      throw new FileSystemError(Errno.EISDIR, `inode ${ino} is a directory`);
    if (inode.type !== FileType.REGULAR)
      throw new FileSystemError(Errno.EINVAL, `inode ${ino} is not a regular file`);
    if (inode.hasFlag(InodeFlags.ENCRYPT))
      throw new FileSystemError(Errno.ENOKEY, `inode ${ino} is encrypted`);
    const size = this.#size(inode);
    const there = Math.max(0, Math.min(length, size - position));
    if (there === 0) return 0;
    if (inode.hasFlag(InodeFlags.INLINE_DATA))
      readInline(this.#parts, inode, position, there, target, targetOffset);
    else this.#parts.content.read(inode, position, there, target, targetOffset);
    return there;
  }

  seek(ino: number, position: number, hole: boolean): number {
    const inode = this.#parts.inodes.read(ino, this.#inode);
    const size = this.#size(inode);
    if (position >= size) return -1;
    if (inode.hasFlag(InodeFlags.INLINE_DATA)) return hole ? size : position;
    const found = this.#parts.content.seek(inode, position, size, hole);
    return found >= size && !hole ? -1 : found;
  }

  readlink(ino: number): Buffer {
    const inode = this.#parts.inodes.read(ino, this.#inode);
    if (inode.type !== FileType.LINK)
      throw new FileSystemError(Errno.EINVAL, `inode ${ino} is no symbolic link`);
    return symlinkTarget(this.#parts, inode);
  }

  attributeNames(ino: number): string[] {
    return this.#parts.attributes.names(this.#parts.inodes.read(ino, this.#inode));
  }

  attribute(ino: number, name: string): Buffer | undefined {
    const inode = this.#parts.inodes.read(ino, this.#inode);
    return this.#parts.attributes.any(inode) ? this.#parts.attributes.value(inode, name) : undefined;
  }

  /** As the kernel counts (ext4_statfs): blocks that are the file system's own are not the user's. */
  statistics(out: Statistics): void {
    const { geometry, groups } = this.#parts;
    if (this.#overhead < 0) this.#overhead = overheadBlocks(geometry, groups, this.#journalBlocks());
    const free = freeSpace(groups);
    const reserved = geometry.reservedBlocks + reservedForExtents(geometry);
    out.blockSize = geometry.blockSize;
    out.blocks = Math.max(0, geometry.blocksCount - this.#overhead);
    out.blocksFree = free.clusters * geometry.clusterBlocks;
    out.blocksAvailable = Math.max(0, out.blocksFree - reserved);
    out.files = geometry.inodesCount;
    out.filesFree = free.inodes;
    out.nameLength = 255;
  }

  #addFastCommit({ number, records }: LogicalChanges): void {
    if (number <= this.#fastCommits) return;
    this.#fastCommits = number;
    const blocks = Buffer.from(records.buffer, records.byteOffset, records.length);
    const operations = fastCommitOperations(blocks, this.#parts.geometry.blockSize);
    this.#held.addFromFastCommit(operations, this.#parts);
    this.#parts.addFastCommit(operations);
  }

  /** The size up to which a file is shown. */
  #size(inode: Inode): number {
    const size = this.#parts.inodes.size(inode);
    return this.#held.isEmpty ? size : this.#held.shown(inode, inode.fields.i_generation, size, this.#parts);
  }

  #compose(geometry: Geometry, view: View, fastCommits: readonly FastCommit[]): void {
    this.#parts = new Parts(geometry, view, this.#log, fastCommits);
    this.#tables = undefined;
    this.#freed = undefined;
    this.#inode = new Inode(geometry);
    this.#listed = new Inode(geometry);
  }

  #dropFreed(logged: Iterable<number>): void {
    const { geometry, groups, view } = this.#parts;
    this.#freed ??= new FreedBlocks(geometry, groups);
    this.#freed.drop(view, logged);
  }

  #journalBlocks(): number {
    if (!this.#parts.geometry.hasCompat(Compat.HAS_JOURNAL) || this.#parts.geometry.journalInode === 0)
      return 0;
    const inode = this.#parts.inodes.read(this.#parts.geometry.journalInode, this.#inode);
    return Math.floor(this.#parts.inodes.size(inode) / this.#parts.geometry.blockSize);
  }
}
