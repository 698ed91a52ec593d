/** FAT's dates and times, which know no time zone: taken for UTC, as the kernel does with tz=UTC (fat_time_fat2unix). */

/** Days before each month; a month of 0 counts as 1, and those from 13 on as none. */
const DAYS = [0, 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 0, 0, 0];
/** Days from 1970 to 1980. */
const EPOCH = 3652;
/** 2100 is no leap year. */
const YEAR_2100 = 120;

/** Seconds since 1970 of a date and a time of two seconds' precision. */
export function secondsOf(date: number, time: number): number {
  const year = date >> 9;
  const month = Math.max(1, (date >> 5) & 0xf);
  const day = Math.max(1, date & 0x1f) - 1;
  let leapDays = (year + 3) >> 2;
  if (year > YEAR_2100) leapDays--;
  if ((year & 3) === 0 && year !== YEAR_2100 && month > 2) leapDays++;
  const days = year * 365 + leapDays + (DAYS[month] as number) + day + EPOCH;
  return (time & 0x1f) * 2 + ((time >> 5) & 0x3f) * 60 + (time >> 11) * 3600 + days * 86_400;
}
