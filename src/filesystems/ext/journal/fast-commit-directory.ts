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
  #added: { name: Buffer; ino: number; type: number }[] | undefined;

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

  /** Whether a name in the directory's blocks no longer counts. */
  hides(name: Buffer, start: number, length: number): boolean {
    const changed = this.#settled().get(keyOf(name, start, start + length));
    return changed !== undefined && changed.now !== changed.before;
  }

  /** The names that are not in the directory's blocks. */
  get added(): readonly { name: Buffer; ino: number; type: number }[] {
    const names = this.#settled();
    this.#added ??= Array.from(names.values())
      .filter((changed) => changed.now !== 0 && changed.now !== changed.before)
      .map(({ name, now }) => ({ name, ino: now, type: entryType(this.#modeOf(now)) }));
    return this.#added;
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
