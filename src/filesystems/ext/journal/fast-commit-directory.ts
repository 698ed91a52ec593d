/** One directory with the names that fast commits give it and take from it. */
import { IoError } from "../../../images/io-error.js";
import { EntryType, type EntryVisitor, FileType } from "../../filesystem.js";
import type { Directories } from "../directory.js";
import { type Inode, InodeFlags } from "../inode.js";
import type { FastCommitOperation } from "./fast-commit.js";

type EntryOperation = Extract<FastCommitOperation, { name: Buffer }>;

/** A name that fast commits have touched: its inode in the directory's blocks and now; 0: none. */
interface ChangedName {
  readonly name: Buffer;
  before: number;
  now: number;
}

/** A name that is not in the directory's blocks. `position` is its own for as long as the directory is in use. */
export interface AddedName {
  readonly name: Buffer;
  readonly ino: number;
  /** See EntryType. */
  readonly type: number;
  readonly position: number;
}

const DOT = Buffer.from(".");
const DOT_DOT = Buffer.from("..");

export class DirectoryChange {
  /** By the name's bytes as Latin-1. */
  readonly #names = new Map<string, ChangedName>();
  readonly #inode: Inode;
  readonly #committed: Directories;
  readonly #modeOf: (ino: number) => number;
  /** Operations that were not yet asked about. */
  #waiting: EntryOperation[] = [];
  #added: AddedName[] | undefined;

  /**
   * `parent` is that of a new directory, else 0. `committed` tells what is in the directory's blocks; `modeOf` tells an
   * inode's mode, 0 if it is not in use.
   */
  constructor(inode: Inode, parent: number, committed: Directories, modeOf: (ino: number) => number) {
    this.#inode = inode;
    this.#committed = committed;
    this.#modeOf = modeOf;
    // The block of a new directory is not recorded; what an inline directory holds is, with its inode.
    if (parent !== 0 && !inode.hasFlag(InodeFlags.INLINE_DATA)) {
      this.#names.set(".", { name: DOT, before: 0, now: inode.ino });
      this.#names.set("..", { name: DOT_DOT, before: 0, now: parent });
    }
  }

  /** Takes the next operation on the directory's names. Nothing is read yet. */
  add(operation: EntryOperation): void {
    this.#waiting.push(operation);
  }

  /** The inode of a name, 0 if it has gone; undefined: as the blocks say. */
  lookup(name: Buffer): number | undefined {
    const changed = this.#settled().get(keyOf(name));
    if (changed === undefined) return undefined;
    return changed.now === changed.before ? undefined : changed.now;
  }

  /** What a name in the directory's blocks stands for now: 0: it has gone, or is among those that were added; -1: as there. */
  stored(name: Buffer, start: number, length: number): number {
    const changed = this.#settled().get(keyOf(name, start, start + length));
    if (changed === undefined) return -1;
    return changed.before === 0 ? 0 : changed.now;
  }

  /** The names that are not in the directory's blocks. */
  get added(): readonly AddedName[] {
    const names = this.#settled();
    if (this.#added === undefined) {
      const added: AddedName[] = [];
      let position = 0;
      for (const { name, before, now } of names.values()) {
        if (before === 0 && now !== 0) added.push({ name, ino: now, type: this.typeOf(now), position });
        position++;
      }
      this.#added = added;
    }
    return this.#added;
  }

  /** An inode's type, as entries have it. */
  typeOf(ino: number): number {
    return entryType(this.#modeOf(ino));
  }

  /** How many more directories are in this one than its blocks say; `wasDirectory` tells of an inode that is named there. */
  moreDirectories(wasDirectory: (ino: number) => boolean): number {
    let more = 0;
    for (const [key, { before, now }] of this.#settled()) {
      if (key === "." || key === "..") continue;
      if (now !== 0 && this.typeOf(now) === EntryType.DIRECTORY) more++;
      if (before !== 0 && wasDirectory(before)) more--;
    }
    return more;
  }

  /** The touched names, with all operations taken in. */
  #settled(): ReadonlyMap<string, ChangedName> {
    if (this.#waiting.length === 0) return this.#names;
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#added = undefined;
    const fresh = new Map<string, ChangedName>();
    for (const { name } of waiting) {
      const key = keyOf(name);
      if (!this.#names.has(key)) fresh.set(key, { name, before: 0, now: 0 });
    }
    if (fresh.size > 0) this.#findCommitted(fresh);
    for (const [key, changed] of fresh) this.#names.set(key, changed);
    for (const operation of waiting) this.#apply(operation);
    return this.#names;
  }

  /** Notes the inodes that names have in the directory's blocks: by its index, or in one walk through all of them. */
  #findCommitted(names: Map<string, ChangedName>): void {
    const inode = this.#inode;
    if (inode.hasFlag(InodeFlags.INDEX) && !inode.hasFlag(InodeFlags.CASEFOLD)) {
      for (const changed of names.values()) {
        changed.before = whereGood(() => this.#committed.lookup(inode, changed.name)) ?? 0;
        changed.now = changed.before;
      }
      return;
    }
    const visitor: EntryVisitor = {
      entry(name, nameOffset, nameLength, ino) {
        const changed = names.get(keyOf(name, nameOffset, nameOffset + nameLength));
        if (changed !== undefined) {
          changed.before = ino;
          changed.now = ino;
        }
        return true;
      },
    };
    whereGood(() => this.#committed.list(inode, 0, visitor));
  }

  /** A name that is there stays as it is; one that stands for another inode by now does not go. */
  #apply(operation: EntryOperation): void {
    const changed = this.#names.get(keyOf(operation.name)) as ChangedName;
    if (operation.kind !== "unlink") {
      if (changed.now === 0) changed.now = operation.ino;
    } else if (changed.now === operation.ino) changed.now = 0;
  }
}

/** Names in a bad block count as not there, which adding them anew mends. */
function whereGood<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof IoError) return undefined;
    throw error;
  }
}

function keyOf(name: Buffer, start = 0, end = name.length): string {
  return name.toString("latin1", start, end);
}

/** Entry types are the type bits of a mode. */
function entryType(mode: number): number {
  return mode === 0 ? EntryType.UNKNOWN : (mode & FileType.MASK) >> 12;
}
