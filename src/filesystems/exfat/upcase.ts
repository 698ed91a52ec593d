/** The up-case table: what the letters are by which names are compared. */

/** In a compressed table: so many letters as the next number says are their own. */
const IDENTITY_RUN = 0xffff;
const LETTERS = 0x1_0000;
/** Bytes of a table: not compressed, and no more is looked at. */
export const LARGEST_TABLE = LETTERS * 2;

/** The checksum over a table, as its entry has it. */
export function tableChecksum(table: Buffer): number {
  let sum = 0;
  for (const byte of table) sum = (((sum << 31) | (sum >>> 1)) + byte) >>> 0;
  return sum;
}

/** Expands a table as it is stored; letters that it does not tell of are their own. */
export function expandTable(table: Buffer): Uint16Array {
  const letters = identity();
  let letter = 0;
  for (let at = 0; at + 2 <= table.length && letter < LETTERS; at += 2) {
    const value = table.readUInt16LE(at);
    if (value === IDENTITY_RUN && at + 4 <= table.length) {
      at += 2;
      letter += table.readUInt16LE(at);
    } else letters[letter++] = value;
  }
  return letters;
}

/** In the stead of a table that is damaged: ECMAScript's letters, which are those of the usual table but for rare ones. */
export function standardTable(): Uint16Array {
  const letters = identity();
  for (let letter = 0; letter < LETTERS; letter++) {
    if ((letter & 0xf800) === 0xd800) continue;
    const upper = String.fromCharCode(letter).toUpperCase();
    if (upper.length === 1) letters[letter] = upper.charCodeAt(0);
  }
  return letters;
}

function identity(): Uint16Array {
  const letters = new Uint16Array(LETTERS);
  for (let letter = 0; letter < LETTERS; letter++) letters[letter] = letter;
  return letters;
}
