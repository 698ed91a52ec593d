/** `slashcloud cat`: the contents of files. */
import { FileType, isType } from "../daemon/walk.js";
import { find, parseLocation } from "./location.js";
import { complain, write } from "./output.js";

const PIECE = 1 << 20;

/** Writes the files one after the other. Returns the exit code: 1 if one could not be read. */
export function cat(locations: readonly string[]): number {
  const buffer = Buffer.allocUnsafe(PIECE);
  let failed = false;
  for (const argument of locations) {
    try {
      const { tree, entry } = find(parseLocation(argument), true);
      if (isType(entry, FileType.DIRECTORY)) throw new Error("is a directory; list it with: slashcloud ls");
      const { high, low } = entry;
      for (let position = 0; ; ) {
        const length = tree.read(high, low, position, PIECE, buffer, 0);
        if (length === 0) break;
        write(buffer.subarray(0, length));
        position += length;
      }
    } catch (error) {
      failed = true;
      const { message, exitCode } = error as Error & { exitCode?: number };
      // What is wrong with the image as a whole names it already.
      complain(exitCode === undefined ? `${argument}: ${message}` : message);
    }
  }
  return failed ? 1 : 0;
}
