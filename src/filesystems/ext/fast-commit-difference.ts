/**
 * What fast commits change, and what the full transaction changes that comes after them: that one has in it what they
 * said, so that subscribers are told only of the rest.
 */
import { IoError } from "../../images/io-error.js";
import {
  type AttributeValues,
  type Changes,
  type InodeChange,
  type NameChange,
  NO_CHANGES,
} from "../changes.js";
import { FileType } from "../filesystem.js";
import { Inode } from "./inode.js";
import { inodeChange } from "./inode-change.js";
import { attributeValues } from "./inode-state.js";
import type { FastCommit } from "./journal/fast-commit.js";
import type { Parts } from "./parts.js";

/** Lays a fast commit over `parts` and tells what differs between before and after. */
export function addFastCommit(parts: Parts, commit: FastCommit): Changes {
  const before = new Before(parts);
  for (const operation of commit) {
    before.noteInode(operation.ino);
    if ("parent" in operation) before.noteName(operation.parent, operation.name);
  }
  parts.addFastCommit(commit);
  return before.changes();
}

/** Takes the fast commits in force away; `apply` applies the full transaction, and tells what it changes without them. */
export function supersedeFastCommits(parts: Parts, apply: () => Changes): Changes {
  const { fastCommits } = parts;
  if (fastCommits === undefined) return apply();
  const before = new Before(parts);
  for (const ino of fastCommits.touched) {
    before.noteInode(ino);
    for (const name of fastCommits.touchedNames(ino)) before.noteName(ino, name);
  }
  parts.dropFastCommits();
  return before.merged(apply());
}

/** An inode as it was; undefined: not in use. */
interface KnownInode {
  readonly inode: Inode | undefined;
  readonly attributes: AttributeValues | undefined;
}

/** A name as it was, and the directory's generation. */
interface KnownName {
  readonly directory: number;
  readonly name: Buffer;
  readonly generation: number;
  readonly ino: number;
}

/** Inodes and names as they were. */
class Before {
  readonly #parts: Parts;
  readonly #inodes = new Map<number, KnownInode>();
  readonly #names = new Map<string, KnownName>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  noteInode(ino: number): void {
    if (this.#inodes.has(ino)) return;
    const inode = this.#inode(ino);
    const { attributes } = this.#parts;
    const values = inode === undefined ? undefined : attributeValues(attributes, inode);
    this.#inodes.set(ino, { inode, attributes: values });
  }

  /** Its directory is noted as well: what lists it must be told. */
  noteName(directory: number, name: Buffer): void {
    const key = keyOf(directory, name);
    if (this.#names.has(key)) return;
    this.noteInode(directory);
    const inode = this.#inodes.get(directory)?.inode;
    const generation = inode?.fields.i_generation ?? 0;
    this.#names.set(key, { directory, name, generation, ino: this.#lookup(inode, name) });
  }

  /** What differs between then and now. */
  changes(): Changes {
    const inodes: InodeChange[] = [];
    for (const ino of this.#inodes.keys()) {
      const change = this.#inodeChange(ino);
      if (change !== undefined) inodes.push(change);
    }
    const names: NameChange[] = [];
    for (const known of this.#names.values()) {
      const change = this.#nameChange(known);
      if (change !== undefined) names.push(change);
    }
    return { ...NO_CHANGES, inodes, names };
  }

  /** What differs between then and now, where the rest differs as `found` says. */
  merged(found: Changes): Changes {
    const unsure = new Set(found.unsureInodes.map(({ ino }) => ino));
    const listed = new Set(found.unsureDirectories.map(({ directory }) => directory));
    const logged = new Set(found.inodes.map(({ ino }) => ino));
    const inodes = found.inodes.filter(({ ino }) => !this.#inodes.has(ino));
    for (const [ino, { inode }] of this.#inodes) {
      // One that is logged may have another map, though all else is as it was.
      if (unsure.has(ino) || (!logged.has(ino) && isSame(inode, this.#inode(ino)))) continue;
      const change = this.#inodeChange(ino);
      if (change !== undefined) inodes.push(change);
    }
    const names = found.names.filter(({ directory, name }) => !this.#names.has(keyOf(directory, name)));
    for (const known of this.#names.values()) {
      const change = listed.has(known.directory) ? undefined : this.#nameChange(known);
      if (change !== undefined) names.push(change);
    }
    return { ...found, inodes, names };
  }

  #inodeChange(ino: number): InodeChange | undefined {
    const { inode, attributes } = this.#inodes.get(ino) as KnownInode;
    const now = this.#inode(ino);
    if (inode === undefined && now === undefined) return undefined;
    return inodeChange(this.#parts, ino, inode, attributes, now);
  }

  #nameChange({ directory, name, generation, ino }: KnownName): NameChange | undefined {
    const inode = this.#inode(directory);
    const now = this.#lookup(inode, name);
    if (now === ino) return undefined;
    return { directory, generation: generation || (inode?.fields.i_generation ?? 0), name, ino, now };
  }

  #inode(ino: number): Inode | undefined {
    const { inodes, geometry } = this.#parts;
    return whereGood(() => inodes.read(ino, new Inode(geometry)));
  }

  #lookup(directory: Inode | undefined, name: Buffer): number {
    if (directory?.type !== FileType.DIRECTORY) return 0;
    return whereGood(() => this.#parts.directories.lookup(directory, name)) ?? 0;
  }
}

function isSame(old: Inode | undefined, now: Inode | undefined): boolean {
  return old === undefined || now === undefined ? old === now : old.raw.equals(now.raw);
}

/** What cannot be read counts as not there: nobody was told of it. */
function whereGood<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof IoError) return undefined;
    throw error;
  }
}

function keyOf(directory: number, name: Buffer): string {
  return `${directory} ${name.toString("latin1")}`;
}
