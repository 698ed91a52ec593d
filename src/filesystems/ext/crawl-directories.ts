/** The names of directories, collected block by block in the order in which the blocks lie on the disk. */
import { EIO, IoError } from "../../images/io-error.js";
import type { CrawlSink } from "../crawler.js";
import type { EntryVisitor } from "../filesystem.js";
import { DirectoryBlock, directoryChecksumIsRight } from "./dirblock.js";
import { Incompat } from "./features.js";
import { type Inode, InodeFlags } from "./inode.js";
import type { Parts } from "./parts.js";
import { Run } from "./run.js";

/** Runs of blocks that are collected before they are read. */
const MOST_RUNS = 1 << 18;
/** Bytes up to the next block that is wanted, for it to be worth reading on. */
const NEAR = 1 << 16;
/** Blocks without a name that are looked at: a hostile guest's may all be one. */
const MOST_EMPTY = 1 << 22;
const DOT = 0x2e;

/** Blocks that lie together, of one directory. */
interface DirectoryRun {
  readonly physical: number;
  readonly length: number;
  readonly directory: number;
  readonly checksumSeed: number;
  readonly isIndexed: boolean;
}

export class DirectoryPass {
  readonly #parts: Parts;
  readonly #sink: CrawlSink;
  readonly #isAgain: boolean;
  readonly #noteBad: (ino: number, error: unknown) => void;
  readonly #block: DirectoryBlock;
  readonly #run = new Run();
  #runs: DirectoryRun[] = [];
  /** Blocks that directories can still have: not more than the volume. */
  #blocksLeft: number;
  #empty = 0;

  /** `noteBad` is told of directories not all of whose entries could be read. */
  constructor(
    parts: Parts,
    sink: CrawlSink,
    isAgain: boolean,
    noteBad: (ino: number, error: unknown) => void,
  ) {
    this.#parts = parts;
    this.#sink = sink;
    this.#isAgain = isAgain;
    this.#noteBad = noteBad;
    const { geometry, view } = parts;
    this.#block = new DirectoryBlock(geometry.blockSize, geometry.hasIncompat(Incompat.FILETYPE));
    this.#blocksLeft = view.blocksThere;
  }

  /** Takes a directory's names, at once or with `flush`. Throws IoError when its map is bad. */
  add(inode: Inode): void {
    // What is in the inode is at hand; names that are shown encoded take the whole inode.
    if (inode.hasFlag(InodeFlags.INLINE_DATA) || inode.hasFlag(InodeFlags.ENCRYPT)) {
      this.list(inode);
      return;
    }
    const { content } = this.#parts;
    const run = this.#run;
    const blocks = this.#count(inode);
    for (let index = 0; index < blocks; index += run.length) {
      content.map(inode, index, run);
      if (!run.isData) continue;
      this.#runs.push({
        physical: run.physical,
        length: Math.min(run.length, blocks - index),
        directory: inode.ino,
        checksumSeed: inode.checksumSeed,
        isIndexed: inode.hasFlag(InodeFlags.INDEX),
      });
      if (this.#runs.length >= MOST_RUNS) this.flush();
    }
  }

  /** Takes a directory's names, in its own order. Throws IoError when not all of them can be read. */
  list(inode: Inode): void {
    if (!inode.hasFlag(InodeFlags.INLINE_DATA)) this.#count(inode);
    const visitor: EntryVisitor = {
      entry: (name, nameOffset, nameLength, ino) => {
        if (!isDots(name, nameOffset, nameLength))
          this.#sink.name(inode.ino, name, nameOffset, nameLength, ino, this.#isAgain);
        return true;
      },
    };
    this.#parts.directories.list(inode, 0, visitor);
  }

  /** Reads what has been collected. */
  flush(): void {
    const runs = this.#runs.sort((a, b) => a.physical - b.physical);
    this.#runs = [];
    for (const [index, run] of runs.entries()) {
      const following = runs[index + 1]?.physical ?? Number.POSITIVE_INFINITY;
      for (let n = 0; n < run.length; n++) {
        const next = n + 1 < run.length ? 1 : following - run.physical - n;
        this.#read(run, run.physical + n, next * this.#parts.geometry.blockSize <= NEAR);
      }
    }
  }

  /** How many blocks a directory has. Throws IoError when all together have more than the volume. */
  #count(inode: Inode): number {
    const blocks = this.#parts.directories.blocks(inode);
    if (blocks > this.#blocksLeft)
      throw new IoError(EIO, `directory ${inode.ino}: ${blocks} blocks are more than the volume can have`);
    this.#blocksLeft -= blocks;
    return blocks;
  }

  #read({ directory, checksumSeed, isIndexed }: DirectoryRun, physical: number, isNear: boolean): void {
    const { geometry, view } = this.#parts;
    const { blockSize } = geometry;
    const block = this.#block;
    let names = 0;
    try {
      const buffer = view.locate(physical, isNear);
      if (
        geometry.checksums &&
        !directoryChecksumIsRight(buffer, view.at, blockSize, checksumSeed, isIndexed)
      ) {
        throw new IoError(EIO, `directory ${directory}: a block has a wrong checksum`);
      }
      block.enter(buffer, view.at, blockSize);
      while (block.step()) {
        const { inode, nameAt, nameLength } = block;
        if (inode > geometry.inodesCount) {
          block.isBad = true;
          break;
        }
        if (inode === 0 || nameLength === 0 || isDots(buffer, nameAt, nameLength)) continue;
        this.#sink.name(directory, buffer, nameAt, nameLength, inode, this.#isAgain);
        names++;
      }
      if (block.isBad) throw new IoError(EIO, `directory ${directory}: bad entry`);
    } catch (error) {
      this.#noteBad(directory, error);
    }
    if (names === 0 && ++this.#empty > MOST_EMPTY)
      throw new IoError(EIO, `more than ${MOST_EMPTY} blocks of directories without a name`);
  }
}

function isDots(name: Buffer, at: number, length: number): boolean {
  return name[at] === DOT && (length === 1 || (length === 2 && name[at + 1] === DOT));
}
