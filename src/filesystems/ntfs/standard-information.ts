/** What a file's record says of it as a whole (NTFS documentation, "$STANDARD_INFORMATION"). */

/** Offsets in the value. */
export const StandardInformation = {
  CREATED: 0x0,
  CHANGED: 0x8,
  RECORD_CHANGED: 0x10,
  ACCESSED: 0x18,
  FILE_ATTRIBUTES: 0x20,
  /** Of files nothing is known to use the next two; 0 and 1 make a directory tell upper from lower case (keramics' documentation). */
  MOST_VERSIONS: 0x24,
  VERSION: 0x28,
  /** Bytes of the form that all versions have; the longer one has a number of a security descriptor. */
  SHORT_SIZE: 0x30,
  SECURITY_ID: 0x34,
  LONG_SIZE: 0x48,
} as const;

/** FILE_ATTRIBUTE_... */
export const FileAttributes = {
  READONLY: 0x1,
  HIDDEN: 0x2,
  SYSTEM: 0x4,
  DIRECTORY: 0x10,
  NORMAL: 0x80,
  SPARSE: 0x200,
  REPARSE_POINT: 0x400,
  COMPRESSED: 0x800,
  OFFLINE: 0x1000,
  ENCRYPTED: 0x4000,
  RECALL_ON_DATA_ACCESS: 0x40_0000,
} as const;
