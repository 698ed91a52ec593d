/** A guest's files, for those who look for facts in them. */

/** An open file. */
export interface GuestFile {
  /** Bytes; the guest's word, which may be anything. */
  readonly size: number;
  /** At most `length` bytes from `position` on; fewer at the end only. Throws what the guest's disk answers. */
  read(position: number, length: number): Buffer;
  close(): void;
}

/**
 * Paths begin at the guest's root, with one character a byte, and links are followed within the guest. What is not there is
 * undefined; anything else that is wrong (no regular file, a loop of links, a bad disk) is an Error with a line.
 */
export interface GuestFiles {
  /** Opens a regular file. */
  open(path: string): GuestFile | undefined;
  /** At most `most` names of a directory, without "." and "..". */
  list(path: string, most: number): string[] | undefined;
  /** Where a link leads, as the tree shows it. */
  linkTarget(path: string): string | undefined;
}
