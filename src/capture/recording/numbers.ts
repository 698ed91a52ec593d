/** 64-bit numbers, little-endian, as doubles. */

/** May be larger than what a double holds exactly: then it is larger than any that makes sense. */
export function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
}

/** `value`: up to Number.MAX_SAFE_INTEGER. */
export function writeU64(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value % 2 ** 32, at);
  bytes.writeUInt32LE(Math.floor(value / 2 ** 32), at + 4);
}
