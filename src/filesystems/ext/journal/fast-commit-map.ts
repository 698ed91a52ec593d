/** A file's map of blocks with the changes that fast commits make to it. */
import type { Run } from "../run.js";

/** A range of a file's blocks, and where it lies: `physical` 0 is a hole. */
export interface MappedRange {
  readonly block: number;
  readonly length: number;
  readonly physical: number;
  readonly unwritten: boolean;
}

/** File blocks are numbered in 32 bits. */
const BLOCKS = 2 ** 32;

/** The whole map of one file; of two ranges for the same block the later one counts. */
export class ChangedMap {
  /** Where each segment begins, which range it belongs to (-1: a hole); a segment ends where the next begins. */
  readonly #starts: Float64Array;
  readonly #owners: Int32Array;
  readonly #ranges: readonly MappedRange[];

  /** `ranges` in the order in which they came about. */
  constructor(ranges: readonly MappedRange[]) {
    this.#ranges = ranges;
    const bounds = boundaries(ranges);
    const owners = paint(ranges, bounds);
    // Neighbouring segments of one range are one.
    let count = 0;
    for (let n = 0; n < owners.length; n++) {
      if (count > 0 && owners[n] === owners[count - 1]) continue;
      bounds[count] = bounds[n]!;
      owners[count] = owners[n]!;
      count++;
    }
    this.#starts = bounds.slice(0, count);
    this.#owners = owners.slice(0, count);
  }

  /** Fills `run` with the run that begins at file block `logical`. */
  map(logical: number, run: Run): void {
    const segment = last(this.#starts, logical);
    const end = segment + 1 < this.#starts.length ? this.#starts[segment + 1]! : BLOCKS;
    const length = Math.max(1, end - logical);
    const range = this.#ranges[this.#owners[segment]!];
    if (range === undefined || range.physical === 0) run.set(0, length, false);
    else run.set(range.physical + logical - range.block, length, range.unwritten);
  }
}

function endOf(range: MappedRange): number {
  return Math.min(BLOCKS, range.block + range.length);
}

/** All blocks at which a range begins or ends, and 0, sorted, each once. */
function boundaries(ranges: readonly MappedRange[]): Float64Array {
  const all = new Float64Array(ranges.length * 2 + 1);
  ranges.forEach((range, n) => {
    all[2 * n] = range.block;
    all[2 * n + 1] = endOf(range);
  });
  all.sort();
  let count = 0;
  for (const bound of all) if (count === 0 || bound !== all[count - 1]) all[count++] = bound;
  return all.slice(0, count);
}

/** The latest range over each segment. Later ranges paint first; what is painted is skipped in one step. */
function paint(ranges: readonly MappedRange[], bounds: Float64Array): Int32Array {
  const owners = new Int32Array(bounds.length).fill(-1);
  const unpainted = Int32Array.from({ length: bounds.length + 1 }, (_, n) => n);
  for (let owner = ranges.length - 1; owner >= 0; owner--) {
    const range = ranges[owner]!;
    const end = endOf(range);
    let segment = firstUnpainted(unpainted, last(bounds, range.block));
    while (segment < bounds.length && bounds[segment]! < end) {
      owners[segment] = owner;
      unpainted[segment] = segment + 1;
      segment = firstUnpainted(unpainted, segment);
    }
  }
  return owners;
}

function firstUnpainted(unpainted: Int32Array, segment: number): number {
  let at = segment;
  while (unpainted[at] !== at) {
    unpainted[at] = unpainted[unpainted[at]!]!;
    at = unpainted[at]!;
  }
  return at;
}

/** The last of the sorted numbers that is not above `value`; the first is 0, so there is one. */
function last(sorted: Float64Array, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! <= value) low = middle;
    else high = middle;
  }
  return low;
}
