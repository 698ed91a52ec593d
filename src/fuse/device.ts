/**
 * A device number as the kernel's new_encode_dev() packs it (include/linux/kdev_t.h); also the lower half of glibc's
 * dev_t for a major number below 4096.
 */
export function deviceNumber(major: number, minor: number): number {
  return (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12);
}
