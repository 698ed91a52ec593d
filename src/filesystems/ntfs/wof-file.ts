/** Files that Windows keeps compressed in a stream of their own ("compact OS", `compact /exe`). */
import {
  type WofAlgorithm,
  type WofRange,
  wofChunkOf,
  wofChunkRoom,
  wofDecompress,
  wofEntriesAt,
  wofEntriesLength,
  wofRange,
} from "./compression/wof.js";
import type { FileBytes } from "./content.js";
import type { UnitCache } from "./unit-cache.js";

const entries = Buffer.alloc(16);
let packed = Buffer.alloc(32768);

export class WofFile implements FileBytes {
  readonly size: number;
  readonly #algorithm: WofAlgorithm;
  readonly #stream: FileBytes;
  readonly #units: UnitCache;
  readonly #range: WofRange = { offset: 0, length: 0 };

  /** `size`: bytes of the file. `stream`: what has them compressed. */
  constructor(size: number, algorithm: WofAlgorithm, stream: FileBytes, units: UnitCache) {
    this.size = size;
    this.#algorithm = algorithm;
    this.#stream = stream;
    this.#units = units;
  }

  read(position: number, length: number, target: Buffer, targetOffset: number): void {
    const { chunkBytes } = this.#algorithm;
    for (let done = 0; done < length; ) {
      const at = position + done;
      const chunk = wofChunkOf(this.#algorithm, at);
      const within = at - chunk * chunkBytes;
      const part = Math.min(wofChunkRoom(this.#algorithm, this.size, chunk) - within, length - done);
      const bytes = this.#units.find(this, chunk) ?? this.#decompress(chunk);
      bytes.copy(target, targetOffset + done, within, within + part);
      done += part;
    }
  }

  seek(position: number, hole: boolean): number {
    return hole ? this.size : position;
  }

  #decompress(chunk: number): Buffer {
    const algorithm = this.#algorithm;
    const range = this.#range;
    const length = wofEntriesLength(algorithm, this.size, chunk);
    this.#read(wofEntriesAt(this.size, chunk), length, entries);
    wofRange(algorithm, this.size, this.#stream.size, chunk, entries, 0, range);
    if (packed.length < range.length) packed = Buffer.allocUnsafeSlow(range.length);
    this.#read(range.offset, range.length, packed);
    const bytes = this.#units.room(algorithm.chunkBytes);
    const room = wofChunkRoom(algorithm, this.size, chunk);
    wofDecompress(algorithm, packed, 0, range.length, bytes, 0, room);
    this.#units.enter(bytes, this, chunk);
    return bytes;
  }

  /** A table that says that there is more than there is comes to nothing that can be decompressed. */
  #read(position: number, length: number, target: Buffer): void {
    const there = Math.max(0, Math.min(length, this.#stream.size - position));
    if (there > 0) this.#stream.read(position, there, target, 0);
    target.fill(0, there, length);
  }
}
