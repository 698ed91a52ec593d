/** Where a scope's lines are in a segment, so that they can be read as a file; and how many bytes such tables may take. */
import type { Scope } from "./event.js";
import { LineParts, NEWLINE, needles } from "./line.js";

/** Bytes that a table counts for, whatever it holds. */
const OVERHEAD = 512;
const FIRST_LINES = 8;

/** Reads bytes of a segment; returns how many there were. */
export type ReadSegment = (target: Buffer, targetOffset: number, length: number, position: number) => number;

/** Bytes that are scanned at a time; more for a line that is longer. Shared by all tables of a thread. */
let scratch = Buffer.allocUnsafe(256 << 10);
const parts = new LineParts();

export class LineIndex {
  /** Lines known. */
  count = 0;
  /** Bytes of all lines. */
  size = 0;
  /** When the last line was written: ms since 1970; 0: there is none. */
  written = 0;
  /** By line: where its event is in the segment, and in the scope's file. */
  #places = new Int32Array(FIRST_LINES);
  #offsets = new Int32Array(FIRST_LINES);
  readonly #needles: readonly [Buffer, Buffer] | undefined;
  #scanned = 0;

  /** Without a scope all lines count. */
  constructor(scope: Scope | undefined) {
    this.#needles = scope === undefined ? undefined : needles(scope);
  }

  /** Bytes of the segment that have been taken in. */
  get scanned(): number {
    return this.#scanned;
  }

  /** Bytes of memory. */
  get bytes(): number {
    return OVERHEAD + this.#places.byteLength + this.#offsets.byteLength;
  }

  /** Takes in the lines up to `end`, which is the end of a line. Throws what `read` throws. */
  grow(end: number, read: ReadSegment): void {
    while (this.#scanned < end) {
      const length = Math.min(scratch.length, end - this.#scanned);
      const got = read(scratch, 0, length, this.#scanned);
      const whole = got === 0 ? 0 : scratch.subarray(0, got).lastIndexOf(NEWLINE) + 1;
      if (whole === 0) {
        if (got < length || length === end - this.#scanned) break;
        scratch = Buffer.allocUnsafe(scratch.length * 2);
        continue;
      }
      this.#takeLines(whole);
      this.#scanned += whole;
    }
  }

  #takeLines(length: number): void {
    const [own, all] = this.#needles ?? [];
    for (let at = 0; at < length; ) {
      const end = scratch.indexOf(NEWLINE, at);
      if (
        parts.parse(scratch, at, end) &&
        (own === undefined || all === undefined || parts.has(scratch, at, own) || parts.has(scratch, at, all))
      ) {
        this.#take(end);
      }
      at = end + 1;
    }
  }

  #take(end: number): void {
    if (this.count === this.#places.length) {
      this.#places = grown(this.#places);
      this.#offsets = grown(this.#offsets);
    }
    this.#places[this.count] = this.#scanned + parts.json;
    this.#offsets[this.count++] = this.size;
    this.size += end + 1 - parts.json;
    this.written = parts.written(scratch);
  }

  /** Reads of the scope's file; returns how many bytes there were. Throws what `read` throws. */
  read(position: number, length: number, target: Buffer, targetOffset: number, read: ReadSegment): number {
    const wanted = Math.min(length, this.size - position);
    if (wanted <= 0) return 0;
    let line = this.#lineAt(position);
    for (let done = 0; done < wanted; ) {
      const first = this.#places[line] as number;
      const skip = position + done - (this.#offsets[line] as number);
      // As many lines as fit are read with what stands between them.
      let last = line;
      while (
        last + 1 < this.count &&
        (this.#offsets[last + 1] as number) < position + wanted &&
        this.#endOf(last + 1) - first - skip <= scratch.length
      )
        last++;
      const from = first + skip;
      const bytes = Math.min(this.#endOf(last) - from, scratch.length);
      const got = read(scratch, 0, bytes, from);
      if (got < bytes) return done;
      for (let at = line; at <= last && done < wanted; at++) {
        const start = Math.max(this.#places[at] as number, from);
        const count = Math.min(this.#endOf(at) - start, wanted - done, from + bytes - start);
        scratch.copy(target, targetOffset + done, start - from, start - from + count);
        done += count;
      }
      line = this.#lineAt(position + done);
    }
    return wanted;
  }

  #lineAt(offset: number): number {
    let low = 0;
    let high = this.count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#offsets[middle] as number) <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** In the segment. */
  #endOf(line: number): number {
    const next = line + 1 < this.count ? (this.#offsets[line + 1] as number) : this.size;
    return (this.#places[line] as number) + next - (this.#offsets[line] as number);
  }
}

function grown(array: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(array.length * 2);
  larger.set(array);
  return larger;
}

interface Kept {
  readonly index: LineIndex;
  bytes: number;
}

/** Tables that were used last, of all logs of a thread, within a bound of memory. */
export class LineIndexes {
  readonly #limit: number;
  readonly #kept = new Map<string, Kept>();
  #bytes = 0;

  /** `limit`: bytes. */
  constructor(limit = 16 << 20) {
    this.#limit = limit;
  }

  /** The table with a key, grown by `grow`; a new one if it is not kept. */
  use(key: string, scope: Scope | undefined, grow: (index: LineIndex) => void): LineIndex {
    const kept = this.#kept.get(key) ?? { index: new LineIndex(scope), bytes: 0 };
    this.#kept.delete(key);
    this.#bytes -= kept.bytes;
    grow(kept.index);
    kept.bytes = kept.index.bytes;
    this.#bytes += kept.bytes;
    this.#kept.set(key, kept);
    for (const [oldest, { bytes }] of this.#kept) {
      if (this.#bytes <= this.#limit || oldest === key) break;
      this.#kept.delete(oldest);
      this.#bytes -= bytes;
    }
    return kept.index;
  }
}
