/** Crawling a file system: all its inodes and names, read in the order in which they lie on the disk. */
import type { BlockKind } from "./block-kind.js";
import type { InodeState } from "./changes.js";

/** Takes what a crawl finds: inodes and names in no order that means anything. What it throws ends the crawl. */
export interface CrawlSink {
  /** Comes first. */
  begin(rootInode: number): void;
  /** An inode that has names, or should have: the deleted and the format's own are left out. */
  inode(ino: number, state: InodeState): void;
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
