/**
 * Update sequences (NTFS documentation, "Fixup"): what is written as a whole has the same two bytes at the end of each of
 * its 512 bytes, and what belongs there in an array in its head. So a record that is half written can be told.
 */

import { EIO, IoError } from "../../images/io-error.js";

/** What was read is half written: the guest may be at it just now. */
export class HalfWritten extends IoError {
  constructor(what: string) {
    super(EIO, `${what} is half written: its update sequence is wrong`);
    this.name = "HalfWritten";
  }
}

/** Bytes that end with a number of the sequence, whatever the size of a sector. */
const STRIDE = 512;
const ARRAY_OFFSET_AT = 4;
const ARRAY_COUNT_AT = 6;

/**
 * Checks the `size` bytes at `at` of `buffer`, and puts what belongs there in place of the numbers. False: they are half
 * written, or no such structure; then some numbers may still stand.
 */
export function applyFixUps(buffer: Buffer, at: number, size: number): boolean {
  const array = buffer.readUInt16LE(at + ARRAY_OFFSET_AT);
  const count = buffer.readUInt16LE(at + ARRAY_COUNT_AT);
  if (count !== size / STRIDE + 1 || (array & 1) !== 0 || array + count * 2 > STRIDE - 2) return false;
  const first = buffer[at + array] as number;
  const second = buffer[at + array + 1] as number;
  for (let n = 1; n < count; n++) {
    const end = at + n * STRIDE - 2;
    if (buffer[end] !== first || buffer[end + 1] !== second) return false;
    buffer[end] = buffer[at + array + n * 2] as number;
    buffer[end + 1] = buffer[at + array + n * 2 + 1] as number;
  }
  return true;
}
