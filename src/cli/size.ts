/** Sizes as users write them: 512K, 4M, 1G. */
import { InvalidArgumentError } from "commander";

const UNITS: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["K", 2 ** 10],
  ["M", 2 ** 20],
  ["G", 2 ** 30],
]);
const LEAST = 4096;

/** Bytes. Throws InvalidArgumentError. */
export function size(text: string): number {
  const [, digits = "", unit = ""] = /^(\d+)([KMG]?)$/i.exec(text) ?? [];
  const bytes = Number(digits) * (UNITS.get(unit.toUpperCase()) ?? 0);
  if (!Number.isSafeInteger(bytes) || bytes < LEAST)
    throw new InvalidArgumentError(`write a size of at least ${LEAST} bytes, such as 512K, 4M or 1G.`);
  return bytes;
}
