/** Sorting many numbers by their digits, which takes a fraction of the time of comparing them. */

const DIGIT_BITS = 16;
const DIGIT = 2 ** DIGIT_BITS;
/** Fewer numbers are compared: counting digits costs as much however few there are. */
const FEW = 4096;

/** The order of the first `length` numbers of `keys`, whole ones from 0 on: the same ones stay in the order that they have. */
export function sortedOrder(keys: Uint32Array | Float64Array, length: number): Uint32Array {
  let order = Uint32Array.from({ length }, (_, index) => index);
  let most = 0;
  let isSorted = true;
  for (let n = 0; n < length; n++) {
    if (n > 0 && (keys[n] as number) < (keys[n - 1] as number)) isSorted = false;
    most = Math.max(most, keys[n] as number);
  }
  if (isSorted) return order;
  if (length < FEW) return order.sort((a, b) => (keys[a] as number) - (keys[b] as number) || a - b);
  let next = new Uint32Array(length);
  const starts = new Uint32Array(DIGIT);
  for (let unit = 1; unit <= most; unit *= DIGIT) {
    starts.fill(0);
    for (let n = 0; n < length; n++) {
      const digit = Math.floor((keys[n] as number) / unit) % DIGIT;
      starts[digit] = (starts[digit] as number) + 1;
    }
    let sum = 0;
    for (let digit = 0; digit < DIGIT; digit++) {
      const count = starts[digit] as number;
      starts[digit] = sum;
      sum += count;
    }
    for (let n = 0; n < length; n++) {
      const index = order[n] as number;
      const digit = Math.floor((keys[index] as number) / unit) % DIGIT;
      const at = starts[digit] as number;
      starts[digit] = at + 1;
      next[at] = index;
    }
    [order, next] = [next, order];
  }
  return order;
}
