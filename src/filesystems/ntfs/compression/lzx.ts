import { HuffmanCode, LENGTH_BITS, LENGTH_MASK } from "./huffman-code.js";
import { badData, checkRanges, copyMatch } from "./output.js";

// The format is that of [MS-PATCH] section 2, with what WIM archives and WofCompressedData have of their own: a window
// of 32 KiB that begins anew with each chunk, a bit instead of the size of a block of 32 KiB, and a fixed file size for
// the translation of calls.

/** The window, and so the most that a chunk can have. */
const WINDOW = 32_768;
/** What a block has whose size is not given. */
const DEFAULT_BLOCK = 32_768;

const VERBATIM = 1;
const ALIGNED = 2;
const UNCOMPRESSED = 3;

const LITERALS = 256;
/** Slots of distances up to the window's size, and eight lengths for each. */
const SLOTS = 30;
const MAIN_SYMBOLS = LITERALS + 8 * SLOTS;
const LENGTH_SYMBOLS = 249;
const PRECODE_SYMBOLS = 20;
const ALIGNED_SYMBOLS = 8;
const LONGEST_CODEWORD = 16;
const MIN_MATCH = 2;
/** From this slot on, an aligned block codes the lowest three bits of a distance. */
const FIRST_ALIGNED_SLOT = 8;

/** Calls are translated as if the file had this size, whatever it has. */
const TRANSLATION_SIZE = 12_000_000;

const slotBits = new Uint8Array(SLOTS);
const slotBase = new Uint16Array(SLOTS);
for (let slot = 0, base = 0; slot < SLOTS; slot++) {
  slotBits[slot] = slot < 4 ? 0 : (slot >>> 1) - 1;
  slotBase[slot] = base;
  base += 1 << slotBits[slot]!;
}

const mainLengths = new Uint8Array(MAIN_SYMBOLS);
const lengthLengths = new Uint8Array(LENGTH_SYMBOLS);
const preLengths = new Uint8Array(PRECODE_SYMBOLS);
const alignedLengths = new Uint8Array(ALIGNED_SYMBOLS);
const mainCode = new HuffmanCode(MAIN_SYMBOLS, 11);
const lengthCode = new HuffmanCode(LENGTH_SYMBOLS, 9);
const preCode = new HuffmanCode(PRECODE_SYMBOLS, 6);
const alignedCode = new HuffmanCode(ALIGNED_SYMBOLS, 7);

/** What is read, in words of 16 bits, the highest bit first. One object for all calls: a call never waits. */
class Bits {
  private source: Buffer = Buffer.alloc(0);
  private input = 0;
  private end = 0;
  private bits = 0;
  private left = 0;
  /** Zero bits that were put where the source has ended. They may be looked at, and not used. */
  private missing = 0;

  begin(source: Buffer, from: number, end: number): void {
    this.source = source;
    this.input = from;
    this.end = end;
    this.bits = 0;
    this.left = 0;
    this.missing = 0;
  }

  /** Has at least 16 bits at hand. */
  private fill(): void {
    if (this.left >= 16) {
      return;
    }
    if (this.input + 2 <= this.end) {
      this.bits |= (this.source[this.input]! | (this.source[this.input + 1]! << 8)) << (16 - this.left);
      this.input += 2;
    } else if (this.missing < 32) {
      this.missing += 16;
    } else {
      throw badData("an LZX chunk ends too soon");
    }
    this.left += 16;
  }

  /** The next `count` bits, 16 at most. */
  take(count: number): number {
    this.fill();
    const value = (this.bits >>> 1) >>> (31 - count);
    this.bits <<= count;
    this.left -= count;
    return value;
  }

  symbol(code: HuffmanCode): number {
    this.fill();
    const entry = code.table[this.bits >>> code.tableShift]! || code.long(this.bits);
    const used = entry & LENGTH_MASK;
    this.bits <<= used;
    this.left -= used;
    return entry >>> LENGTH_BITS;
  }

  /** Goes on to the next word; where a word has just ended, it leaves out a whole one (sic). */
  align(): void {
    if (this.left === 0) {
      this.fill();
    }
    if (this.missing > 0) {
      throw badData("an LZX chunk ends too soon");
    }
    // A whole word that is at hand after the rest of another one goes back.
    if (this.left > 16) {
      this.input -= 2;
    }
    this.bits = 0;
    this.left = 0;
  }

  /** @throws IoError(EIO) if bits were used that are not there */
  whole(): void {
    if (this.left < this.missing) {
      throw badData("an LZX chunk ends too soon");
    }
  }

  /** A number of 32 bits, after `align`. */
  word(): number {
    if (this.input + 4 > this.end) {
      throw badData("an LZX chunk ends too soon");
    }
    const value = this.source.readUInt32LE(this.input);
    this.input += 4;
    return value;
  }

  /** Copies bytes, after `align`; an odd number is followed by one that means nothing. */
  copy(target: Buffer, at: number, bytes: number): void {
    if (this.input + bytes > this.end) {
      throw badData("an LZX chunk ends too soon");
    }
    this.source.copy(target, at, this.input, this.input + bytes);
    this.input += bytes + (bytes % 2);
  }
}

const bits = new Bits();
/** The three distances that were used last. */
const recent = new Uint32Array(3);

/**
 * Decompresses one chunk of LZX, as in the WofCompressedData of files and in WIM archives with chunks of 32 KiB. A
 * chunk does not say how much it decompresses to: that is `room`.
 * @param room how many bytes the chunk has when decompressed: 32768 at most
 * @returns how many bytes were written: `room`
 * @throws IoError(EIO) if the data makes no sense; what has been written then is inside the room
 */
export function decompressLzx(
  source: Buffer,
  from: number,
  length: number,
  target: Buffer,
  at: number,
  room: number,
): number {
  checkRanges(source, from, length, target, at, room);
  if (room > WINDOW) {
    throw badData("an LZX chunk has more than 32 KiB");
  }
  bits.begin(source, from, from + length);
  // Codes are told as differences from those of the block before, and begin with none.
  mainLengths.fill(0);
  lengthLengths.fill(0);
  recent.fill(1);
  const end = at + room;
  let output = at;
  while (output < end) {
    const type = bits.take(3);
    const size = bits.take(1) === 1 ? DEFAULT_BLOCK : bits.take(16);
    if (size === 0 || size > end - output) {
      throw badData("a block is longer than its chunk, or empty");
    }
    if (type === UNCOMPRESSED) {
      bits.align();
      for (let index = 0; index < 3; index++) {
        recent[index] = bits.word();
      }
      bits.copy(target, output, size);
    } else if (type === VERBATIM || type === ALIGNED) {
      readCodes(type === ALIGNED);
      inflate(target, at, output, output + size, type === ALIGNED);
    } else {
      throw badData("a block is of no known type");
    }
    output += size;
  }
  bits.whole();
  untranslate(target, at, room);
  return room;
}

/** Reads a block's codes. */
function readCodes(aligned: boolean): void {
  if (aligned) {
    for (let symbol = 0; symbol < ALIGNED_SYMBOLS; symbol++) {
      alignedLengths[symbol] = bits.take(3);
    }
    alignedCode.build(alignedLengths);
  }
  readLengths(mainLengths, 0, LITERALS);
  readLengths(mainLengths, LITERALS, MAIN_SYMBOLS);
  mainCode.build(mainLengths);
  readLengths(lengthLengths, 0, LENGTH_SYMBOLS);
  lengthCode.build(lengthLengths);
}

/** Reads how the lengths of a range of codewords differ from what they were. */
function readLengths(lengths: Uint8Array, begin: number, end: number): void {
  for (let symbol = 0; symbol < PRECODE_SYMBOLS; symbol++) {
    preLengths[symbol] = bits.take(4);
  }
  preCode.build(preLengths);
  let index = begin;
  while (index < end) {
    let symbol = bits.symbol(preCode);
    let run = 1;
    let value = 0;
    if (symbol === 17) {
      run = 4 + bits.take(4);
    } else if (symbol === 18) {
      run = 20 + bits.take(5);
    } else {
      if (symbol === 19) {
        run = 4 + bits.take(1);
        symbol = bits.symbol(preCode);
        if (symbol > LONGEST_CODEWORD) {
          throw badData("the length of a codeword is wrong");
        }
      }
      value = lengths[index]! - symbol;
      if (value < 0) {
        value += LONGEST_CODEWORD + 1;
      }
    }
    if (run > end - index) {
      throw badData("there are too many lengths of codewords");
    }
    lengths.fill(value, index, index + run);
    index += run;
  }
}

/** Decompresses a block's literals and matches. */
function inflate(target: Buffer, begin: number, from: number, end: number, aligned: boolean): void {
  let first = recent[0]!;
  let second = recent[1]!;
  let third = recent[2]!;
  let output = from;
  while (output < end) {
    const symbol = bits.symbol(mainCode);
    if (symbol < LITERALS) {
      target[output++] = symbol;
      continue;
    }
    let bytes = (symbol & 7) + MIN_MATCH;
    if (bytes === 7 + MIN_MATCH) {
      bytes += bits.symbol(lengthCode);
    }
    const slot = (symbol - LITERALS) >>> 3;
    let distance: number;
    if (slot === 0) {
      distance = first;
    } else if (slot === 1) {
      distance = second;
      second = first;
      first = distance;
    } else if (slot === 2) {
      distance = third;
      third = first;
      first = distance;
    } else {
      const width = slotBits[slot]!;
      if (aligned && slot >= FIRST_ALIGNED_SLOT) {
        const high = bits.take(width - 3) * 8;
        distance = slotBase[slot]! + high + bits.symbol(alignedCode) - 2;
      } else {
        distance = slotBase[slot]! + bits.take(width) - 2;
      }
      third = second;
      second = first;
      first = distance;
    }
    if (distance === 0 || distance > output - begin) {
      throw badData("a match begins before its chunk");
    }
    if (bytes > end - output) {
      throw badData("a match is longer than its block");
    }
    copyMatch(target, output, distance, bytes);
    output += bytes;
  }
  recent[0] = first;
  recent[1] = second;
  recent[2] = third;
}

/**
 * Turns the targets of x86 calls (0xE8) back from places in the chunk to distances. The last ten bytes never hold a
 * call that was translated.
 */
function untranslate(target: Buffer, at: number, room: number): void {
  const end = at + room - 10;
  let place = target.indexOf(0xe8, at);
  while (place >= 0 && place < end) {
    const position = place - at;
    const absolute = target.readInt32LE(place + 1);
    if (absolute >= 0) {
      if (absolute < TRANSLATION_SIZE) {
        target.writeInt32LE(absolute - position, place + 1);
      }
    } else if (absolute >= -position) {
      target.writeInt32LE(absolute + TRANSLATION_SIZE, place + 1);
    }
    place = target.indexOf(0xe8, place + 5);
  }
}
