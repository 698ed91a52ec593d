/** Sizes as users write them: 512K, 4M, 1G. */
import { InvalidArgumentError } from "commander";

const UNITS: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["K", 2 ** 10],
  ["M", 2 ** 20],
  ["G", 2 ** 30],
]);
const LEAST = 4096;
const MOST_DATA = 65_536;

/** Bytes. Throws InvalidArgumentError. */
export function size(text: string): number {
  const bytes = bytesIn(text);
  if (!Number.isSafeInteger(bytes) || bytes < LEAST)
    throw new InvalidArgumentError(`write a size of at least ${LEAST} bytes, such as 512K, 4M or 1G.`);
  return bytes;
}

/** Bytes of a file's data, 0 for none. Throws InvalidArgumentError. */
export function dataSize(text: string): number {
  const bytes = bytesIn(text);
  if (!(bytes <= MOST_DATA)) throw new InvalidArgumentError("write a size of at most 64K, such as 4K or 0.");
  return bytes;
}

/** NaN: it is no size. */
function bytesIn(text: string): number {
  const [, digits, unit = ""] = /^(\d+)([KMG]?)$/i.exec(text) ?? [];
  return digits === undefined ? Number.NaN : Number(digits) * (UNITS.get(unit.toUpperCase()) ?? 0);
}
