/** Directories: listing them block by block, and finding names by their order. */
import type { Log } from "../../images/image.js";
import { EIO, IoError } from "../../images/io-error.js";
import { EntryType, type EntryVisitor, Errno, FileSystemError, type NameMatching } from "../filesystem.js";
import { readUpperCase, WantedName } from "./collation.js";
import { FileName, FileNames, NAME_IS_DIRECTORY, Namespace } from "./file-name.js";
import { Index, IndexNode } from "./index.js";
import { Inode } from "./inode.js";
import { type MasterFileTable, SystemRecord } from "./mft.js";
import { decodeName, encodeName, isShowable, MOST_BYTES } from "./names.js";
import { referenceAt } from "./record.js";
import { FileAttributes } from "./standard-information.js";

/** The name of the index of names. */
export const I30 = Buffer.from("$I30", "utf16le");
/** How deep a tree is looked into. Real ones have three or four levels. */
const DEEPEST = 24;
/** Nodes that one search reads: besides those on the way, all that have names that only case tells apart. */
const MOST_NODES = 4096;
/** Bad blocks of a directory that listing passes over, and bad directories that are remembered. */
const MOST_BAD_BLOCKS = 1000;
const MOST_REMEMBERED = 10_000;
/** Directories that are kept open. */
const MOST_OPENED = 32;
/** Positions: those of the root's entries are below, then comes block after block. */
const FIRST_ENTRY = 16;
const POSITIONS = 2 ** 17;
const DOT = Buffer.from(".");
const DOT_DOT = Buffer.from("..");

/** A directory in which names have been looked up. */
interface Opened {
  readonly inode: Inode;
  readonly index: Index;
}

/** A level of a tree, on the way down. */
class Level {
  readonly node = new IndexNode();
  block: Buffer = Buffer.alloc(0);
}

export class Directories {
  readonly #mft: MasterFileTable;
  readonly #log: Log;
  readonly #matching: NameMatching;
  readonly #name = new FileName();
  readonly #names = new FileNames();
  readonly #shown = Buffer.alloc(MOST_BYTES);
  #wanted: WantedName | undefined;
  readonly #levels: Level[] = [];
  #nodesLeft = 0;
  /** What a search that ignores case has found; 0: nothing. */
  #similar = 0;
  /** Whether names for DOS count, too. */
  #withDos = false;
  /** Directories with entries that could not be listed. */
  readonly #bad = new Set<number>();
  /** Directories in which names have been looked up. */
  readonly #opened = new Map<number, Opened>();

  constructor(mft: MasterFileTable, log: Log, matching: NameMatching) {
    this.#mft = mft;
    this.#log = log;
    this.#matching = matching;
  }

  /** Forgets what is remembered of directories, when the view has changed. */
  forget(): void {
    this.#bad.clear();
    this.#opened.clear();
  }

  /**
   * The same as `lookup` by the directory's number; `check` looks at its record before that is taken for a directory's.
   * `asListed`: case counts in any case.
   */
  lookupIn(directory: number, name: Buffer, asListed: boolean, check: (inode: Inode) => void): number {
    const { inode, index } = this.#openedDirectory(directory, check);
    return this.#lookup(inode, index, name, !asListed && this.#matching.ignoresCase, false);
  }

  /** Whether a directory finds names whatever the case of their letters; `check` as in `lookupIn`. */
  foldsNames(directory: number, check: (inode: Inode) => void): boolean {
    return (
      this.#matching.ignoresCase && !this.#openedDirectory(directory, check).inode.isCaseSensitiveDirectory
    );
  }

  #openedDirectory(directory: number, check: (inode: Inode) => void): Opened {
    let opened = this.#opened.get(directory);
    if (opened === undefined) {
      const inode = new Inode(this.#mft).load(directory);
      check(inode);
      opened = { inode, index: this.#open(inode) };
      const [oldest] = this.#opened.keys();
      if (this.#opened.size >= MOST_OPENED && oldest !== undefined) this.#opened.delete(oldest);
      this.#opened.set(directory, opened);
    }
    return opened;
  }

  /**
   * The record of the directory that has a file's name, its first but for one for DOS. Throws IoError (EIO) if it has no
   * name.
   */
  parent(inode: Inode): number {
    const names = this.#names;
    names.enter(inode);
    let found = -1;
    while (names.step()) {
      if (names.namespace !== Namespace.DOS) return names.parent;
      if (found < 0) found = names.parent;
    }
    if (found < 0) throw new IoError(EIO, `MFT record ${inode.ino} has no name`);
    return found;
  }

  /**
   * Visits the entries from `position` on; see FileSystem.list. What follows a bad block is listed, then EIO is thrown.
   * `inode` is not to be used for another file by the visitor.
   */
  list(inode: Inode, position: number, visitor: EntryVisitor): void {
    const index = this.#open(inode);
    const { ino } = inode;
    if (position < 1 && !visitor.entry(DOT, 0, 1, ino, EntryType.DIRECTORY, 1)) return;
    if (position < 2) {
      const parent = ino === SystemRecord.ROOT ? ino : this.parent(inode);
      if (!visitor.entry(DOT_DOT, 0, 2, parent, EntryType.DIRECTORY, 2)) return;
    }
    const node = new IndexNode();
    if (position < POSITIONS) {
      index.enterRoot(node);
      if (!this.#listNode(ino, node, FIRST_ENTRY, position, visitor)) return;
    }
    const block = Buffer.allocUnsafe(index.blockSize);
    let bad = 0;
    const first = Math.max(0, Math.floor(position / POSITIONS) - 1);
    for (let number = index.nextUsed(first); number < index.blocks; number = index.nextUsed(number + 1)) {
      try {
        index.enterBlock(number, block, node);
      } catch (error) {
        if (!(error instanceof IoError) || ++bad > MOST_BAD_BLOCKS) throw error;
        this.#noteBad(ino, error.message);
        continue;
      }
      if (!this.#listNode(ino, node, (number + 1) * POSITIONS, position, visitor)) return;
    }
    if (this.#bad.has(ino)) throw new IoError(EIO, `directory ${ino}: some entries could not be listed`);
  }

  /**
   * The inode of `name`; 0 if there is none. Case counts in any case where the directory itself says so. `withDos`: names
   * for DOS are found, too, which the tree does not show.
   * Throws FileSystemError (ENOTDIR), IoError (EIO).
   */
  lookup(inode: Inode, name: Buffer, ignoresCase = this.#matching.ignoresCase, withDos = false): number {
    return this.#lookup(inode, this.#open(inode), name, ignoresCase, withDos);
  }

  #lookup(inode: Inode, index: Index, name: Buffer, ignoresCase: boolean, withDos: boolean): number {
    if (name.equals(DOT)) return inode.ino;
    if (name.equals(DOT_DOT)) return inode.ino === SystemRecord.ROOT ? inode.ino : this.parent(inode);
    if (name.length > MOST_BYTES) return 0;
    this.#wanted ??= new WantedName(readUpperCase(this.#mft, this.#log));
    const wanted = this.#wanted;
    const units = decodeName(name, wanted.units);
    if (units <= 0) return 0;
    wanted.enter(units);
    this.#nodesLeft = MOST_NODES;
    this.#similar = 0;
    this.#withDos = withDos;
    const { node } = this.#level(0);
    index.enterRoot(node);
    const found = this.#search(index, node, 0, wanted);
    if (found !== 0) return found;
    return ignoresCase && !inode.isCaseSensitiveDirectory ? this.#similar : 0;
  }

  #open(inode: Inode): Index {
    if (!inode.isDirectory) throw new FileSystemError(Errno.ENOTDIR, `inode ${inode.ino} is no directory`);
    return new Index(this.#mft, inode, I30);
  }

  /** Visits what lies in one node; false: the visitor has had enough. `start`: the position of its first byte. */
  #listNode(
    directory: number,
    node: IndexNode,
    start: number,
    position: number,
    visitor: EntryVisitor,
  ): boolean {
    const name = this.#name;
    const shown = this.#shown;
    while (node.step() && !node.isLast) {
      const next = start + node.offset + 1;
      if (next <= position) continue;
      if (!name.move(node.buffer, node.keyAt, node.keyLength)) {
        this.#noteBad(directory, "an entry has no name");
        continue;
      }
      if (name.namespace === Namespace.DOS) continue;
      const ino = referenceAt(node.buffer, node.at);
      if (ino < SystemRecord.FIRST_USER) continue;
      if (ino >= this.#mft.records || !isShowable(name.buffer, name.nameAt, name.length)) {
        this.#noteBad(directory, "an entry has a name or a number that cannot be");
        continue;
      }
      const length = encodeName(name.buffer, name.nameAt, name.length, shown);
      if (!visitor.entry(shown, 0, length, ino, entryType(name.flags), next)) return false;
    }
    if (node.isBad) this.#noteBad(directory, "a bad entry");
    return true;
  }

  #noteBad(ino: number, why: string): void {
    if (this.#bad.has(ino)) return;
    if (this.#bad.size < MOST_REMEMBERED) this.#bad.add(ino);
    this.#log(`directory ${ino}: passing over entries: ${why}`);
  }

  #level(depth: number): Level {
    for (let n = this.#levels.length; n <= depth; n++) this.#levels.push(new Level());
    return this.#levels[depth] as Level;
  }

  /** The inode of the name that is wanted in a node or below it; 0: it is not there. */
  #search(index: Index, node: IndexNode, depth: number, wanted: WantedName): number {
    const name = this.#name;
    while (node.step()) {
      if (!node.isLast) {
        if (!name.move(node.buffer, node.keyAt, node.keyLength))
          throw new IoError(EIO, "a directory has a bad entry");
        const order = wanted.compare(name.buffer, name.nameAt, name.length);
        if (order > 0) continue;
        if (order === 0) {
          if (name.namespace !== Namespace.DOS || this.#withDos) {
            const ino = referenceAt(node.buffer, node.at);
            if (wanted.equals(name.buffer, name.nameAt)) return this.#checked(ino);
            if (this.#similar === 0) this.#similar = this.#checked(ino);
          }
          // Others that only case tells from it lie on both sides of it, in an order that depends on who made them.
          const found = this.#searchChild(index, node, depth, wanted);
          if (found !== 0) return found;
          continue;
        }
      }
      return this.#searchChild(index, node, depth, wanted);
    }
    if (node.isBad) throw new IoError(EIO, "a directory has a bad entry");
    return 0;
  }

  #searchChild(index: Index, node: IndexNode, depth: number, wanted: WantedName): number {
    const { child } = node;
    if (child < 0) return 0;
    if (depth + 1 > DEEPEST || --this.#nodesLeft < 0) throw new IoError(EIO, "a directory's tree has no end");
    const level = this.#level(depth + 1);
    if (level.block.length < index.blockSize) level.block = Buffer.allocUnsafeSlow(index.blockSize);
    index.enterBlock(index.blockOf(child), level.block, level.node);
    return this.#search(index, level.node, depth + 1, wanted);
  }

  #checked(ino: number): number {
    if (ino >= this.#mft.records)
      throw new IoError(EIO, `a directory names MFT record ${ino}, which does not exist`);
    return ino;
  }
}

/** What a name's flags tell; what a reparse point is, and a file of the system's, only its record does. */
function entryType(flags: number): number {
  if ((flags & (FileAttributes.REPARSE_POINT | FileAttributes.SYSTEM)) !== 0) return EntryType.UNKNOWN;
  return (flags & NAME_IS_DIRECTORY) !== 0 ? EntryType.DIRECTORY : EntryType.REGULAR;
}
