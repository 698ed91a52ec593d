/**
 * How far a log has been written, for readers in other threads: a table in shared memory, written between two steps of its
 * counter, so that nobody takes half of a change for the whole.
 */

/** A segment as far as it may be read. */
export interface SegmentEnd {
  /** Its number; 0: there is none. */
  readonly segment: number;
  /** Bytes. */
  readonly size: number;
  /** When it was last written: ms since 1970. */
  readonly written: number;
}

export const NO_SEGMENT: SegmentEnd = { segment: 0, size: 0, written: 0 };

const COUNTER = 0;
/** Per segment: number, size, seconds, ms. */
const FIELDS = 4;
const CURRENT = 1;
const PREVIOUS = CURRENT + FIELDS;
const LENGTH = PREVIOUS + FIELDS;

/** Memory for one log's table. */
export function newPosition(): SharedArrayBuffer {
  return new SharedArrayBuffer(LENGTH * Int32Array.BYTES_PER_ELEMENT);
}

/** The side that writes. */
export function setPosition(shared: SharedArrayBuffer, current: SegmentEnd, previous: SegmentEnd): void {
  const table = new Int32Array(shared);
  Atomics.add(table, COUNTER, 1);
  store(table, CURRENT, current);
  store(table, PREVIOUS, previous);
  Atomics.add(table, COUNTER, 1);
}

function store(table: Int32Array, at: number, { segment, size, written }: SegmentEnd): void {
  Atomics.store(table, at, segment);
  Atomics.store(table, at + 1, size);
  Atomics.store(table, at + 2, Math.floor(written / 1000));
  Atomics.store(table, at + 3, Math.floor(written % 1000));
}

/** The side that reads. */
export class Position {
  current: SegmentEnd = NO_SEGMENT;
  previous: SegmentEnd = NO_SEGMENT;
  readonly #table: Int32Array;
  #seen = -1;

  constructor(shared: SharedArrayBuffer) {
    this.#table = new Int32Array(shared);
  }

  /** Takes in what has been written; whether that is new. */
  refresh(): boolean {
    const table = this.#table;
    // The other side is never in between for more than some stores.
    for (;;) {
      const counter = Atomics.load(table, COUNTER);
      if (counter === this.#seen) return false;
      if ((counter & 1) !== 0) continue;
      const current = load(table, CURRENT);
      const previous = load(table, PREVIOUS);
      if (Atomics.load(table, COUNTER) !== counter) continue;
      this.current = current;
      this.previous = previous;
      this.#seen = counter;
      return true;
    }
  }
}

function load(table: Int32Array, at: number): SegmentEnd {
  return {
    segment: Atomics.load(table, at),
    size: Atomics.load(table, at + 1),
    written: Atomics.load(table, at + 2) * 1000 + Atomics.load(table, at + 3),
  };
}
