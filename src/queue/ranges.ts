/** Ranges of a disk: pairs of a first byte and the byte after the last, in order and apart. */

/** Whether a range has a byte in common with one of many that are in order and apart. */
export function overlaps(ranges: Float64Array, start: number, end: number): boolean {
  // The first range that ends after `start`.
  let low = 0;
  let high = ranges.length / 2;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ranges[2 * middle + 1]! > start) high = middle;
    else low = middle + 1;
  }
  return 2 * low < ranges.length && ranges[2 * low]! < end;
}
