/** `slashcloud map`: what lies where on a disk. */
import { diskMap } from "../daemon/disk-map.js";
import { resolveImage } from "../daemon/image-name.js";
import { complain, write } from "./output.js";
import { placeFields, placeText } from "./place-text.js";

/** Bytes of lines that are written at once. */
const PIECE = 1 << 16;

/** Prints a line for each range. Returns the exit code. Throws ImageError. */
export function map(image: string, { json }: { readonly json?: boolean }): number {
  let lines = "";
  for (const range of diskMap(resolveImage(image), complain)) {
    const { start, end, offset, unwritten } = range;
    // Of one disk, its number is 1. Paths are bytes, so the whole is written one byte a character.
    lines += json
      ? `${Buffer.from(JSON.stringify({ disk: 1, start, end, ...placeFields(range), offset, unwritten })).toString("latin1")}\n`
      : `1 ${start.toString(16)} ${end.toString(16)} ${placeText(range)}\n`;
    if (lines.length < PIECE) continue;
    write(Buffer.from(lines, "latin1"));
    lines = "";
  }
  write(Buffer.from(lines, "latin1"));
  return 0;
}
