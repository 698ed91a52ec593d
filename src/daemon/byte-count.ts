/** Sizes as users write them: 512K, 4M, 1G. */

const UNITS: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["K", 2 ** 10],
  ["M", 2 ** 20],
  ["G", 2 ** 30],
]);

/** Bytes of a log, or of a queue, at least. */
export const LEAST_SIZE = 4096;
/** Bytes of a file's data that an event may bring along. */
export const MOST_DATA = 65_536;

/** Bytes; NaN: it is no size. */
export function bytesIn(text: string): number {
  const [, digits, unit = ""] = /^(\d+)([KMG]?)$/i.exec(text) ?? [];
  return digits === undefined ? Number.NaN : Number(digits) * (UNITS.get(unit.toUpperCase()) ?? 0);
}
