/** What a transaction changes: the inodes that differ, and the names that no longer stand for what they stood for. */
import { IoError } from "../../images/io-error.js";
import type { Commit } from "../../versions/commit.js";
import type { Changes, InodeChange, NameChange } from "../changes.js";
import { FileType } from "../filesystem.js";
import { DirectoryBlock } from "./dirblock.js";
import { Incompat } from "./features.js";
import { GOOD_OLD_SIZE, Inode, InodeFlags } from "./inode.js";
import { InodeTables } from "./inode-tables.js";
import type { Parts } from "./parts.js";
import { Run } from "./run.js";

/** A directory that the transaction may have changed. */
interface TouchedDirectory {
  readonly ino: number;
  readonly generation: number;
  /** Names in those of its blocks that the transaction logs: one character a byte. */
  readonly before: Map<string, number>;
}

/** Finds what commits change; one for each composition of parts. */
export class Difference {
  readonly #parts: Parts;
  readonly #tables: InodeTables;
  readonly #block: DirectoryBlock;
  readonly #run = new Run();
  readonly #perBlock: number;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#tables = new InodeTables(parts.geometry, parts.groups);
    this.#block = new DirectoryBlock(parts.geometry.blockSize, parts.geometry.hasIncompat(Incompat.FILETYPE));
    this.#perBlock = parts.geometry.blockSize / parts.geometry.inodeSize;
  }

  /** Applies the commit to the parts' view, and tells what differs between before and after. */
  apply(commit: Commit): Changes {
    const { view, geometry } = this.#parts;
    const logged = new Set(commit.blocks);
    const inodes: InodeChange[] = [];
    const directories: TouchedDirectory[] = [];
    const inode = new Inode(geometry);
    const old = Buffer.alloc(geometry.blockSize);
    // A block that is in no inode table may hold the map of any file whose inode is logged beside it.
    const hasOther = this.#hasOther(commit);
    for (const [index, block] of commit.blocks.entries()) {
      const first = this.#tables.firstInode(block);
      if (first === 0) continue;
      this.#readOld(block, old);
      const now = Buffer.from(
        commit.bytes.buffer,
        commit.bytes.byteOffset + index * geometry.blockSize,
        geometry.blockSize,
      );
      for (let n = 0; n < this.#perBlock; n++) {
        const at = n * geometry.inodeSize;
        const before = old.subarray(at, at + geometry.inodeSize);
        const after = now.subarray(at, at + geometry.inodeSize);
        const change = inodeChange(first + n, before, after);
        const isSame = before.equals(after);
        if (change.oldMode === 0 && change.newMode === 0) continue;
        if (!isSame || (hasOther && isRegular(change.newMode))) inodes.push(change);
        if (isDirectory(change.oldMode)) {
          before.copy(inode.raw);
          inode.ino = change.ino;
          directories.push({
            ino: change.ino,
            generation: change.oldGeneration,
            before: this.#names(inode, logged),
          });
        }
      }
    }
    view.apply(commit);
    this.#parts.forget();
    return {
      inodes,
      names: directories.flatMap((directory) => this.#changedNames(directory, inode, logged)),
    };
  }

  #hasOther(commit: Commit): boolean {
    return commit.blocks.some((block) => this.#tables.firstInode(block) === 0);
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

  #changedNames(directory: TouchedDirectory, inode: Inode, logged: ReadonlySet<number>): NameChange[] {
    let after: Map<string, number>;
    try {
      this.#parts.inodes.read(directory.ino, inode);
      after = isDirectory(inode.mode) ? this.#names(inode, logged) : new Map();
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      // It is gone: so is its name, in a directory that changed too.
      return [];
    }
    const names: NameChange[] = [];
    for (const [name, ino] of directory.before) {
      if (after.get(name) === ino) continue;
      const stored = Buffer.from(name, "latin1");
      const shown = this.#parts.directories.shownName(inode, stored);
      names.push({ directory: directory.ino, generation: directory.generation, name: shown, ino });
    }
    return names;
  }

  /** The names in those blocks of a directory that are logged, or in the inode itself. */
  #names(inode: Inode, logged: ReadonlySet<number>): Map<string, number> {
    const names = new Map<string, number>();
    const { content, directories, geometry, view } = this.#parts;
    try {
      if (inode.hasFlag(InodeFlags.INLINE_DATA)) {
        for (let part = 0; part < 2; part++) {
          directories.enterInline(inode, inode.raw, part, this.#block);
          this.#collect(names);
        }
        return names;
      }
      const blocks = directories.blocks(inode);
      for (let index = 0; index < blocks; index += this.#run.length) {
        content.map(inode, index, this.#run);
        if (!this.#run.isData) continue;
        const { physical } = this.#run;
        const length = Math.min(this.#run.length, blocks - index);
        for (const block of loggedWithin(logged, physical, length)) {
          const buffer = view.locate(block);
          this.#block.enter(buffer, view.at, geometry.blockSize);
          this.#collect(names);
        }
      }
    } catch (error) {
      // What cannot be read had no names that anybody was told of.
      if (!(error instanceof IoError)) throw error;
    }
    return names;
  }

  #collect(names: Map<string, number>): void {
    const block = this.#block;
    while (block.step()) {
      const { inode, nameAt, nameLength } = block;
      if (inode !== 0) names.set(block.buffer.toString("latin1", nameAt, nameAt + nameLength), inode);
    }
  }
}

function* loggedWithin(logged: ReadonlySet<number>, first: number, length: number): Generator<number> {
  if (length <= logged.size) {
    for (let n = 0; n < length; n++) if (logged.has(first + n)) yield first + n;
    return;
  }
  for (const block of logged) if (block >= first && block < first + length) yield block;
}

const MODE_AT = 0;
const LINKS_AT = 0x1a;
const GENERATION_AT = 0x64;

function inodeChange(ino: number, before: Buffer, after: Buffer): InodeChange {
  return {
    ino,
    oldMode: modeOf(before),
    oldGeneration: before.readUInt32LE(GENERATION_AT),
    newMode: modeOf(after),
    newGeneration: after.readUInt32LE(GENERATION_AT),
  };
}

/** i_mode stays when an inode is freed; then it has no names. */
function modeOf(raw: Buffer): number {
  return raw.length >= GOOD_OLD_SIZE && raw.readUInt16LE(LINKS_AT) !== 0 ? raw.readUInt16LE(MODE_AT) : 0;
}

function isDirectory(mode: number): boolean {
  return (mode & FileType.MASK) === FileType.DIRECTORY;
}

function isRegular(mode: number): boolean {
  return (mode & FileType.MASK) === FileType.REGULAR;
}
