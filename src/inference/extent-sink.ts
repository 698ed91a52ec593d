/** From a crawl to a table of what blocks hold. */
import type { BlockKind } from "../filesystems/block-kind.js";
import type { BlockCrawlSink } from "../filesystems/crawler.js";
import { ExtentTable } from "./extent-table.js";

/** Extents after which the table's size is looked at. */
const LOOK_EVERY = 10_000;

export class ExtentSink implements BlockCrawlSink {
  /** What has been found. */
  table = new ExtentTable(0);
  /** How many blocks the file system has, and bytes of each. */
  blocks = 0;
  blockSize = 0;
  readonly #mostBytes: number;
  #taken = 0;

  /** Ends the crawl with an error when the table takes more than `mostBytes`, or little more. */
  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  begin(blockSize: number, blocks: number): void {
    this.blocks = blocks;
    this.blockSize = blockSize;
    this.table = new ExtentTable(blocks);
  }

  extent(physical: number, count: number, inode: number, logical: number, kind: BlockKind): void {
    this.table.extent(physical, count, inode, logical, kind);
    if (++this.#taken % LOOK_EVERY !== 0 || this.table.bytes <= this.#mostBytes) return;
    throw new Error(`its map of blocks would take more than ${Math.floor(this.#mostBytes / 2 ** 20)} MiB`);
  }
}
