/** A view of one version that copies make: a block without a copy is read in its place. */
import type { Source } from "../../../images/image.js";
import type { BlockCache } from "../../../versions/block-cache.js";
import { View } from "../../../versions/view.js";

/** Copies of blocks. */
export interface Copies {
  /** Where the block that was found last lies in the buffer that was returned. */
  readonly at: number;
  /** The buffer that has the block; undefined: what is in its place counts. Throws IoError. */
  find(block: number): Buffer | undefined;
}

export class CopiesView extends View {
  readonly #copies: Copies;

  constructor(source: Source, blockSize: number, cache: BlockCache, copies: Copies) {
    super(source, blockSize, cache);
    this.#copies = copies;
  }

  override locate(block: number, ahead = false): Buffer {
    const bytes = this.#copies.find(block);
    if (bytes === undefined) return super.locate(block, ahead);
    this.at = this.#copies.at;
    this.checked = false;
    this.isGone = false;
    return bytes;
  }

  override readData(
    block: number,
    offset: number,
    length: number,
    target: Buffer,
    targetOffset: number,
  ): void {
    const size = this.blockSize;
    for (let done = 0; done < length; ) {
      const current = block + Math.floor((offset + done) / size);
      const within = (offset + done) % size;
      const part = Math.min(size - within, length - done);
      const bytes = this.#copies.find(current);
      const to = targetOffset + done;
      if (bytes === undefined) super.readData(current, within, part, target, to);
      else bytes.copy(target, to, this.#copies.at + within, this.#copies.at + within + part);
      done += part;
    }
  }
}
