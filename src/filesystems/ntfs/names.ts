/**
 * Names: 16-bit units on the disk, bytes in the tree. What is UTF-16 becomes UTF-8; a surrogate that stands alone, which
 * Windows lets a name have, becomes the three bytes that UTF-8 would have for its number (WTF-8), so that no name is lost.
 */

/** The most units of a name, and the most bytes of one. */
export const MOST_UNITS = 255;
export const MOST_BYTES = MOST_UNITS * 3;

const HIGH = 0xd800;
const LOW = 0xdc00;
const LOW_END = 0xe000;

/** Puts `units` units at `at` of `name` at the start of `target` as bytes; returns how many bytes. */
export function encodeName(name: Buffer, at: number, units: number, target: Buffer): number {
  let length = 0;
  for (let n = 0, from = at; n < units; n++, from += 2) {
    let code = (name[from] as number) | ((name[from + 1] as number) << 8);
    if (code < 0x80) {
      target[length++] = code;
      continue;
    }
    if (code < 0x800) {
      target[length++] = 0xc0 | (code >> 6);
      target[length++] = 0x80 | (code & 63);
      continue;
    }
    if (code >= HIGH && code < LOW && n + 1 < units) {
      const next = (name[from + 2] as number) | ((name[from + 3] as number) << 8);
      if (next >= LOW && next < LOW_END) {
        code = 0x1_0000 + ((code - HIGH) << 10) + (next - LOW);
        target[length++] = 0xf0 | (code >> 18);
        target[length++] = 0x80 | ((code >> 12) & 63);
        target[length++] = 0x80 | ((code >> 6) & 63);
        target[length++] = 0x80 | (code & 63);
        n++;
        from += 2;
        continue;
      }
    }
    target[length++] = 0xe0 | (code >> 12);
    target[length++] = 0x80 | ((code >> 6) & 63);
    target[length++] = 0x80 | (code & 63);
  }
  return length;
}

/** The same as a buffer of its own, for names and targets of any length. */
export function encoded(name: Buffer, at: number, units: number): Buffer {
  const target = Buffer.allocUnsafe(units * 3);
  return target.subarray(0, encodeName(name, at, units, target));
}

/** Puts a name's units into `target`; returns how many. -1: no name on the disk is shown by those bytes. */
export function decodeName(name: Buffer, target: Uint16Array): number {
  let units = 0;
  for (let at = 0; at < name.length; ) {
    const first = name[at] as number;
    const size =
      first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (size === 0 || at + size > name.length || units >= target.length) return -1;
    let code = size === 1 ? first : first & (0x7f >> size);
    for (let n = 1; n < size; n++) {
      const byte = name[at + n] as number;
      if ((byte & 0xc0) !== 0x80) return -1;
      code = (code << 6) | (byte & 63);
    }
    at += size;
    if (size === 4) {
      if (code < 0x1_0000 || code > 0x10_ffff || units + 2 > target.length) return -1;
      target[units++] = HIGH + ((code - 0x1_0000) >> 10);
      target[units++] = LOW + ((code - 0x1_0000) & 0x3ff);
      continue;
    }
    if (size === 3 && code < 0x800) return -1;
    // Two that belong together are four bytes in the tree, and nothing else.
    const isLow = code >= LOW && code < LOW_END;
    const before = units === 0 ? 0 : (target[units - 1] as number);
    if (isLow && size === 3 && before >= HIGH && before < LOW) return -1;
    target[units++] = code;
  }
  return units;
}

/** Whether a name can be shown as one: it is not empty, ".", "..", and has no "/" and no NUL. */
export function isShowable(name: Buffer, at: number, units: number): boolean {
  if (units === 0 || units > MOST_UNITS) return false;
  let dots = 0;
  for (let n = 0; n < units; n++) {
    if (name[at + n * 2 + 1] !== 0) continue;
    const low = name[at + n * 2] as number;
    if (low === 0 || low === 0x2f) return false;
    if (low === 0x2e) dots++;
  }
  return dots !== units || units > 2;
}
