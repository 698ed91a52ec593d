/** What a name in a directory must be for the kernel to take it. */

/** The longest name that the kernel takes in a directory, bytes (FUSE_NAME_MAX in fs/fuse/fuse_i.h). */
export const NAME_MAX = 1024;

const SLASH = 0x2f;

/**
 * Whether any path can hold a name: it is not empty or too long, and has no slash or NUL. For one that is not so, the
 * kernel would refuse the whole directory.
 */
export function isPossibleName(name: Buffer, offset: number, length: number): boolean {
  if (length <= 0 || length > NAME_MAX) return false;
  for (let i = offset; i < offset + length; i++) {
    if (name[i] === SLASH || name[i] === 0) return false;
  }
  return true;
}

/** A name for the log: its first bytes, quoted, as Latin-1. */
export function shownName(name: Buffer, offset: number, length: number): string {
  const shown = 80;
  const text = JSON.stringify(name.toString("latin1", offset, offset + Math.min(length, shown)));
  return length > shown ? `${text}... (${length} bytes)` : text;
}
