/** UTF-16 names as the kernel shows them: in UTF-8, halves of pairs left out (utf16s_to_utf8s). */

/** Writes `units` 16-bit units at `from` of `source` to `target`, up to a NUL; returns how many bytes that gives. */
export function utf16ToUtf8(
  source: Uint16Array,
  from: number,
  units: number,
  target: Buffer,
  targetOffset: number,
): number {
  let at = targetOffset;
  for (let n = from; n < from + units; n++) {
    let code = source[n] as number;
    if (code === 0) break;
    if ((code & 0xf800) === 0xd800) {
      const low = n + 1 < from + units ? (source[n + 1] as number) : 0;
      if ((code & 0x0400) !== 0 || (low & 0xfc00) !== 0xdc00) continue;
      code = 0x10000 + ((code & 0x3ff) << 10) + (low & 0x3ff);
      n++;
    }
    if (code < 0x80) target[at++] = code;
    else if (code < 0x800) {
      target[at++] = 0xc0 | (code >> 6);
      target[at++] = 0x80 | (code & 0x3f);
    } else if (code < 0x10000) {
      target[at++] = 0xe0 | (code >> 12);
      target[at++] = 0x80 | ((code >> 6) & 0x3f);
      target[at++] = 0x80 | (code & 0x3f);
    } else {
      target[at++] = 0xf0 | (code >> 18);
      target[at++] = 0x80 | ((code >> 12) & 0x3f);
      target[at++] = 0x80 | ((code >> 6) & 0x3f);
      target[at++] = 0x80 | (code & 0x3f);
    }
  }
  return at - targetOffset;
}
