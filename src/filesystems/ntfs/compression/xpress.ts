import { HuffmanCode, LENGTH_BITS, LENGTH_MASK } from "./huffman-code.js";
import { badData, checkRanges, copyMatch } from "./output.js";

/** 256 literals, and 256 matches: 16 widths of the distance by 16 lengths ([MS-XCA] 2.1.4.1). */
const SYMBOLS = 512;
/** Four bits for the length of each symbol's codeword. */
const LENGTHS_BYTES = SYMBOLS / 2;
const TABLE_BITS = 11;

const lengths = new Uint8Array(SYMBOLS);
const code = new HuffmanCode(SYMBOLS, TABLE_BITS);

/**
 * Decompresses one chunk of XPRESS with Huffman coding ([MS-XCA] 2.2.4, "LZ77+Huffman"), as in the WofCompressedData
 * of files and in WIM archives. A chunk does not say how much it decompresses to: that is `room`.
 * @param room how many bytes the chunk has when decompressed: 65536 at most
 * @returns how many bytes were written: `room`
 * @throws IoError(EIO) if the data makes no sense; what has been written then is inside the room
 */
export function decompressXpress(
  source: Buffer,
  from: number,
  length: number,
  target: Buffer,
  at: number,
  room: number,
): number {
  checkRanges(source, from, length, target, at, room);
  if (length < LENGTHS_BYTES) {
    throw badData("an XPRESS chunk is too short for its code");
  }
  for (let index = 0; index < LENGTHS_BYTES; index++) {
    const pair = source[from + index]!;
    lengths[2 * index] = pair & 15;
    lengths[2 * index + 1] = pair >>> 4;
  }
  code.build(lengths);
  const { table, tableShift } = code;

  const sourceEnd = from + length;
  const targetEnd = at + room;
  let input = from + LENGTHS_BYTES;
  let output = at;
  // Words of 16 bits are taken when fewer than 16 bits are left, as the bytes of long lengths lie among them. Past the
  // end there are zeros, of which no bit may be used.
  let bits = 0;
  let left = 0;
  let missing = 0;
  while (output < targetEnd) {
    if (left < 16) {
      if (input + 2 <= sourceEnd) {
        bits |= (source[input]! | (source[input + 1]! << 8)) << (16 - left);
        input += 2;
      } else if (missing < 32) {
        missing += 16;
      } else {
        throw badData("an XPRESS chunk ends too soon");
      }
      left += 16;
    }
    let entry = table[bits >>> tableShift]!;
    if (entry === 0) {
      entry = code.long(bits);
    }
    const used = entry & LENGTH_MASK;
    const symbol = entry >>> LENGTH_BITS;
    bits <<= used;
    left -= used;
    if (symbol < 256) {
      target[output++] = symbol;
      continue;
    }
    if (left < 16) {
      if (input + 2 <= sourceEnd) {
        bits |= (source[input]! | (source[input + 1]! << 8)) << (16 - left);
        input += 2;
      } else if (missing < 32) {
        missing += 16;
      } else {
        throw badData("an XPRESS chunk ends too soon");
      }
      left += 16;
    }
    let bytes = symbol & 15;
    const width = (symbol >>> 4) & 15;
    // A shift by 32 would be one by 0.
    const distance = (1 << width) | ((bits >>> 1) >>> (31 - width));
    bits <<= width;
    left -= width;
    if (bytes === 15) {
      if (input >= sourceEnd) {
        throw badData("an XPRESS chunk ends within a match");
      }
      const more = source[input++]!;
      bytes += more;
      if (more === 255) {
        if (input + 2 > sourceEnd) {
          throw badData("an XPRESS chunk ends within a match");
        }
        bytes = source[input]! | (source[input + 1]! << 8);
        input += 2;
        if (bytes < 15) {
          throw badData("the length of a match is wrong");
        }
      }
    }
    bytes += 3;
    if (distance > output - at) {
      throw badData("a match begins before its chunk");
    }
    if (bytes > targetEnd - output) {
      throw badData("a match is longer than its chunk");
    }
    copyMatch(target, output, distance, bytes);
    output += bytes;
  }
  if (left < missing) {
    throw badData("an XPRESS chunk ends too soon");
  }
  return room;
}
