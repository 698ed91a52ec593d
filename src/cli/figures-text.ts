/** Figures as people read them in a terminal. */

const UNITS = ["", "K", "M", "G", "T", "P"] as const;

/** Bytes: 512, 1.5K, 20M. */
export function bytesText(bytes: number | undefined): string {
  if (bytes === undefined) return "-";
  let unit = 0;
  let value = bytes;
  for (; value >= 1000 && unit < UNITS.length - 1; unit++) value /= 1024;
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)}${UNITS[unit]}`;
}

/** A time: 3.2 ms, 45 ms, 12 s. */
export function msText(ms: number | undefined): string {
  if (ms === undefined) return "-";
  if (Math.abs(ms) >= 10_000) return `${Math.round(ms / 1000)} s`;
  return `${Math.abs(ms) < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

/** So many each second. */
export function rateText(perSecond: number): string {
  if (perSecond === 0) return "0";
  return perSecond < 10 ? perSecond.toFixed(1) : String(Math.round(perSecond));
}
