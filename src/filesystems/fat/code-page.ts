/** Code page 437, which names of 8 and 3 characters are in, as the kernel's vfat reads it by default. */

/** 0x80 to 0xff. */
const UPPER =
  "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐" +
  "└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0";

/** Character codes by byte. A NUL is no character: the kernel puts a question mark. */
export const CODE_PAGE = new Uint16Array(256);
/** Bytes by byte: the small letter, where the code page has one. */
export const LOWER = new Uint8Array(256);

for (let byte = 0; byte < 256; byte++)
  CODE_PAGE[byte] = byte === 0 ? 0x3f : byte < 0x80 ? byte : UPPER.charCodeAt(byte - 0x80);
const bytesOf = new Map([...CODE_PAGE].map((code, byte) => [code, byte]));
for (let byte = 0; byte < 256; byte++) {
  const small = String.fromCharCode(CODE_PAGE[byte] as number).toLowerCase();
  const lower = small.length === 1 ? bytesOf.get(small.charCodeAt(0)) : undefined;
  LOWER[byte] = byte === 0 ? 0 : (lower ?? byte);
}

/** Text in the code page, without the spaces that fill it up. */
export function decode(bytes: Buffer): string {
  return Array.from(bytes, (byte) => String.fromCharCode(CODE_PAGE[byte] as number))
    .join("")
    .replace(/ +$/, "");
}
