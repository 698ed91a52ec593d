import { readFileSync, readSync } from "node:fs";

/** A block device's name in sysfs, `major:minor`, by its device number (`rdev` of stat(2)). */
export function deviceName(rdev: number): string {
  // The kernel's new_encode_dev(): 12 bits of major number amid 20 bits of minor number.
  const major = (rdev >>> 8) & 0xfff;
  const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
  return `${major}:${minor}`;
}

/**
 * A block device's size in bytes, by its device number: sysfs has it in units of 512 bytes whatever the device's sector
 * size. Undefined where there is no sysfs, as in some containers.
 */
export function sizeInSysfs(rdev: number): number | undefined {
  try {
    const sectors = Number.parseInt(readFileSync(`/sys/dev/block/${deviceName(rdev)}/size`, "latin1"), 10);
    return Number.isSafeInteger(sectors) ? sectors * 512 : undefined;
  } catch {
    return undefined;
  }
}

/**
 * A block device's size in bytes, found by reading: some hundred reads of one byte. For where sysfs is missing;
 * Node has neither lseek(2) nor ioctl(2). Throws a system error if the device cannot be read.
 */
export function sizeByReading(fd: number): number {
  const byte = Buffer.alloc(1);
  const isThere = (position: number) => readSync(fd, byte, 0, 1, position) === 1;
  if (!isThere(0)) return 0;
  let there = 0;
  let step = 512;
  while (isThere(there + step)) {
    there += step;
    step *= 2;
  }
  for (; step >= 512; step /= 2) {
    if (isThere(there + step)) there += step;
  }
  return there + 512;
}
