/**
 * CRC-32 with the polynomial 0x04c11db7, highest bit first, as the Linux kernel's crc32_be() computes it: the seed
 * goes in and the remainder comes out as they are, without inversion. Four bytes a step, each through its own table.
 */

const POLYNOMIAL = 0x04c11db7;

/** What a byte adds to the remainder when no, one, two or three more bytes follow it in the same step. */
const last = new Int32Array(256);
const third = new Int32Array(256);
const second = new Int32Array(256);
const first = new Int32Array(256);
for (let byte = 0; byte < 256; byte++) {
  let remainder = byte << 24;
  for (let bit = 0; bit < 8; bit++)
    remainder = remainder < 0 ? (remainder << 1) ^ POLYNOMIAL : remainder << 1;
  last[byte] = remainder;
}
for (let byte = 0; byte < 256; byte++) {
  let remainder = last[byte]!;
  for (const table of [third, second, first]) {
    remainder = (remainder << 8) ^ last[remainder >>> 24]!;
    table[byte] = remainder;
  }
}

/**
 * The CRC of `buffer` from `start` up to `end` (bytes), continued from `seed` (0xffffffff to begin with, or an earlier
 * result). Returns an unsigned 32-bit number. Throws RangeError if the range does not lie in the buffer.
 */
export function crc32be(seed: number, buffer: Buffer, start: number, end: number): number {
  if (!(start >= 0 && end >= start && end <= buffer.length)) {
    throw new RangeError(`crc32be: ${start} to ${end} does not lie in ${buffer.length} bytes`);
  }
  let crc = seed | 0;
  let at = start;
  for (; end - at >= 4; at += 4) {
    crc ^= (buffer[at]! << 24) | (buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) | buffer[at + 3]!;
    crc = first[crc >>> 24]! ^ second[(crc >>> 16) & 255]! ^ third[(crc >>> 8) & 255]! ^ last[crc & 255]!;
  }
  for (; at < end; at++) crc = last[(crc >>> 24) ^ buffer[at]!]! ^ (crc << 8);
  return crc >>> 0;
}
