/** CRC-16 with the polynomial 0x8005, reflected (the kernel's lib/crc16.c), without inversion. */
const TABLE = new Uint16Array(256);
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value & 1) !== 0 ? (value >>> 1) ^ 0xa001 : value >>> 1;
  TABLE[byte] = value;
}

/** Goes on with `sum` over the bytes from `start` to `end` (not included). */
export function crc16(sum: number, buffer: Buffer, start: number, end: number): number {
  let value = sum;
  for (let at = start; at < end; at++) {
    value = (value >>> 8) ^ (TABLE[(value ^ (buffer[at] as number)) & 0xff] as number);
  }
  return value;
}
