/**
 * CRC-32C (Castagnoli polynomial, reflected: 0x82f63b78) as the Linux kernel's crc32c() computes it: the seed goes in
 * and the remainder comes out as they are, without inversion. Sixteen bytes a step, each through its own table.
 */

const POLYNOMIAL = 0x82f63b78;
const SLICES = 16;

/** `tables[k][b]`: what byte `b` adds to the remainder when `k` more bytes follow it in the same step. */
const tables: Int32Array[] = Array.from({ length: SLICES }, () => new Int32Array(256));
for (let byte = 0; byte < 256; byte++) {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++)
    remainder = remainder & 1 ? (remainder >>> 1) ^ POLYNOMIAL : remainder >>> 1;
  (tables[0] as Int32Array)[byte] = remainder;
}
for (let slice = 1; slice < SLICES; slice++) {
  for (let byte = 0; byte < 256; byte++) {
    const shorter = tables[slice - 1]![byte]!;
    tables[slice]![byte] = (shorter >>> 8) ^ tables[0]![shorter & 255]!;
  }
}
type Table = Int32Array;
const [t0, t1, t2, t3, t4, t5, t6, t7] = tables as [Table, Table, Table, Table, Table, Table, Table, Table];
const [t8, t9, t10, t11, t12, t13, t14, t15] = tables.slice(8) as [
  Table,
  Table,
  Table,
  Table,
  Table,
  Table,
  Table,
  Table,
];

/**
 * The CRC-32C of `buffer` from `start` up to `end` (bytes), continued from `seed` (0xffffffff to begin with, or an
 * earlier result). Returns an unsigned 32-bit number. Throws RangeError if the range does not lie in the buffer.
 */
export function crc32c(seed: number, buffer: Buffer, start: number, end: number): number {
  if (!(start >= 0 && end >= start && end <= buffer.length)) {
    throw new RangeError(`crc32c: ${start} to ${end} does not lie in ${buffer.length} bytes`);
  }
  let crc = seed | 0;
  let at = start;
  for (; end - at >= SLICES; at += SLICES) {
    crc ^= buffer[at]! | (buffer[at + 1]! << 8) | (buffer[at + 2]! << 16) | (buffer[at + 3]! << 24);
    crc =
      t15[crc & 255]! ^
      t14[(crc >>> 8) & 255]! ^
      t13[(crc >>> 16) & 255]! ^
      t12[crc >>> 24]! ^
      t11[buffer[at + 4]!]! ^
      t10[buffer[at + 5]!]! ^
      t9[buffer[at + 6]!]! ^
      t8[buffer[at + 7]!]! ^
      t7[buffer[at + 8]!]! ^
      t6[buffer[at + 9]!]! ^
      t5[buffer[at + 10]!]! ^
      t4[buffer[at + 11]!]! ^
      t3[buffer[at + 12]!]! ^
      t2[buffer[at + 13]!]! ^
      t1[buffer[at + 14]!]! ^
      t0[buffer[at + 15]!]!;
  }
  for (; at < end; at++) crc = t0[(crc ^ buffer[at]!) & 255]! ^ (crc >>> 8);
  return crc >>> 0;
}
