/** From a crawl to a map of names. */
import type { InodeState } from "../filesystems/changes.js";
import type { CrawlSink } from "../filesystems/crawler.js";
import { InodeIndex } from "./inode-index.js";

/** Inodes and names after which the map's size is looked at. */
const LOOK_EVERY = 10_000;

export class IndexSink implements CrawlSink {
  /** What has been found. */
  index = new InodeIndex(0);
  readonly #mostBytes: number;
  #taken = 0;

  /** Ends the crawl with an error when the map takes more than `mostBytes`, or little more. */
  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  begin(rootInode: number): void {
    this.index = new InodeIndex(rootInode);
  }

  inode(ino: number, state: InodeState): void {
    this.index.setState(ino, state);
    this.#look();
  }

  name(directory: number, name: Buffer, start: number, length: number, ino: number, isAgain: boolean): void {
    if (isAgain) this.index.link(directory, name.subarray(start, start + length), ino);
    else this.index.add(directory, name, start, length, ino);
    this.#look();
  }

  #look(): void {
    if (++this.#taken % LOOK_EVERY !== 0 || this.index.bytes <= this.#mostBytes) return;
    throw new Error(`its map of names would take more than ${Math.floor(this.#mostBytes / 2 ** 20)} MiB`);
  }
}
