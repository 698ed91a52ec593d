/**
 * What the kernel's replay of an image's fast commits gets wrong (ext4_fc_replay_* in fs/ext4/fast_commit.c, 6.18),
 * worked out from the records: there the kernel is no oracle, as the guest saw something else.
 */
import { readFileSync } from "node:fs";
import { Inode } from "../../src/filesystems/ext/inode.js";
import type { FastCommitOperation } from "../../src/filesystems/ext/journal/fast-commit.js";
import { Parts } from "../../src/filesystems/ext/parts.js";
import { openVersion } from "../../src/filesystems/ext/version.js";
import { FileType } from "../../src/filesystems/filesystem.js";
import { BlockCache } from "../../src/versions/block-cache.js";
import type { ReplayFaults } from "../oracle/compare.js";
import { MemorySource } from "./journal-tree.js";

const LINKS_AT = 0x1a;
const GENERATION_AT = 0x64;
const EXTRA_SIZE_AT = 0x80;
const ATTRIBUTES_MAGIC = 0xea020000;

/** The replay as far as link counts and names go. */
class Replay {
  readonly wrong = new Set<number>();
  /** The generations of inodes that had no links left in the midst of it: such a one is deleted at once. */
  readonly deleted = new Map<number, number>();
  readonly #parts: Parts;
  readonly #links = new Map<number, number>();
  readonly #names = new Map<string, number>();
  readonly #generations = new Map<number, number>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  take(operation: FastCommitOperation): void {
    const { ino, kind } = operation;
    if (kind === "inode") {
      if (this.#keepsOldAttributes(ino, operation.raw)) this.wrong.add(ino);
      this.#links.set(ino, operation.raw.readUInt16LE(LINKS_AT));
      const generation = operation.raw.readUInt32LE(GENERATION_AT);
      this.#generations.set(ino, generation);
      // A new file is recorded as a whole.
      if (this.deleted.get(ino) !== generation) this.deleted.delete(ino);
    } else if (kind === "unlink") this.#unlink(operation.parent, operation.name, ino);
    else if (kind === "create" || kind === "link") {
      this.#link(operation.parent, operation.name, ino, kind === "create");
    }
  }

  #link(parent: number, name: Buffer, ino: number, isNew: boolean): void {
    const links = this.#linksOf(ino);
    if (links === 0) {
      // The record of the inode comes later, so it is not found, and the name is lost.
      this.wrong.add(ino);
      return;
    }
    const isThere = this.#lookup(parent, name) !== 0;
    if (!isThere) this.#names.set(keyOf(parent, name), ino);
    if (isNew) this.#links.set(ino, 1);
    else if (!isThere) this.#links.set(ino, links + 1);
  }

  #unlink(parent: number, name: Buffer, ino: number): void {
    const links = this.#linksOf(ino);
    const stands = this.#lookup(parent, name);
    if (links === 0 || stands === 0) return;
    if (stands === ino) this.#names.set(keyOf(parent, name), 0);
    // It counts down also where the name stands for another inode by now.
    this.#links.set(ino, links - 1);
    if (links > 1) return;
    const generation = this.#generations.get(ino) ?? this.#inode(ino)?.raw.readUInt32LE(GENERATION_AT);
    this.deleted.set(ino, generation ?? 0);
  }

  #inode(ino: number): Inode | undefined {
    try {
      return this.#parts.inodes.read(ino, new Inode(this.#parts.geometry));
    } catch {
      return undefined;
    }
  }

  #linksOf(ino: number): number {
    return this.#links.get(ino) ?? this.#inode(ino)?.raw.readUInt16LE(LINKS_AT) ?? 0;
  }

  #lookup(parent: number, name: Buffer): number {
    const known = this.#names.get(keyOf(parent, name));
    if (known !== undefined) return known;
    const directory = this.#inode(parent);
    // A new one may have the number of a file.
    if (directory?.type !== FileType.DIRECTORY) return 0;
    return this.#parts.directories.lookup(directory, name);
  }

  /** Whether a new file gets the attributes of the one that had its number before: they are not recorded. */
  #keepsOldAttributes(ino: number, recorded: Buffer): boolean {
    const { groups, geometry, view } = this.#parts;
    const { inodeSize, blockSize, inodesPerGroup } = geometry;
    if (recorded.length >= inodeSize) return false;
    const position = ((ino - 1) % inodesPerGroup) * inodeSize;
    const table = groups.inodeTable(Math.floor((ino - 1) / inodesPerGroup));
    const buffer = view.locate(table + Math.floor(position / blockSize));
    const at = view.at + (position % blockSize);
    const isOther =
      buffer.readUInt16LE(at + LINKS_AT) === 0 ||
      buffer.readUInt32LE(at + GENERATION_AT) !== recorded.readUInt32LE(GENERATION_AT);
    const attributes = EXTRA_SIZE_AT + recorded.readUInt16LE(EXTRA_SIZE_AT);
    return (
      isOther && attributes + 4 <= inodeSize && buffer.readUInt32LE(at + attributes) === ATTRIBUTES_MAGIC
    );
  }
}

function keyOf(parent: number, name: Buffer): string {
  return `${parent} ${name.toString("latin1")}`;
}

/** Works out the faults of the replay of an image file that nobody writes to. */
export function replayFaults(image: string): ReplayFaults {
  const source = new MemorySource(readFileSync(image));
  const log = () => {};
  const { geometry, view, fastCommits } = openVersion(source, new BlockCache(8 << 20), log);
  const replay = new Replay(new Parts(geometry, view, log));
  const operations = fastCommits.flat();
  for (const operation of operations) replay.take(operation);
  const inodes = new Set(replay.wrong);
  const after = new Parts(geometry, view, log, fastCommits);
  for (const ino of replay.deleted.keys()) {
    try {
      if (after.inodes.read(ino, new Inode(geometry)).fields.i_links_count > 0) inodes.add(ino);
    } catch {
      // It is gone in the end as well.
    }
  }
  const directories = new Set<number>();
  for (const operation of operations) {
    if ("parent" in operation && inodes.has(operation.ino)) directories.add(operation.parent);
  }
  return { inodes, directories };
}
