import { badData } from "./output.js";

/** The longest codeword of XPRESS Huffman is 15 bits, of LZX 16. */
const MAX_LENGTH = 16;

/** In what `table` and `long` give, the codeword's length is below the symbol. */
export const LENGTH_BITS = 5;
export const LENGTH_MASK = (1 << LENGTH_BITS) - 1;

/**
 * A canonical Huffman code, rebuilt in place for each block: codewords in the order of their length, then of their
 * symbols. Short ones are looked up, longer ones found by their length's first codeword.
 */
export class HuffmanCode {
  /** For the next `tableBits` bits: symbol << LENGTH_BITS | length, or 0 if the codeword is longer or there is none. */
  readonly table: Uint16Array;
  /** How far the next 32 bits are shifted to be an index of `table`. */
  readonly tableShift: number;
  private readonly tableBits: number;
  private readonly counts = new Uint16Array(MAX_LENGTH + 1);
  private readonly first = new Uint32Array(MAX_LENGTH + 1);
  private readonly starts = new Uint16Array(MAX_LENGTH + 1);
  private readonly next = new Uint16Array(MAX_LENGTH + 1);
  private readonly symbols: Uint16Array;

  constructor(symbols: number, tableBits: number) {
    this.tableBits = tableBits;
    this.tableShift = 32 - tableBits;
    this.table = new Uint16Array(1 << tableBits);
    this.symbols = new Uint16Array(symbols);
  }

  /**
   * Takes the lengths of all symbols' codewords (0: none), each 16 at most. A code may be incomplete; what it lacks
   * is an error where it is met.
   * @throws IoError(EIO) where there are more codewords than lengths allow
   */
  build(lengths: Uint8Array): void {
    const { counts, first, starts, next, symbols, table, tableBits } = this;
    counts.fill(0);
    for (let symbol = 0; symbol < symbols.length; symbol++) {
      counts[lengths[symbol]!]!++;
    }
    counts[0] = 0;
    let code = 0;
    let start = 0;
    for (let length = 1; length <= MAX_LENGTH; length++) {
      code = (code + counts[length - 1]!) * 2;
      first[length] = code;
      starts[length] = start;
      next[length] = start;
      start += counts[length]!;
      if (code + counts[length]! > 2 ** length) {
        throw badData("a Huffman code has too many codewords");
      }
    }
    for (let symbol = 0; symbol < symbols.length; symbol++) {
      const length = lengths[symbol]!;
      if (length > 0) {
        symbols[next[length]!++] = symbol;
      }
    }
    let filled = 0;
    for (let length = 1; length <= tableBits; length++) {
      const width = 1 << (tableBits - length);
      const end = starts[length]! + counts[length]!;
      for (let index = starts[length]!; index < end; index++) {
        const entry = (symbols[index]! << LENGTH_BITS) | length;
        for (const stop = filled + width; filled < stop; filled++) {
          table[filled] = entry;
        }
      }
    }
    table.fill(0, filled);
  }

  /**
   * The symbol, as in `table`, of a codeword that is longer than `tableBits`.
   * @param bits the next bits, the first of them the highest of 32
   * @throws IoError(EIO) if no codeword begins like that
   */
  long(bits: number): number {
    for (let length = this.tableBits + 1; length <= MAX_LENGTH; length++) {
      const index = (bits >>> (32 - length)) - this.first[length]!;
      if (index >= 0 && index < this.counts[length]!) {
        return (this.symbols[this.starts[length]! + index]! << LENGTH_BITS) | length;
      }
    }
    throw badData("a codeword is not in its Huffman code");
  }
}
