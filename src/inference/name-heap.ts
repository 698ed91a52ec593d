/** Names, one after the other in chunks of bytes: each with its length before it, found by its offset. */

/** Bytes of a chunk: more than the longest name. */
const CHUNK = 1 << 17;
/** Longer names are none that any file system has. */
const LONGEST = 65535;
/** A length that does not fit into one byte follows in two. */
const LONG = 255;
/** Offsets are kept in 32 bits. */
const MOST_BYTES = 2 ** 32;
/** Bytes of names no longer used that are not worth a compaction. */
const WORTH_COMPACTING = 1 << 16;

/** What a heap consists of. */
export interface NameHeapParts {
  readonly chunks: readonly Uint8Array[];
  readonly end: number;
  readonly unused: number;
}

export class NameHeap {
  readonly #chunks: Buffer[];
  /** Where the next name goes. 0 is no name's offset. */
  #end: number;
  #unused: number;

  constructor(parts?: NameHeapParts) {
    this.#chunks = (parts?.chunks ?? []).map(({ buffer, byteOffset, length }) =>
      Buffer.from(buffer as ArrayBuffer, byteOffset, length),
    );
    this.#end = parts?.end ?? 1;
    this.#unused = parts?.unused ?? 0;
  }

  get bytes(): number {
    return this.#chunks.length * CHUNK;
  }

  /** Whether so much is no longer used that the names should go into a new heap. */
  get isWasteful(): boolean {
    return this.#unused > WORTH_COMPACTING && this.#unused * 4 > this.#end;
  }

  /** Keeps a name; returns its offset. Throws RangeError when it is too long, or the heap is full. */
  add(name: Buffer, start: number, length: number): number {
    if (length > LONGEST) throw new RangeError(`a name of ${length} bytes`);
    const needed = length + (length < LONG ? 1 : 3);
    let within = this.#end % CHUNK;
    if (within + needed > CHUNK) {
      this.#unused += CHUNK - within;
      this.#end += CHUNK - within;
      within = 0;
    }
    const index = Math.floor(this.#end / CHUNK);
    if (this.#end + needed > MOST_BYTES) throw new RangeError("more than 4 GiB of names");
    if (index === this.#chunks.length) this.#chunks.push(Buffer.allocUnsafeSlow(CHUNK));
    const chunk = this.#chunks[index] as Buffer;
    let at = within;
    if (length < LONG) chunk[at++] = length;
    else {
      chunk[at++] = LONG;
      chunk.writeUInt16LE(length, at);
      at += 2;
    }
    name.copy(chunk, at, start, start + length);
    const offset = this.#end;
    this.#end += needed;
    return offset;
  }

  /** The bytes at an offset, where they lie. */
  at(offset: number): Buffer {
    const chunk = this.#chunks[Math.floor(offset / CHUNK)] as Buffer;
    const within = offset % CHUNK;
    const short = chunk[within] as number;
    if (short < LONG) return chunk.subarray(within + 1, within + 1 + short);
    return chunk.subarray(within + 3, within + 3 + chunk.readUInt16LE(within + 1));
  }

  /** Notes that a name is no longer used. */
  release(offset: number): void {
    const { length } = this.at(offset);
    this.#unused += length + (length < LONG ? 1 : 3);
  }

  /** The heap itself, no copy. */
  toParts(): NameHeapParts {
    return { chunks: this.#chunks, end: this.#end, unused: this.#unused };
  }
}
