/** One file as its entry in a directory tells of it; filled in place and used again. */

/** Attributes that FAT and exFAT have alike. */
export const EntryAttribute = {
  READ_ONLY: 0x01,
  HIDDEN: 0x02,
  SYSTEM: 0x04,
  DIRECTORY: 0x10,
  ARCHIVE: 0x20,
} as const;

/** UTF-8 bytes of 20 slots of 13 UTF-16 units, as many as FAT can have. */
const LONGEST_NAME = 260 * 3;
/** UTF-8 bytes of a name of 8 and 3 characters. */
const LONGEST_ALIAS = 12 * 3;

export class DirectoryEntry {
  /** The name, in UTF-8. */
  readonly name = Buffer.alloc(LONGEST_NAME);
  nameLength = 0;
  /** A second name by which it is found, too. */
  readonly alias = Buffer.alloc(LONGEST_ALIAS);
  aliasLength = 0;
  /** In its directory: the first slot that it takes, its own (the one that its number is made of), and the one after it. */
  firstSlot = 0;
  slot = 0;
  nextSlot = 0;
  /** Where on the volume its own slot lies, in slots. */
  place = 0;
  ino = 0;
  generation = 0;
  attributes = 0;
  /** 0: none. */
  firstCluster = 0;
  /** Its clusters follow each other, and the table does not tell of them. */
  isContiguous = false;
  /** Bytes: of a file's contents, and up to where they have been written; of a directory, where its entry tells. */
  size = 0;
  validSize = 0;
  /** Its checksum is wrong, or what it says cannot be. */
  isBad = false;
  /** Times: seconds since 1970, and nanoseconds. */
  mtime = 0;
  mtimeNsec = 0;
  atime = 0;
  atimeNsec = 0;
  btime = 0;
  btimeNsec = 0;

  get isDirectory(): boolean {
    return (this.attributes & EntryAttribute.DIRECTORY) !== 0;
  }
}
