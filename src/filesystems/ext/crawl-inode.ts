/** What a crawl tells of an inode beyond its state: attributes, targets, extents. */
import { EIO, IoError } from "../../images/io-error.js";
import type { CrawledAttribute, CrawledInode, ExtentVisitor } from "../crawler.js";
import { type Attributes, FileType } from "../filesystem.js";
import { type Inode, InodeFlags } from "./inode.js";
import { KEPT_HOW } from "./inode-state.js";
import type { Parts } from "./parts.js";
import { Run } from "./run.js";
import { isFastLink, symlinkTarget } from "./symlink.js";

/** Logical blocks are 32 bits wide. */
const BLOCKS = 2 ** 32;
/** Holes that may be gone through besides extents: a hostile map can be all holes of one block. */
const MOST_HOLES = 1 << 27;
const NO_ATTRIBUTES: readonly CrawledAttribute[] = [];

/** The inode that a crawl has read last. */
export class ExtCrawledInode implements CrawledInode {
  readonly #parts: Parts;
  readonly #inode: Inode;
  readonly #run = new Run();
  /** Extents that there can still be: each has a block of its own. */
  #extentsLeft: number;
  #holesLeft = MOST_HOLES;
  #problem = "";

  constructor(parts: Parts, inode: Inode) {
    this.#parts = parts;
    this.#inode = inode;
    this.#extentsLeft = parts.view.blocksThere;
  }

  /** The inode has another content now. */
  enter(): void {
    this.#problem = "";
  }

  get problem(): string {
    return this.#problem;
  }

  get flags(): number {
    return this.#inode.fields.i_flags;
  }

  get layoutFlags(): number {
    return (this.#inode.fields.i_flags & KEPT_HOW) >>> 0;
  }

  fill(out: Attributes): void {
    this.#parts.inodes.attributes(this.#inode, out);
  }

  target(): Buffer | undefined {
    if (this.#inode.type !== FileType.LINK) return undefined;
    let target: Buffer | undefined;
    this.#try(() => {
      target = symlinkTarget(this.#parts, this.#inode);
    });
    return target;
  }

  attributes(most: number, longest: number): readonly CrawledAttribute[] {
    const { attributes } = this.#parts;
    if (!attributes.any(this.#inode)) return NO_ATTRIBUTES;
    const found: CrawledAttribute[] = [];
    this.#try(() => {
      attributes.each(this.#inode, (name, size, copy) => {
        let value: Buffer | undefined;
        if (size <= longest) {
          this.#try(() => {
            value = copy();
          });
        }
        return found.push({ name, size: value?.length ?? size, value }) === most;
      });
    });
    return found;
  }

  extents(visitor: ExtentVisitor): void {
    if (this.#hasMap()) this.#try(() => this.#visit(visitor));
  }

  /** Whether i_block is a map of blocks. */
  #hasMap(): boolean {
    const inode = this.#inode;
    if (inode.hasFlag(InodeFlags.INLINE_DATA)) return false;
    switch (inode.type) {
      case FileType.REGULAR:
      case FileType.DIRECTORY:
        return true;
      case FileType.LINK:
        return !isFastLink(this.#parts, inode, this.#parts.inodes.size(inode));
      default:
        return false;
    }
  }

  #visit(visitor: ExtentVisitor): void {
    const { content } = this.#parts;
    const inode = this.#inode;
    const run = this.#run;
    let start = 0;
    let physical = 0;
    let count = 0;
    let isUnwritten = false;
    for (let logical = 0; logical < BLOCKS; logical += run.length) {
      content.map(inode, logical, run);
      if (run.physical === 0) {
        if (--this.#holesLeft < 0) throw new IoError(EIO, `inode ${inode.ino}: too many holes`);
        continue;
      }
      if (--this.#extentsLeft < 0)
        throw new IoError(EIO, `inode ${inode.ino}: more extents than there are blocks`);
      const goesOn = count > 0 && start + count === logical && physical + count === run.physical;
      if (goesOn && isUnwritten === run.unwritten) {
        count += run.length;
        continue;
      }
      if (count > 0) visitor(start, physical, count, isUnwritten);
      start = logical;
      physical = run.physical;
      count = run.length;
      isUnwritten = run.unwritten;
    }
    if (count > 0) visitor(start, physical, count, isUnwritten);
  }

  #try(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      this.#problem = error.message;
    }
  }
}
