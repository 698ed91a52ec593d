/** The names in a directory, "." and ".." among them. */
import { IoError } from "../../../images/io-error.js";
import { EntryType } from "../../filesystem.js";
import type { DirectoryBlock } from "../dirblock.js";
import type { Directories } from "../directory.js";
import { I_BLOCK, type Inode } from "../inode.js";

/** Told of each name: where it lies in a buffer, the inode that it stands for, its type as the entry has it. */
export type NameVisitor = (buffer: Buffer, at: number, length: number, ino: number, type: number) => void;

const DOTS = Buffer.from("..");

/** Visits the names in one block; returns whether all of it could be read. */
export function visitNames(block: DirectoryBlock, bytes: Buffer, visitor: NameVisitor): boolean {
  block.enter(bytes, 0, bytes.length);
  return visitEntered(block, visitor);
}

/** Visits the names in a directory's inode, and those two that are not stored there; returns whether all could be read. */
export function visitInlineNames(
  directories: Directories,
  inode: Inode,
  block: DirectoryBlock,
  visitor: NameVisitor,
): boolean {
  visitor(DOTS, 0, 1, inode.ino, EntryType.DIRECTORY);
  visitor(DOTS, 0, 2, inode.raw.readUInt32LE(I_BLOCK), EntryType.DIRECTORY);
  let isGood = true;
  try {
    for (let part = 0; part < 2; part++) {
      directories.enterInline(inode, inode.raw, part, block);
      isGood = visitEntered(block, visitor) && isGood;
    }
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    return false;
  }
  return isGood;
}

function visitEntered(block: DirectoryBlock, visitor: NameVisitor): boolean {
  while (block.step()) {
    if (block.inode === 0 || block.nameLength === 0) continue;
    visitor(block.buffer, block.nameAt, block.nameLength, block.inode, block.type);
  }
  return !block.isBad;
}
