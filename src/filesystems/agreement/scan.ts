/** Comparing what is in the places of metadata blocks with the copies that are kept of them. */
import type { Source } from "../../images/image.js";
import { readFully } from "../../versions/block-cache.js";
import type { Kept } from "./kept.js";

/** Bytes that are read at once, at most. */
const BATCH = 262_144;
/** Bytes of other blocks that are read along rather than read apart. */
const GAP = 16_384;

export class Scan {
  readonly #source: Source;
  readonly #blockSize: number;
  readonly #buffer = Buffer.allocUnsafeSlow(BATCH);

  /** `blockSize` in bytes. */
  constructor(source: Source, blockSize: number) {
    this.#source = source;
    this.#blockSize = blockSize;
  }

  /** Those blocks that differ, as they are now. One that can no longer be read whole counts as it was. Throws IoError. */
  changed(kept: Kept): Map<number, Buffer> {
    return this.changedAmong(kept.sorted, kept);
  }

  /** The same of some of them, whose numbers are ascending. Throws IoError. */
  changedAmong(blocks: Float64Array, kept: Kept): Map<number, Buffer> {
    const size = this.#blockSize;
    const changed = new Map<number, Buffer>();
    const most = BATCH / size;
    const gap = GAP / size;
    for (let from = 0; from < blocks.length; ) {
      const first = blocks[from] as number;
      let to = from + 1;
      while (to < blocks.length) {
        const next = blocks[to] as number;
        if (next - first >= most || next - (blocks[to - 1] as number) > gap) break;
        to++;
      }
      const length = ((blocks[to - 1] as number) - first + 1) * size;
      const there = readFully(this.#source, this.#buffer, length, first * size);
      for (; from < to; from++) {
        const block = blocks[from] as number;
        const at = (block - first) * size;
        const copy = kept.get(block) as Buffer;
        if (at + size > there || this.#buffer.compare(copy, 0, size, at, at + size) === 0) continue;
        changed.set(block, Buffer.from(this.#buffer.subarray(at, at + size)));
      }
    }
    return changed;
  }
}
