/** A view of what is on the disk at the moment: nothing is remembered, but for what is noted so that it can be checked. */
import type { Source } from "../../../images/image.js";
import { type BlockCache, readFully } from "../../../versions/block-cache.js";
import { View } from "../../../versions/view.js";

/** Blocks that a reader may look at before the first of them is used again. */
const AT_HAND = 8;

/** What was read, to be compared with what is there later. */
export class Notes {
  readonly #positions: number[] = [];
  readonly #bytes: Buffer[] = [];

  add(position: number, buffer: Buffer, at: number, length: number): void {
    this.#positions.push(position);
    this.#bytes.push(Buffer.from(buffer.subarray(at, at + length)));
  }

  /** Whether all of it is as it was. Throws IoError. */
  isSame(source: Source): boolean {
    for (let n = 0; n < this.#positions.length; n++) {
      const bytes = this.#bytes[n] as Buffer;
      if (there.length < bytes.length) there = Buffer.allocUnsafeSlow(bytes.length);
      const got = readFully(source, there, bytes.length, this.#positions[n] as number);
      if (got < bytes.length || there.compare(bytes, 0, bytes.length, 0, bytes.length) !== 0) return false;
    }
    return true;
  }
}

let there = Buffer.allocUnsafeSlow(4096);

export class PlaceView extends View {
  readonly source: Source;
  /** Takes what is read of blocks by number; with `notesData`, what is read of them as a file's bytes, too. */
  notes: Notes | undefined;
  notesData = false;
  readonly #atHand: Buffer[];
  #next = 0;

  constructor(source: Source, blockSize: number, cache: BlockCache) {
    super(source, blockSize, cache);
    this.source = source;
    this.#atHand = Array.from({ length: AT_HAND }, () => Buffer.allocUnsafeSlow(blockSize));
  }

  override locate(block: number): Buffer {
    const bytes = this.#atHand[this.#next] as Buffer;
    this.#next = (this.#next + 1) % AT_HAND;
    this.readPlace(block, bytes, 0);
    this.notes?.add(block * this.blockSize, bytes, 0, this.blockSize);
    this.at = 0;
    this.checked = false;
    this.isGone = false;
    return bytes;
  }

  override readData(block: number, offset: number, length: number, target: Buffer, at: number): void {
    super.readData(block, offset, length, target, at);
    if (this.notesData) this.notes?.add(block * this.blockSize + offset, target, at, length);
  }
}
