/** What a crawl tells of a file beyond its state: attributes, targets, extents. */
import { IoError } from "../../images/io-error.js";
import { BlockKind } from "../block-kind.js";
import type { BlockSink, CrawledAttribute, CrawledInode, ExtentVisitor } from "../crawler.js";
import { type Attributes, FileType } from "../filesystem.js";
import type { Inode } from "./inode.js";
import { InodeClusters } from "./inode-clusters.js";
import type { Parts } from "./parts.js";

/** The file that a crawl has read last. */
export class NtfsCrawledInode implements CrawledInode, BlockSink {
  readonly layoutFlags = 0;
  readonly #parts: Parts;
  readonly #inode: Inode;
  readonly #clusters: InodeClusters;
  #visitor: ExtentVisitor = () => {};
  #problem = "";

  constructor(parts: Parts, inode: Inode) {
    this.#parts = parts;
    this.#inode = inode;
    this.#clusters = new InodeClusters(parts.mft);
  }

  /** The inode has another content now. */
  enter(): void {
    this.#problem = "";
  }

  get problem(): string {
    return this.#problem;
  }

  get flags(): number {
    return this.#inode.fileAttributes;
  }

  fill(out: Attributes): void {
    this.#parts.attributes.fill(this.#inode, out);
  }

  target(): Buffer | undefined {
    let target: Buffer | undefined;
    this.#try(() => {
      if (this.#parts.kinds.typeOf(this.#inode) === FileType.LINK)
        target = this.#parts.links.target(this.#inode);
    });
    return target;
  }

  attributes(most: number, longest: number): readonly CrawledAttribute[] {
    const found: CrawledAttribute[] = [];
    this.#try(() => {
      this.#parts.extendedAttributes.each(this.#inode, (name, size, copy) => {
        let value: Buffer | undefined;
        if (size <= longest) {
          this.#try(() => {
            value = copy();
          });
        }
        return found.push({ name, size, value }) === most;
      });
    });
    return found;
  }

  extents(visitor: ExtentVisitor): void {
    this.#visitor = visitor;
    this.#try(() => this.#clusters.tellContents(this.#inode, this));
  }

  extent(physical: number, count: number, _inode: number, logical: number, kind: BlockKind): void {
    this.#visitor(logical, physical, count, kind === BlockKind.UNWRITTEN);
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
