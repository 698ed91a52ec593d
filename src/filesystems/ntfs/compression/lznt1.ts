import { badData, checkRanges, copyMatch } from "./output.js";

/** Bytes that a chunk decompresses to, the last one excepted ([MS-XCA] 2.5, "LZNT1"). */
const CHUNK = 4096;

/**
 * Decompresses LZNT1 ([MS-XCA] 2.5), which NTFS uses for the units of a compressed attribute: chunks of 4096 bytes,
 * each with a header that says how many bytes it takes and whether it is compressed. It ends with a header of zero,
 * with the source, or with the room. A chunk that is short and not the last is filled with zeros. What follows what
 * is written is left as it is.
 * @param room how many bytes may be written
 * @returns how many bytes were written
 * @throws IoError(EIO) if the data makes no sense; what has been written then is inside the room
 */
export function decompressLznt1(
  source: Buffer,
  from: number,
  length: number,
  target: Buffer,
  at: number,
  room: number,
): number {
  checkRanges(source, from, length, target, at, room);
  const sourceEnd = from + length;
  const targetEnd = at + room;
  let input = from;
  let chunk = at;
  let output = at;
  while (chunk < targetEnd && input + 2 <= sourceEnd) {
    const header = source[input]! | (source[input + 1]! << 8);
    if (header === 0) {
      break;
    }
    input += 2;
    const chunkEnd = input + (header & 0xfff) + 1;
    if (chunkEnd > sourceEnd) {
      throw badData("a chunk is longer than its unit");
    }
    target.fill(0, output, chunk);
    const stop = Math.min(chunk + CHUNK, targetEnd);
    if ((header & 0x8000) !== 0) {
      output = inflate(source, input, chunkEnd, target, chunk, stop);
    } else {
      const bytes = chunkEnd - input;
      if (bytes > CHUNK) {
        throw badData("a chunk that is not compressed is too long");
      }
      const taken = Math.min(bytes, stop - chunk);
      source.copy(target, chunk, input, input + taken);
      output = chunk + taken;
    }
    input = chunkEnd;
    chunk += CHUNK;
  }
  return output - at;
}

/**
 * Decompresses one chunk: groups of a byte of flags and eight elements, a literal byte for each 0 and, for each 1, two
 * bytes of distance and length, of which the distance takes more bits the further the chunk is.
 * @returns where the output ended
 */
function inflate(
  source: Buffer,
  from: number,
  end: number,
  target: Buffer,
  begin: number,
  stop: number,
): number {
  let input = from;
  let output = begin;
  // Of the two bytes, the length has the lower `lengthBits`; `widened` is where that becomes one less.
  let lengthBits = 12;
  let widened = begin + 16;
  while (input < end) {
    const flags = source[input++]!;
    if (flags === 0 && input + 8 <= end && output + 8 <= stop) {
      for (let index = 0; index < 8; index++) {
        target[output++] = source[input++]!;
      }
      continue;
    }
    for (let bit = 1; bit < 0x100 && input < end; bit <<= 1) {
      if ((flags & bit) === 0) {
        if (output >= stop) {
          return full(output, begin);
        }
        target[output++] = source[input++]!;
        continue;
      }
      if (input + 2 > end) {
        throw badData("a chunk ends within a match");
      }
      const match = source[input]! | (source[input + 1]! << 8);
      input += 2;
      while (output > widened) {
        lengthBits--;
        widened = begin + (widened - begin) * 2;
      }
      const distance = (match >>> lengthBits) + 1;
      const bytes = (match & ((1 << lengthBits) - 1)) + 3;
      if (distance > output - begin) {
        throw badData("a match begins before its chunk");
      }
      if (output + bytes > stop) {
        // The caller may want less than the chunk has.
        if (output + bytes > begin + CHUNK) {
          throw badData("a match is longer than its chunk");
        }
        copyMatch(target, output, distance, stop - output);
        return stop;
      }
      copyMatch(target, output, distance, bytes);
      output += bytes;
    }
  }
  return output;
}

/** A chunk has bytes for which there is no room: that is right only if the room ends within the chunk. */
function full(output: number, begin: number): number {
  if (output - begin >= CHUNK) {
    throw badData("a chunk is longer than 4096 bytes");
  }
  return output;
}
