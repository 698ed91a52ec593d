/** Journals within images, in memory or in a file, and what their recovery makes of the image. */
import { readSync } from "node:fs";
import type { JournalDevice } from "../../src/filesystems/ext/journal/device.js";
import type { Fold } from "../../src/filesystems/ext/journal/fold.js";
import type { Journal } from "../../src/filesystems/ext/journal/journal.js";
import { Errno, FileSystemError } from "../../src/filesystems/filesystem.js";

/** The journal whose blocks are those of `image` (a whole volume). */
export class ImageJournal implements JournalDevice {
  readonly length: number;
  /** How often a block was read. */
  reads = 0;

  constructor(
    readonly image: Buffer,
    readonly blockSize: number,
    readonly blocks: Float64Array,
  ) {
    this.length = blocks.length;
  }

  read(index: number, target: Buffer, targetOffset: number): void {
    this.reads++;
    const block = this.blocks[index];
    if (block === undefined) throw new FileSystemError(Errno.EIO, `journal block ${index} is not mapped`);
    this.image.copy(target, targetOffset, block * this.blockSize, (block + 1) * this.blockSize);
  }

  /** Where a journal's block lies in the image, bytes. */
  at(index: number): number {
    return (this.blocks[index] as number) * this.blockSize;
  }
}

/** The journal in an image file, as it is at each moment. */
export class FileJournal implements JournalDevice {
  readonly length: number;

  constructor(
    readonly fd: number,
    readonly blockSize: number,
    readonly blocks: Float64Array,
  ) {
    this.length = blocks.length;
  }

  read(index: number, target: Buffer, targetOffset: number): void {
    const block = this.blocks[index];
    if (block === undefined) throw new FileSystemError(Errno.EIO, `journal block ${index} is not mapped`);
    readSync(this.fd, target, targetOffset, this.blockSize, block * this.blockSize);
  }
}

/** The image's block size, by its superblock. */
export function blockSizeOf(image: Buffer): number {
  return 1024 << image.readUInt32LE(1024 + 0x18);
}

/** Puts every newest copy in its place. */
export function applyFold(journal: Journal, folded: Fold, image: Buffer, blockSize: number): void {
  const copy = Buffer.alloc(blockSize);
  for (const [block, logged] of folded.copies) {
    journal.readCopy(logged, copy, 0);
    copy.copy(image, block * blockSize);
  }
}

/** The blocks in which two images differ, without the superblocks and the journal's, which recovery itself writes. */
export function differences(a: Buffer, b: Buffer, blockSize: number, journalSuperblock: number): number[] {
  const found: number[] = [];
  const left = Buffer.from(a);
  const right = Buffer.from(b);
  for (const image of [left, right]) {
    image.fill(0, 1024, 2048);
    image.fill(0, journalSuperblock * blockSize, (journalSuperblock + 1) * blockSize);
  }
  for (let block = 0; block * blockSize < left.length; block++) {
    const at = block * blockSize;
    if (left.compare(right, at, at + blockSize, at, at + blockSize) !== 0) found.push(block);
  }
  return found;
}
