/** Directories: listing, and looking a name up, in blocks (linear or with a hash tree) and inline in the inode. */

import type { Log } from "../../images/image.js";
import { EIO, IoError } from "../../images/io-error.js";
import type { View } from "../../versions/view.js";
import { EntryType, type EntryVisitor, Errno, FileSystemError, FileType } from "../filesystem.js";
import type { Content } from "./content.js";
import { DirectoryBlock, directoryChecksumIsRight } from "./dirblock.js";
import { directoryHash, HashVersion, minorHash } from "./dirhash.js";
import { Compat, Incompat } from "./features.js";
import { type DirectoryBlocks, HashTree } from "./hashtree.js";
import { I_BLOCK, I_BLOCK_SIZE, type Inode, InodeFlags, type Inodes } from "./inode.js";
import { foldCase, noKeyName } from "./names.js";
import { Run } from "./run.js";
import type { Geometry } from "./superblock.js";
import type { ExtendedAttributes } from "./xattr.js";

/** The most blocks of one directory that are looked through in one go: a hostile map can be endless. */
const MOST_BLOCKS = 65536;
/** An inline directory begins with its parent's inode number; "." and ".." are not stored. */
const INLINE_PARENT = 4;
/** Positions in an inline directory: 1 is after ".", 2 after "..", from here on come the stored entries. */
const INLINE_ENTRIES = 16;
/** How many directories are remembered as having a bad block. */
const MOST_REMEMBERED = 10_000;

const DOT = Buffer.from(".");
const DOT_DOT = Buffer.from("..");

/** Changes to directories that are not in their blocks (fast commits make them). */
export interface DirectoryOverlay {
  /** The inode of a name; 0: it has been removed; undefined: as the blocks say. */
  lookup(directory: number, name: Buffer): number | undefined;
  /** The inode that a stored name stands for now; 0: none; -1: as stored. */
  stored(directory: number, name: Buffer, start: number, length: number): number;
  /** The type of an inode that a stored name stands for now; see EntryType. */
  typeOf(directory: number, ino: number): number;
  /**
   * Names that are not in the blocks, by their positions among all that ever were not: these stay the same, as listings
   * go on from them.
   */
  added(directory: number): readonly {
    readonly name: Buffer;
    readonly ino: number;
    readonly type: number;
    readonly position: number;
  }[];
}

/** The directories of one view. */
export class Directories implements DirectoryBlocks {
  /** Set while fast commits are in force. */
  overlay: DirectoryOverlay | undefined;
  /** Where the block that was located last lies. */
  at = 0;
  readonly #geometry: Geometry;
  readonly #view: View;
  readonly #inodes: Inodes;
  readonly #content: Content;
  readonly #attributes: ExtendedAttributes;
  readonly #log: Log;
  readonly #block: DirectoryBlock;
  readonly #scanned: DirectoryBlock;
  readonly #tree: HashTree;
  readonly #run = new Run();
  readonly #copy: Buffer;
  readonly #badDirectories = new Set<number>();
  #inode!: Inode;

  constructor(
    geometry: Geometry,
    view: View,
    inodes: Inodes,
    content: Content,
    attributes: ExtendedAttributes,
    log: Log,
  ) {
    this.#geometry = geometry;
    this.#view = view;
    this.#inodes = inodes;
    this.#content = content;
    this.#attributes = attributes;
    this.#log = log;
    const hasFileType = geometry.hasIncompat(Incompat.FILETYPE);
    this.#block = new DirectoryBlock(geometry.blockSize, hasFileType);
    this.#scanned = new DirectoryBlock(geometry.blockSize, hasFileType);
    this.#tree = new HashTree(geometry.blockSize, geometry.hasIncompat(Incompat.LARGEDIR));
    this.#copy = Buffer.alloc(geometry.blockSize);
  }

  /** Forgets what is remembered of directories, when the view has changed. */
  forget(): void {
    this.#badDirectories.clear();
  }

  /** Visits the entries from `position` on; see FileSystem.list. What follows a bad block is listed, then EIO is thrown. */
  list(inode: Inode, position: number, visitor: EntryVisitor): void {
    this.#check(inode);
    const added = this.overlay?.added(inode.ino) ?? [];
    const ended = inode.hasFlag(InodeFlags.INLINE_DATA)
      ? this.#listInline(inode, position, visitor)
      : this.#listBlocks(inode, position, visitor);
    if (!ended) return;
    // Positions of added names lie beyond those of any block.
    for (const { name, ino, type, position: at } of added) {
      if (ADDED + at < position) continue;
      if (!visitor.entry(name, 0, name.length, ino, type, ADDED + at + 1)) return;
    }
    if (this.#badDirectories.has(inode.ino)) {
      throw new IoError(EIO, `directory ${inode.ino}: entries in a bad block could not be listed`);
    }
  }

  /** The inode of `name`; 0 if there is none. `asListed`: case counts also where the directory folds it. */
  lookup(inode: Inode, name: Buffer, asListed = false): number {
    this.#check(inode);
    const changed = this.overlay?.lookup(inode.ino, name);
    if (changed !== undefined) return changed;
    if (inode.hasFlag(InodeFlags.ENCRYPT) && !name.equals(DOT) && !name.equals(DOT_DOT)) {
      return this.#lookupEncrypted(inode, name);
    }
    if (name.length > 255) return 0;
    const folded = inode.hasFlag(InodeFlags.CASEFOLD) ? foldCase(name) : undefined;
    const accepted = asListed ? undefined : folded;
    if (inode.hasFlag(InodeFlags.INLINE_DATA)) return this.#lookupInline(inode, name, accepted);
    if (inode.hasFlag(InodeFlags.INDEX) && this.#geometry.hasCompat(Compat.DIR_INDEX)) {
      const found = this.#lookupHash(inode, name, folded ?? name, accepted);
      if (found > 0) return found;
      // Folding is exact for ASCII only, so a hash that leads nowhere proves nothing for other names.
      if (found === 0 && (folded === undefined || isAscii(name))) return 0;
    }
    return this.#lookupLinear(inode, (block) => matches(block, name, accepted));
  }

  /** The parent of a directory, as its ".." says. */
  parent(inode: Inode): number {
    if (inode.hasFlag(InodeFlags.INLINE_DATA)) {
      this.#check(inode);
      return inode.raw.readUInt32LE(I_BLOCK);
    }
    const parent = this.lookup(inode, DOT_DOT);
    if (parent === 0) throw new IoError(EIO, `directory ${inode.ino} has no ".."`);
    return parent;
  }

  /** The n-th block of the directory that is being looked at, checked. Throws IoError (EIO) for one that is bad. */
  locate(block: number): Buffer {
    const inode = this.#inode;
    const physical = this.#content.block(inode, block);
    const buffer = this.#view.locate(physical, true);
    this.at = this.#view.at;
    this.verify(inode, buffer, this.at);
    return buffer;
  }

  #check(inode: Inode): void {
    if (inode.type !== FileType.DIRECTORY)
      throw new FileSystemError(Errno.ENOTDIR, `inode ${inode.ino} is no directory`);
    this.#inode = inode;
  }

  /** Throws IoError (EIO) if a block of a directory, which has just been located in the view, has a wrong checksum. */
  verify(inode: Inode, buffer: Buffer, at: number): void {
    if (!this.#geometry.checksums || this.#view.checked) return;
    const indexed = inode.hasFlag(InodeFlags.INDEX);
    if (!directoryChecksumIsRight(buffer, at, this.#geometry.blockSize, inode.checksumSeed, indexed)) {
      throw new IoError(EIO, `directory ${inode.ino}: a block has a wrong checksum`);
    }
    this.#view.markChecked();
  }

  /** How many blocks the directory has. */
  blocks(inode: Inode): number {
    return Math.floor(this.#inodes.size(inode) / this.#geometry.blockSize);
  }

  // Returns whether the end was reached.
  #listBlocks(inode: Inode, position: number, visitor: EntryVisitor): boolean {
    const { blockSize } = this.#geometry;
    const run = this.#run;
    const blocks = this.blocks(inode);
    let looked = 0;
    let index = Math.floor(position / blockSize);
    while (index < blocks) {
      this.#content.map(inode, index, run);
      const physical = run.isData ? run.physical : 0;
      const length = Math.min(run.length, blocks - index);
      if (physical === 0) {
        index += length;
        continue;
      }
      for (let n = 0; n < length; n++, index++) {
        if (++looked > MOST_BLOCKS)
          throw new IoError(EIO, `directory ${inode.ino}: ${MOST_BLOCKS} blocks and no end`);
        const visited = this.#listBlock(inode, physical + n, index * blockSize, position, visitor);
        if (visited < 0) return false;
        if (visited > 0) looked = 0;
      }
    }
    return true;
  }

  /** Visits the entries of one block; returns how many, -1 when the visitor has had enough. */
  #listBlock(inode: Inode, physical: number, start: number, position: number, visitor: EntryVisitor): number {
    const copy = this.#copy;
    try {
      const buffer = this.#view.locate(physical, true);
      this.verify(inode, buffer, this.#view.at);
      buffer.copy(copy, 0, this.#view.at, this.#view.at + copy.length);
    } catch (error) {
      this.#noteBad(inode, error as Error);
      return 0;
    }
    const block = this.#block;
    block.enter(copy, 0, copy.length);
    let visited = 0;
    while (block.step()) {
      const { inode: ino } = block;
      if (ino > this.#geometry.inodesCount) {
        block.isBad = true;
        break;
      }
      if (ino === 0 || start + block.at < position) continue;
      if (!this.#visit(inode, block, ino, start + block.next, visitor)) return -1;
      visited++;
    }
    if (block.isBad) this.#noteBad(inode, new Error(`bad entry at byte ${start + block.at}`));
    return visited;
  }

  #listInline(inode: Inode, position: number, visitor: EntryVisitor): boolean {
    if (position < 1 && !visitor.entry(DOT, 0, 1, inode.ino, EntryType.DIRECTORY, 1)) return false;
    const parent = inode.raw.readUInt32LE(I_BLOCK);
    if (position < 2 && !visitor.entry(DOT_DOT, 0, 2, parent, EntryType.DIRECTORY, 2)) return false;
    const block = this.#block;
    const raw = Buffer.from(inode.raw);
    for (let part = 0; part < 2; part++) {
      const start = this.enterInline(inode, raw, part, block);
      while (block.step()) {
        const next = INLINE_ENTRIES + part * I_BLOCK_SIZE + block.next - start;
        const { inode: ino } = block;
        if (ino === 0 || ino > this.#geometry.inodesCount || position >= next) continue;
        if (!this.#visit(inode, block, ino, next, visitor)) return false;
      }
      if (block.isBad) this.#noteBad(inode, new Error("bad inline entry"));
    }
    return true;
  }

  /** The first part of an inline directory lies in i_block, the second in the attribute system.data. */
  enterInline(inode: Inode, raw: Buffer, part: number, block: DirectoryBlock): number {
    let start = I_BLOCK + INLINE_PARENT;
    let length = I_BLOCK_SIZE - INLINE_PARENT;
    if (part === 1) {
      start = this.#attributes.inlineData(inode);
      length = start < 0 ? 0 : this.#attributes.inlineLength;
    }
    block.enter(raw, Math.max(0, start), length);
    return start;
  }

  /** A stored name as it is listed. */
  shownName(inode: Inode, stored: Buffer): Buffer {
    if (!inode.hasFlag(InodeFlags.ENCRYPT) || isDots(stored, 0, stored.length)) return stored;
    return this.#noKeyName(inode, stored);
  }

  #visit(inode: Inode, block: DirectoryBlock, stored: number, next: number, visitor: EntryVisitor): boolean {
    const { buffer, nameAt, nameLength } = block;
    if (nameLength === 0) return true;
    let ino = stored;
    let { type } = block;
    if (this.overlay !== undefined) {
      const stands = this.overlay.stored(inode.ino, buffer, nameAt, nameLength);
      if (stands === 0) return true;
      if (stands > 0) {
        ino = stands;
        type = this.overlay.typeOf(inode.ino, ino);
      }
    }
    if (inode.hasFlag(InodeFlags.ENCRYPT)) {
      const shown = this.shownName(inode, buffer.subarray(nameAt, nameAt + nameLength));
      return visitor.entry(shown, 0, shown.length, ino, type, next);
    }
    return visitor.entry(buffer, nameAt, nameLength, ino, type, next);
  }

  #noteBad(inode: Inode, error: Error): void {
    if (this.#badDirectories.has(inode.ino)) return;
    if (this.#badDirectories.size < MOST_REMEMBERED) this.#badDirectories.add(inode.ino);
    this.#log(`directory ${inode.ino}: passing over entries: ${error.message}`);
  }

  #lookupInline(inode: Inode, name: Buffer, folded: Buffer | undefined): number {
    if (name.equals(DOT)) return inode.ino;
    if (name.equals(DOT_DOT)) return inode.raw.readUInt32LE(I_BLOCK);
    return this.#findInline(inode, (block) => matches(block, name, folded));
  }

  #findInline(inode: Inode, isMatch: (block: DirectoryBlock) => boolean): number {
    // Not the one that a listing is at, whose visitor may look names up.
    const block = this.#scanned;
    for (let part = 0; part < 2; part++) {
      this.enterInline(inode, inode.raw, part, block);
      while (block.step()) if (block.inode !== 0 && isMatch(block)) return this.#checkedInode(inode, block);
    }
    return 0;
  }

  #lookupLinear(inode: Inode, isMatch: (block: DirectoryBlock) => boolean): number {
    const run = this.#run;
    const blocks = this.blocks(inode);
    let isBad: Error | undefined;
    for (let index = 0, looked = 0; index < blocks; ) {
      this.#content.map(inode, index, run);
      const physical = run.isData ? run.physical : 0;
      const length = Math.min(run.length, blocks - index);
      for (let n = 0; physical !== 0 && n < length; n++) {
        if (++looked > MOST_BLOCKS)
          throw new IoError(EIO, `directory ${inode.ino}: ${MOST_BLOCKS} blocks and no end`);
        try {
          const buffer = this.#view.locate(physical + n, true);
          this.verify(inode, buffer, this.#view.at);
          const found = this.#searchBlock(inode, buffer, this.#view.at, isMatch);
          if (found !== 0) return found;
        } catch (error) {
          isBad = error as Error;
        }
      }
      index += length;
    }
    // The name may have been in the bad block, so its absence cannot be claimed.
    if (isBad !== undefined) throw isBad;
    return 0;
  }

  /**
   * The inode found, 0 if the name is not there, -1 if the tree cannot be used. `hashed`: what the name's hash is of;
   * `folded`: what other spellings have in common with it, if they count.
   */
  #lookupHash(inode: Inode, name: Buffer, hashed: Buffer, folded: Buffer | undefined): number {
    const tree = this.#tree;
    try {
      if (!tree.enter(this)) return -1;
      const hash = this.#hash(hashed, tree.hashVersion);
      if (hash === undefined || !tree.descend(this, hash)) return -1;
      for (let leaves = 0; leaves < MOST_BLOCKS; leaves++) {
        const buffer = this.locate(tree.leaf);
        const block = this.#scanned;
        block.enter(buffer, this.at, this.#geometry.blockSize);
        while (block.step())
          if (block.inode !== 0 && matches(block, name, folded)) return this.#checkedInode(inode, block);
        if (!tree.next(this, hash)) break;
      }
      return isDots(name, 0, name.length) ? -1 : 0;
    } catch {
      // A linear search finds what is in the blocks that are good, and reports those that are not.
      return -1;
    }
  }

  #searchBlock(
    inode: Inode,
    buffer: Buffer,
    at: number,
    isMatch: (block: DirectoryBlock) => boolean,
  ): number {
    const block = this.#scanned;
    block.enter(buffer, at, this.#geometry.blockSize);
    while (block.step()) if (block.inode !== 0 && isMatch(block)) return this.#checkedInode(inode, block);
    if (block.isBad) throw new IoError(EIO, `directory ${inode.ino}: bad entry`);
    return 0;
  }

  #checkedInode(inode: Inode, block: DirectoryBlock): number {
    const ino = block.inode;
    if (ino > this.#geometry.inodesCount)
      throw new IoError(EIO, `directory ${inode.ino}: inode ${ino} does not exist`);
    return ino;
  }

  #hash(name: Buffer, version: number): number | undefined {
    const unsigned = version <= HashVersion.TEA && this.#geometry.hashUnsigned ? version + 3 : version;
    return directoryHash(name, 0, name.length, unsigned, this.#geometry.hashSeed);
  }

  /**
   * A no-key name, with the directory hash where the kernel gives one: it lists in hash order what has an index or fits
   * into one block (is_dx_dir).
   */
  #noKeyName(inode: Inode, ciphertext: Buffer): Buffer {
    const hasIndex = inode.hasFlag(InodeFlags.INDEX);
    const inHashOrder =
      this.#geometry.hasCompat(Compat.DIR_INDEX) &&
      (hasIndex || this.blocks(inode) === 1 || inode.hasFlag(InodeFlags.INLINE_DATA));
    if (!inHashOrder) return noKeyName(ciphertext, 0, 0);
    let version = this.#geometry.hashVersion;
    if (hasIndex && !inode.hasFlag(InodeFlags.INLINE_DATA)) {
      this.#inode = inode;
      if (this.#tree.enter(this)) version = this.#tree.hashVersion;
    }
    const hash = this.#hash(ciphertext, version);
    return noKeyName(ciphertext, hash ?? 0, hash === undefined ? 0 : minorHash);
  }

  /** Finds the stored name that a no-key name was made of. */
  #lookupEncrypted(inode: Inode, name: Buffer): number {
    const given = Buffer.from(name.toString("latin1"), "base64url");
    if (given.length < 9) return 0;
    const isMatch = (block: DirectoryBlock): boolean => {
      const { buffer, nameAt, nameLength } = block;
      const ciphertext = buffer.subarray(nameAt, nameAt + nameLength);
      return noKeyName(ciphertext, given.readUInt32LE(0), given.readUInt32LE(4)).equals(name);
    };
    return inode.hasFlag(InodeFlags.INLINE_DATA)
      ? this.#findInline(inode, isMatch)
      : this.#lookupLinear(inode, isMatch);
  }
}

/** Positions of names that are added to what the blocks hold: beyond any directory's size. */
const ADDED = 2 ** 50;

function matches(block: DirectoryBlock, name: Buffer, folded: Buffer | undefined): boolean {
  const { buffer, nameAt, nameLength } = block;
  if (nameLength === name.length && buffer[nameAt] === name[0]) {
    let at = 1;
    while (at < nameLength && buffer[nameAt + at] === name[at]) at++;
    if (at === nameLength) return true;
  }
  return folded !== undefined && foldCase(buffer.subarray(nameAt, nameAt + nameLength)).equals(folded);
}

function isDots(name: Buffer, at: number, length: number): boolean {
  return name[at] === 0x2e && (length === 1 || (length === 2 && name[at + 1] === 0x2e));
}

function isAscii(name: Buffer): boolean {
  for (const byte of name) if (byte >= 0x80) return false;
  return true;
}
