/** Writes on their way to another thread: columns, and no data. */
import { WRITE_KINDS, type WriteKind, type WriteRecord } from "../queue/write-record.js";

/** Offset, length, sequence and time of each. */
const NUMBERS = 4;

export interface PostedWrites {
  readonly kinds: Uint8Array;
  readonly numbers: Float64Array;
}

/** To be posted. */
export function postedWrites(records: readonly WriteRecord[]): PostedWrites {
  const kinds = new Uint8Array(records.length);
  const numbers = new Float64Array(records.length * NUMBERS);
  for (const [index, { kind, offset, length, sequence, time }] of records.entries()) {
    kinds[index] = WRITE_KINDS.indexOf(kind);
    numbers.set([offset, length, sequence, time], index * NUMBERS);
  }
  return { kinds, numbers };
}

/** As they were before they were posted, without data. */
export function writesOf({ kinds, numbers }: PostedWrites): WriteRecord[] {
  return Array.from(kinds, (kind, index) => {
    const [offset = 0, length = 0, sequence = 0, time = 0] = numbers.subarray(
      index * NUMBERS,
      (index + 1) * NUMBERS,
    );
    return {
      kind: WRITE_KINDS[kind] as WriteKind,
      offset,
      length,
      data: undefined,
      fua: false,
      sequence,
      time,
    };
  });
}
