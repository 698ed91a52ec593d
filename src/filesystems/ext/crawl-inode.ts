/** What a crawl tells of an inode beyond its state: attributes, targets, extents. */
import { EIO, IoError } from "../../images/io-error.js";
import { BlockKind } from "../block-kind.js";
import type { BlockSink, CrawledAttribute, CrawledInode, ExtentVisitor } from "../crawler.js";
import { type Attributes, FileType } from "../filesystem.js";
import { countInlineData, type Inode } from "./inode.js";
import { InodeBlocks } from "./inode-blocks.js";
import { KEPT_HOW } from "./inode-state.js";
import type { Parts } from "./parts.js";
import { symlinkTarget } from "./symlink.js";

const NO_ATTRIBUTES: readonly CrawledAttribute[] = [];

/** The inode that a crawl has read last. */
export class ExtCrawledInode implements CrawledInode, BlockSink {
  readonly #parts: Parts;
  readonly #inode: Inode;
  readonly #blocks: InodeBlocks;
  /** Bytes of attributes and targets that may still be told: a hostile guest's inodes may all have the same block of them. */
  #bytesLeft: number;
  #visitor: ExtentVisitor = () => {};
  #problem = "";

  constructor(parts: Parts, inode: Inode) {
    this.#parts = parts;
    this.#inode = inode;
    this.#blocks = new InodeBlocks(parts);
    // No block is in two files, nor twice in one.
    this.#blocks.blocksLeft = parts.view.blocksThere;
    this.#bytesLeft = parts.view.blocksThere * parts.view.blockSize;
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
    countInlineData(this.#inode, out);
  }

  target(): Buffer | undefined {
    if (this.#inode.type !== FileType.LINK) return undefined;
    let target: Buffer | undefined;
    this.#try(() => {
      const found = symlinkTarget(this.#parts, this.#inode);
      this.#take(found.length);
      target = found;
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
        this.#take(name.length + (value?.length ?? 0));
        return found.push({ name, size: value?.length ?? size, value }) === most;
      });
    });
    return found;
  }

  extents(visitor: ExtentVisitor): void {
    this.#visitor = visitor;
    this.#try(() => this.#blocks.tell(this.#inode, this));
  }

  /** Of all blocks of the inode, those of its contents. */
  extent(physical: number, count: number, _inode: number, logical: number, kind: BlockKind): void {
    if (kind >= BlockKind.DATA || kind === BlockKind.DIRECTORY || kind === BlockKind.TARGET)
      this.#visitor(logical, physical, count, kind === BlockKind.UNWRITTEN);
  }

  #take(bytes: number): void {
    this.#bytesLeft -= bytes;
    if (this.#bytesLeft < 0)
      throw new IoError(EIO, `inode ${this.#inode.ino}: more attributes and targets than there can be`);
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
