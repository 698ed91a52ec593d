/** Numbers in messages of 32-bit words. */

/**
 * Writes a whole number as 64 bits, in two's complement: exact to 2^53 either way. A typed array takes a number
 * modulo 2^32, which is the lower half.
 */
export function put64(words: Uint32Array, at: number, value: number): void {
  words[at] = value;
  words[at + 1] = Math.floor(value / 0x1_0000_0000);
}

/** Reads an unsigned 64-bit number as a double: exact to 2^53, rounded beyond. */
export function get64(words: Uint32Array, at: number): number {
  return (words[at] as number) + (words[at + 1] as number) * 0x1_0000_0000;
}
