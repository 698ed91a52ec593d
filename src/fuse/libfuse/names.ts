/**
 * Names for a driver that knows only strings: bytes that are not UTF-8 are shown as `\xE9`, and such a name leads
 * back to the same file.
 */
import { isUtf8 } from "node:buffer";

const ESCAPE = /\\x([0-9A-F]{2})/g;

/** A name as a string: as it is if it is UTF-8, else with each byte above 0x7f escaped. */
export function nameToString(name: Buffer): string {
  if (isUtf8(name)) return name.toString("utf8");
  return name
    .toString("latin1")
    .replace(/[\x80-\xff]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** The bytes that an escaped name stands for; undefined if it has no escapes. */
export function unescapeName(name: string): Buffer | undefined {
  if (name.search(ESCAPE) < 0) return undefined;
  // What is not escaped may be UTF-8 itself: its bytes as Latin-1 come out again as they were.
  const bytes = Buffer.from(name, "utf8").toString("latin1");
  return Buffer.from(
    bytes.replace(ESCAPE, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    "latin1",
  );
}
