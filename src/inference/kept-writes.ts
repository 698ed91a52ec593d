/**
 * Writes of which it is not known yet whose they are: ranges of a volume, apart and in order. What is written again, or
 * right beside, is one range with what was there.
 */
import { sortedOrder } from "./sorted-order.js";

/** Takes a range: its first byte and the one after the last, and of the last write of it the stream's number and the time. */
export type RangeVisitor = (
  start: number,
  end: number,
  sequence: number,
  time: number,
  since: number,
) => void;

/** Columns of a range. */
const START = 0;
const END = 1;
const SEQUENCE = 2;
const TIME = 3;
const SINCE = 4;
const COLUMNS = 5;

const FIRST_ROOM = 64;

export class KeptWrites {
  readonly #most: number;
  #ranges = new Float64Array(0);
  #length = 0;
  /** Those that are yet to be sorted in. */
  #added = new Float64Array(FIRST_ROOM * COLUMNS);
  #addedLength = 0;
  /** Ranges that somebody has asked for. */
  #touched = new Set<number>();

  /** `most`: ranges that are kept. */
  constructor(most: number) {
    this.#most = most;
  }

  get length(): number {
    this.#settle();
    return this.#length;
  }

  /** Bytes of the volume. */
  get bytes(): number {
    this.#settle();
    let sum = 0;
    for (let n = 0; n < this.#length; n++) sum += this.#at(n, END) - this.#at(n, START);
    return sum;
  }

  /** `since`: ms of a monotonic clock; the other parameters as RangeVisitor has them. */
  add(start: number, end: number, sequence: number, time: number, since: number): void {
    if (this.#addedLength * COLUMNS === this.#added.length) {
      const larger = new Float64Array(this.#added.length * 2);
      larger.set(this.#added);
      this.#added = larger;
    }
    const at = this.#addedLength++ * COLUMNS;
    this.#added[at + START] = start;
    this.#added[at + END] = end;
    this.#added[at + SEQUENCE] = sequence;
    this.#added[at + TIME] = time;
    this.#added[at + SINCE] = since;
  }

  /** Marks what has bytes in common with a range: to be taken out before more is marked for another reason. */
  touch(start: number, end: number): void {
    if (this.#touched.size === 0) this.#settle();
    let low = 0;
    let high = this.#length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#at(middle, END) > start) high = middle;
      else low = middle + 1;
    }
    for (; low < this.#length && this.#at(low, START) < end; low++) this.#touched.add(low);
  }

  /** Takes out all that was marked. */
  takeTouched(visit: RangeVisitor): void {
    if (this.#touched.size === 0) return;
    const touched = this.#touched;
    this.#touched = new Set();
    this.#takeIf((n) => touched.has(n), visit);
  }

  /** Takes out what was written last before `since`. */
  expire(since: number, visit: RangeVisitor): void {
    this.#settle();
    this.#takeIf((n) => this.#at(n, SINCE) < since, visit);
  }

  /** Forgets a range; returns how many of its bytes were kept. */
  forget(start: number, end: number): number {
    let forgotten = 0;
    this.touch(start, end);
    this.takeTouched((from, to, sequence, time, since) => {
      forgotten += Math.min(to, end) - Math.max(from, start);
      if (from < start) this.add(from, start, sequence, time, since);
      if (to > end) this.add(end, to, sequence, time, since);
    });
    return forgotten;
  }

  /** Takes out the oldest, if there are too many, and some more. */
  limit(visit: RangeVisitor): void {
    this.#settle();
    if (this.#length <= this.#most) return;
    const ages = Float64Array.from({ length: this.#length }, (_, n) => this.#at(n, SINCE)).sort();
    const since = ages[this.#length - Math.floor(this.#most * 0.75)] as number;
    let left = this.#length - Math.floor(this.#most * 0.75);
    // Many may be of the same moment.
    this.#takeIf((n) => this.#at(n, SINCE) <= since && left-- > 0, visit);
  }

  #at(range: number, column: number): number {
    return this.#ranges[range * COLUMNS + column] as number;
  }

  #takeIf(isWanted: (range: number) => boolean, visit: RangeVisitor): void {
    let kept = 0;
    // What `visit` adds is not sorted in yet.
    const length = this.#length;
    for (let n = 0; n < length; n++) {
      if (isWanted(n)) {
        visit(
          this.#at(n, START),
          this.#at(n, END),
          this.#at(n, SEQUENCE),
          this.#at(n, TIME),
          this.#at(n, SINCE),
        );
      } else {
        if (kept !== n) this.#ranges.copyWithin(kept * COLUMNS, n * COLUMNS, (n + 1) * COLUMNS);
        kept++;
      }
    }
    this.#length = kept;
  }

  /** Sorts in what was added. */
  #settle(): void {
    if (this.#addedLength === 0) return;
    const added = this.#added;
    const count = this.#addedLength;
    const starts = Float64Array.from({ length: count }, (_, n) => added[n * COLUMNS] as number);
    const order = sortedOrder(starts, count);
    const old = this.#ranges;
    const oldLength = this.#length;
    const into = new Float64Array((oldLength + count) * COLUMNS);
    let length = 0;
    for (let n = 0, m = 0; n < oldLength || m < count; ) {
      const next = m < count ? (order[m] as number) * COLUMNS : -1;
      const isOld = n < oldLength && (next < 0 || (old[n * COLUMNS] as number) <= (added[next] as number));
      const from = isOld ? old : added;
      const at = isOld ? n++ * COLUMNS : next;
      if (!isOld) m++;
      length = append(into, length, from, at);
    }
    this.#ranges = into;
    this.#length = length;
    this.#addedLength = 0;
    if (added.length > FIRST_ROOM * COLUMNS) this.#added = new Float64Array(FIRST_ROOM * COLUMNS);
  }
}

/** Adds a range to others that begin before it; returns how many there are. */
function append(into: Float64Array, length: number, from: Float64Array, at: number): number {
  const last = (length - 1) * COLUMNS;
  if (length === 0 || (into[last + END] as number) < (from[at + START] as number)) {
    into.set(from.subarray(at, at + COLUMNS), length * COLUMNS);
    return length + 1;
  }
  into[last + END] = Math.max(into[last + END] as number, from[at + END] as number);
  if ((from[at + SEQUENCE] as number) >= (into[last + SEQUENCE] as number)) {
    into[last + SEQUENCE] = from[at + SEQUENCE] as number;
    into[last + TIME] = from[at + TIME] as number;
  }
  into[last + SINCE] = Math.max(into[last + SINCE] as number, from[at + SINCE] as number);
  return length;
}
