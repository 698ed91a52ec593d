/** exFAT's times: local ones, with what they are away from UTC, if that is told; else taken for UTC. */

/** The offset is there. */
const IS_VALID = 0x80;
const QUARTER = 15 * 60;

/**
 * Seconds since 1970 as the kernel reckons (exfat_get_entry_time, mktime64). `offset`: in quarters of an hour, 7 bits with
 * a sign, and a bit that says that it counts.
 */
export function secondsOf(date: number, time: number, offset: number): number {
  let year = 1980 + (date >> 9);
  let month = ((date >> 5) & 0xf) - 2;
  // The year begins in March: so a leap day is its last.
  if (month <= 0) {
    month += 12;
    year--;
  }
  const leapDays = Math.floor(year / 4) - Math.floor(year / 100) + Math.floor(year / 400);
  const days = leapDays + Math.floor((367 * month) / 12) + (date & 0x1f) + year * 365 - 719_499;
  const seconds = (time & 0x1f) * 2 + ((time >> 5) & 0x3f) * 60 + (time >> 11) * 3600 + days * 86_400;
  if ((offset & IS_VALID) === 0) return seconds;
  const quarters = offset & 0x7f;
  return seconds - (quarters <= 0x3f ? quarters : quarters - 0x80) * QUARTER;
}
