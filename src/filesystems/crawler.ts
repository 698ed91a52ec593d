/** Crawling a file system: all its inodes and names, read in the order in which they lie on the disk. */
import type { BlockKind } from "./block-kind.js";
import type { InodeState } from "./changes.js";
import type { Attributes } from "./filesystem.js";

/** Blocks of a file that lie together, logical ones and where they are on the volume, in order. */
export type ExtentVisitor = (logical: number, physical: number, count: number, isUnwritten: boolean) => void;

/** An extended attribute. */
export interface CrawledAttribute {
  /** One character a byte. */
  readonly name: string;
  /** Bytes of the value. */
  readonly size: number;
  /** Undefined where it is longer than what was asked for, or cannot be read. */
  readonly value: Buffer | undefined;
}

/** What there is of an inode beyond its state. To be asked for during the call that tells of the inode, and not later. */
export interface CrawledInode {
  /** The format's flags, whole. */
  readonly flags: number;
  /** Those of the flags that say how the inode is kept, which an InodeState has not. */
  readonly layoutFlags: number;
  /** Fills `out` with what stat(2) tells. */
  fill(out: Attributes): void;
  /** A symbolic link's target; undefined for what is none, or has none that can be read. */
  target(): Buffer | undefined;
  /** Some of the attributes: `most` of them, and values of `longest` bytes. */
  attributes(most: number, longest: number): readonly CrawledAttribute[];
  /** Visits the file's extents, as far as they can be read. */
  extents(visitor: ExtentVisitor): void;
  /** What could not be read of that; "" if nothing. */
  readonly problem: string;
}

/** How a file system stands as a crawl of it begins. */
export interface CrawlStart {
  readonly rootInode: number;
  /** Bytes. */
  readonly blockSize: number;
  /** The last transaction in its journal; undefined if there is none. */
  readonly sequence: number | undefined;
  /** What is another as soon as anything is written to a file system that is at rest; undefined for one that is not. */
  readonly rest: Buffer | undefined;
}

/** Takes what a follower keeps, as a CrawlSink does; what is `isAgain` may be another name of the inode's by now. */
export interface NameSink extends Pick<CrawlSink, "begin" | "name"> {
  inode(ino: number, state: InodeState): void;
}

/** Takes what a crawl finds: inodes and names in no order that means anything. What it throws ends the crawl. */
export interface CrawlSink {
  /** Comes first. */
  begin(rootInode: number): void;
  /** An inode that has names, or should have: the deleted and the format's own are left out. */
  inode(ino: number, state: InodeState, inode: CrawledInode): void;
  /**
   * `length` bytes at `start` of `name`, valid only during the call, stand for an inode; "." and ".." are left out.
   * `isAgain`: the name may have been told before, as its directory had to be read a second time.
   */
  name(directory: number, name: Buffer, start: number, length: number, ino: number, isAgain: boolean): void;
}

/** What was crawled. */
export interface Crawled {
  /** The last transaction of the version that the crawl began with; undefined if there is none in a journal. */
  readonly sequence: number | undefined;
  /** Inodes and directory blocks that could not be read, and were passed over. */
  readonly bad: number;
}

/** Takes where blocks lie, in no order that means anything. What it throws ends the crawl. */
export interface BlockSink {
  /**
   * `count` blocks from `physical` on, numbered within the volume, are of one kind. `inode` is that of the file that has
   * them (0: none), `logical` the first one's number within that file, where they are its contents; else 0.
   */
  extent(physical: number, count: number, inode: number, logical: number, kind: BlockKind): void;
}

/** Takes what a crawl of blocks finds. */
export interface BlockCrawlSink extends BlockSink {
  /** Comes first: bytes of a block, and how many the file system has. */
  begin(blockSize: number, blocks: number): void;
}
