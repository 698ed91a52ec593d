import { continueCrc32 } from "../crc32.js";

/** What LVM begins its CRC-32 with, for want of the usual inversions (INITIAL_CRC). */
const INITIAL = 0xf597a6cf;

/** LVM's checksum of a buffer: of its labels, headers and texts. `before`: the checksum of what comes before it. */
export function lvmChecksum(buffer: Buffer, before = INITIAL): number {
  return continueCrc32(before, buffer);
}
