/** The version that has been agreed on: its metadata blocks, whose they are, and how many names each inode has. */

import { IoError } from "../../../images/io-error.js";
import { Kept } from "../../agreement/kept.js";
import { DirectoryBlock } from "../dirblock.js";
import { Incompat } from "../features.js";
import { Inode, Inodes } from "../inode.js";
import type { Parts } from "../parts.js";
import type { Entity } from "./entity.js";
import { FileBlocks } from "./file-blocks.js";
import { Places } from "./places.js";

export class Accepted {
  readonly parts: Parts;
  readonly places: Places;
  readonly fileBlocks: FileBlocks;
  /** For use at once by whoever needs one. */
  readonly directoryBlock: DirectoryBlock;
  readonly kept = new Kept();
  /** The inode that a block of a map, of a directory or of a link belongs to. */
  readonly owners = new Map<number, number>();
  /** How many inodes have a block of attributes. */
  readonly #sharers = new Map<number, number>();
  /** Inodes that have changed since they last got a name, or lost one: a name may follow. */
  readonly ahead = new Set<number>();
  readonly #names = new Map<number, number>();
  /** Reads the inode that is to be checked, wherever it comes from. */
  readonly #checker: Inodes;
  readonly #scratch: Inode;
  #checked: Inode;

  /** `parts` read the version that has been agreed on. Throws IoError. */
  constructor(parts: Parts) {
    this.parts = parts;
    this.places = new Places(parts);
    this.fileBlocks = new FileBlocks(parts.geometry, parts.inodes);
    const { geometry } = parts;
    this.#scratch = new Inode(geometry);
    this.#checked = this.#scratch;
    this.#checker = new Inodes(geometry, parts.view, parts.groups);
    this.#checker.overlay = { inode: () => this.#checked.raw };
    this.directoryBlock = new DirectoryBlock(geometry.blockSize, geometry.hasIncompat(Incompat.FILETYPE));
  }

  /** Whether an inode, of whatever version, has the right checksum. */
  hasRightChecksum(inode: Inode): boolean {
    this.#checked = inode;
    try {
      this.#checker.readNamed(inode.ino, this.#scratch);
      return true;
    } catch (error) {
      if (error instanceof IoError) return false;
      throw error;
    }
  }

  /** How many names stand for an inode, "." and ".." among them. */
  names(ino: number): number {
    return this.#names.get(ino) ?? 0;
  }

  /** The inodes that have names; those that get some meanwhile come, too. */
  inodes(): Iterable<number> {
    return this.#names.keys();
  }

  /** How many inodes have names. */
  get named(): number {
    return this.#names.size;
  }

  addNames(ino: number, count: number): void {
    const names = this.names(ino) + count;
    if (names === 0) this.#names.delete(ino);
    else this.#names.set(ino, names);
  }

  /** Adds a sharer to a block of attributes, or takes one away; returns how many there are then. */
  share(block: number, count: number): number {
    const sharers = (this.#sharers.get(block) ?? 0) + count;
    if (sharers <= 0) this.#sharers.delete(block);
    else this.#sharers.set(block, sharers);
    return sharers;
  }

  /** Moves on by what inodes have, and no longer have; returns the blocks that are no metadata any longer. */
  take(entities: readonly Entity[]): number[] {
    const freed = new Set<number>();
    for (const { ino, releases } of entities) {
      for (const block of releases) {
        if (this.owners.get(block) !== ino) continue;
        this.owners.delete(block);
        freed.add(block);
      }
    }
    for (const { ino, claims, shares, got, lost, hasChanged } of entities) {
      if (got + lost > 0) this.ahead.delete(ino);
      else if (hasChanged) this.ahead.add(ino);
      for (const block of claims) {
        this.owners.set(block, ino);
        freed.delete(block);
      }
      for (const [block, count] of shares) {
        if (this.share(block, count) > 0) freed.delete(block);
        else if (!this.owners.has(block)) freed.add(block);
      }
      this.addNames(ino, got - lost);
    }
    for (const block of freed) this.kept.delete(block);
    return [...freed];
  }

  /** Where an inode lies in the block that holds it (bytes). */
  placeInTable(ino: number): number {
    const { inodeSize, inodesPerGroup } = this.parts.geometry;
    return (((ino - 1) % inodesPerGroup) % this.places.inodesPerBlock) * inodeSize;
  }

  /** Copies an inode out of its table; zeros if that has none that is in use. */
  inode(ino: number, into: Inode): Inode {
    return copyInode(this, ino, this.kept.get(this.places.tableBlock(ino)), into);
  }
}

/** Copies an inode out of a block of its table; zeros without one. */
export function copyInode(accepted: Accepted, ino: number, table: Buffer | undefined, into: Inode): Inode {
  into.ino = ino;
  if (table === undefined) into.raw.fill(0);
  else {
    const at = accepted.placeInTable(ino);
    table.copy(into.raw, 0, at, at + into.raw.length);
  }
  return into;
}

/** Whether an inode has names. (i_mode stays when ext2 frees one.) */
export function isLive({ fields }: Inode): boolean {
  return fields.i_mode !== 0 && fields.i_links_count !== 0;
}
