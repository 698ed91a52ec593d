/** CRC-32 as UEFI uses it for GPT: polynomial 0x04c11db7, reflected, inverted before and after (as in zlib). */

const table = new Int32Array(256);
for (let byte = 0; byte < 256; byte++) {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++)
    remainder = remainder & 1 ? (remainder >>> 1) ^ 0xedb88320 : remainder >>> 1;
  table[byte] = remainder;
}

/** The CRC of the whole buffer, an unsigned 32-bit number. */
export function crc32(buffer: Buffer): number {
  return ~continueCrc32(~0, buffer) >>> 0;
}

/** What the CRC's register holds after the buffer, an unsigned 32-bit number; `register`: what it held before. */
export function continueCrc32(register: number, buffer: Buffer): number {
  let crc = register;
  for (let at = 0; at < buffer.length; at++) crc = table[(crc ^ buffer[at]!) & 255]! ^ (crc >>> 8);
  return crc >>> 0;
}
