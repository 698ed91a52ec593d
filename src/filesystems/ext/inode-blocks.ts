/** Where the blocks of one inode lie, and what they hold. */
import { EIO, IoError } from "../../images/io-error.js";
import { BlockKind } from "../block-kind.js";
import type { BlockSink } from "../crawler.js";
import { FileType } from "../filesystem.js";
import { BlockMap, hasMap, type MapVisitor } from "./block-map.js";
import { type Inode, InodeFlags } from "./inode.js";
import type { Parts } from "./parts.js";
import { Run } from "./run.js";
import type { Geometry } from "./superblock.js";

/** The file system's own inodes (ext4 documentation, "Special inodes"). */
const ROOT_INODE = 2;
const USER_QUOTA_INODE = 3;
const GROUP_QUOTA_INODE = 4;
const RESIZE_INODE = 7;
/** Logical blocks are 32 bits wide. */
const BLOCKS = 2 ** 32;

export class InodeBlocks implements MapVisitor {
  /** Blocks and runs that may still be told: a hostile map can lead to the same ones for ever. */
  blocksLeft = Number.POSITIVE_INFINITY;
  runsLeft = Number.POSITIVE_INFINITY;
  readonly #parts: Parts;
  readonly #map: BlockMap;
  readonly #levels: Buffer[] = [];
  readonly #run = new Run();
  #sink!: BlockSink;
  #ino = 0;
  #mapKind: BlockKind = BlockKind.NONE;
  #kind: BlockKind = BlockKind.NONE;
  /** A run that the next one may go on from. */
  #physical = 0;
  #count = 0;
  #logical = 0;
  #isUnwritten = false;

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#map = new BlockMap(parts.geometry);
  }

  /**
   * Tells all blocks of an inode but those that no other kind of inode has. Throws IoError when its map cannot be read, or
   * is more than was left; what was told until then holds.
   */
  tell(inode: Inode, sink: BlockSink): void {
    const { geometry, inodes } = this.#parts;
    this.#sink = sink;
    this.#ino = inode.ino;
    const kind = contentsKind(inode, geometry);
    if (kind === BlockKind.NONE) return;
    const attributes = inodes.attributeBlock(inode);
    if (this.#map.isThere(attributes)) sink.extent(attributes, 1, inode.ino, 0, BlockKind.ATTRIBUTES);
    this.#kind = kind;
    this.#mapKind = kind < BlockKind.DIRECTORY ? kind : BlockKind.MAP;
    this.#count = 0;
    if (!hasMap(geometry, inodes, inode)) return;
    try {
      if (this.#parts.fastCommits?.map(inode.ino, 0, this.#run) === true) this.#tellChanged(inode);
      else this.#map.walk(inode, this);
    } finally {
      this.#flush();
    }
    if (this.#map.isBad) throw new IoError(EIO, `inode ${inode.ino}: a bad map of its blocks`);
  }

  map(block: number, level: number): Buffer {
    const { view } = this.#parts;
    this.#take(1);
    this.#sink.extent(block, 1, this.#ino, 0, this.#mapKind);
    const bytes = view.locate(block);
    // What is located stays there only until the next block is.
    this.#levels[level] ??= Buffer.allocUnsafeSlow(view.blockSize);
    const copy = this.#levels[level] as Buffer;
    bytes.copy(copy, 0, view.at, view.at + view.blockSize);
    return copy;
  }

  run(physical: number, count: number, logical: number, isUnwritten: boolean): void {
    this.#take(count);
    const isNext = physical === this.#physical + this.#count && logical === this.#logical + this.#count;
    if (this.#count > 0 && isNext && isUnwritten === this.#isUnwritten) {
      this.#count += count;
      return;
    }
    this.#flush();
    this.#physical = physical;
    this.#count = count;
    this.#logical = logical;
    this.#isUnwritten = isUnwritten;
  }

  /** A map that fast commits have changed: its own blocks are as they were. */
  #tellChanged(inode: Inode): void {
    const run = this.#run;
    for (let logical = 0; logical < BLOCKS; logical += run.length) {
      this.#parts.content.map(inode, logical, run);
      if (run.physical !== 0) this.run(run.physical, run.length, logical, run.unwritten);
      else if (--this.runsLeft < 0) throw tooMuch(inode.ino);
    }
  }

  #flush(): void {
    if (this.#count === 0) return;
    const isUnwritten = this.#isUnwritten && this.#kind === BlockKind.DATA;
    this.#sink.extent(
      this.#physical,
      this.#count,
      this.#ino,
      this.#logical,
      isUnwritten ? BlockKind.UNWRITTEN : this.#kind,
    );
    this.#count = 0;
    if (--this.runsLeft < 0) throw tooMuch(this.#ino);
  }

  #take(blocks: number): void {
    this.blocksLeft -= blocks;
    if (this.blocksLeft < 0) throw tooMuch(this.#ino);
  }
}

function tooMuch(ino: number): IoError {
  return new IoError(EIO, `inode ${ino}: its map has more blocks than there can be`);
}

/** What the contents of an inode are; NONE for the format's own that nobody writes to. */
function contentsKind(inode: Inode, geometry: Geometry): BlockKind {
  const { ino } = inode;
  if (ino === geometry.journalInode) return BlockKind.JOURNAL;
  if (ino === geometry.orphanFileInode) return BlockKind.ORPHANS;
  if (ino === USER_QUOTA_INODE || ino === GROUP_QUOTA_INODE || ino === geometry.projectQuotaInode)
    return BlockKind.QUOTA;
  if (ino === RESIZE_INODE) return BlockKind.DESCRIPTORS;
  if (ino < geometry.firstInode && ino !== ROOT_INODE) return BlockKind.NONE;
  if (inode.hasFlag(InodeFlags.EA_INODE)) return BlockKind.ATTRIBUTES;
  if (inode.type === FileType.DIRECTORY) return BlockKind.DIRECTORY;
  return inode.type === FileType.LINK ? BlockKind.TARGET : BlockKind.DATA;
}
