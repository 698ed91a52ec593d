/**
 * The kernel's FUSE protocol: numbers and places, as include/uapi/linux/fuse.h has them (protocol 7.45; what is
 * used here is there since 7.31, that is Linux 5.4).
 *
 * Every structure is made of 32-bit words in the host's byte order, so messages are read and written through a
 * Uint32Array. A place is counted in words from the structure's start; a 64-bit field takes two words, the lower
 * half first (hosts are little-endian).
 */

/** Bytes of struct fuse_in_header, fuse_out_header, and of the answers that have a fixed size. */
export const Size = {
  REQUEST_HEADER: 40,
  REPLY_HEADER: 16,
  ENTRY: 128,
  ATTRIBUTES: 104,
  STATX: 288,
  OPEN: 16,
  STATFS: 80,
  XATTR: 8,
  LSEEK: 8,
  INIT: 64,
  DIRENT: 24,
} as const;

/** struct fuse_in_header, in words. Its length is in bytes; the arguments follow from ARGUMENTS on. */
export const RequestHeader = { LENGTH: 0, OPCODE: 1, UNIQUE: 2, NODE: 4, ARGUMENTS: 10 } as const;

/** struct fuse_out_header, in words. The answer's structure follows from PAYLOAD on. */
export const ReplyHeader = { LENGTH: 0, ERROR: 1, UNIQUE: 2, PAYLOAD: 4 } as const;

/** enum fuse_opcode. */
export const Opcode = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  IOCTL: 39,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
} as const;

/** Opcodes are below this number: the length of an array with one place for each. */
export const OPCODES = 64;

/** enum fuse_notify_code; written in place of the errno in a header whose `unique` is 0. */
export const Notification = {
  INVAL_INODE: 2,
  INVAL_ENTRY: 3,
  DELETE: 6,
  RESEND: 7,
  INC_EPOCH: 8,
} as const;

/** Flags of struct fuse_init_in and fuse_init_out (the first 32 of 64). */
export const InitFlag = {
  ASYNC_READ: 1 << 0,
  EXPORT_SUPPORT: 1 << 4,
  AUTO_INVAL_DATA: 1 << 12,
  DO_READDIRPLUS: 1 << 13,
  NO_OPEN_SUPPORT: 1 << 17,
  PARALLEL_DIROPS: 1 << 18,
  MAX_PAGES: 1 << 22,
  NO_OPENDIR_SUPPORT: 1 << 24,
} as const;

/** The protocol's version that is spoken here; the lower of the two minor versions counts. */
export const Version = { MAJOR: 7, MINOR: 45 } as const;

/** struct fuse_init_in, words of the arguments. */
export const InitIn = { MAJOR: 0, MINOR: 1, FLAGS: 3 } as const;

/** struct fuse_interrupt_in, words of the arguments: the `unique` of another request. */
export const InterruptIn = { UNIQUE: 0 } as const;

/** struct fuse_forget_in, words of the arguments. */
export const ForgetIn = { TIMES: 0 } as const;

/** struct fuse_batch_forget_in, words of the arguments: a count, and from FIRST on as many structs fuse_forget_one. */
export const BatchForgetIn = { COUNT: 0, FIRST: 2 } as const;

/** struct fuse_forget_one, words. */
export const ForgetOne = { NODE: 0, TIMES: 2, SIZE: 4 } as const;

/** struct fuse_init_out, words. BACKGROUND is two halves; MAX_PAGES is the lower half of its word. */
export const InitOut = {
  MAJOR: 0,
  MINOR: 1,
  MAX_READAHEAD: 2,
  FLAGS: 3,
  BACKGROUND: 4,
  MAX_WRITE: 5,
  TIME_GRANULARITY: 6,
  MAX_PAGES: 7,
} as const;

/** struct fuse_read_in (READ, READDIR, READDIRPLUS), words of the arguments. */
export const ReadIn = { OFFSET: 2, SIZE: 4 } as const;

/** struct fuse_open_in, words of the arguments. */
export const OpenIn = { FLAGS: 0 } as const;

/** struct fuse_getxattr_in, words of the arguments; the name follows at NAME. */
export const XattrIn = { SIZE: 0, NAME: 2 } as const;

/** struct fuse_lseek_in, words of the arguments. */
export const LseekIn = { OFFSET: 2, WHENCE: 4 } as const;

/** struct fuse_entry_out, words. */
export const EntryOut = {
  NODE: 0,
  GENERATION: 2,
  ENTRY_VALID: 4,
  ATTR_VALID: 6,
  ENTRY_VALID_NSEC: 8,
  ATTR_VALID_NSEC: 9,
  ATTR: 10,
} as const;

/** struct fuse_attr_out, words. */
export const AttrOut = { VALID: 0, VALID_NSEC: 2, ATTR: 4 } as const;

/** struct fuse_attr, words. */
export const Attr = {
  INO: 0,
  SIZE: 2,
  BLOCKS: 4,
  ATIME: 6,
  MTIME: 8,
  CTIME: 10,
  ATIME_NSEC: 12,
  MTIME_NSEC: 13,
  CTIME_NSEC: 14,
  MODE: 15,
  NLINK: 16,
  UID: 17,
  GID: 18,
  RDEV: 19,
  BLKSIZE: 20,
  FLAGS: 21,
} as const;

/** struct fuse_statx_out, words. */
export const StatxOut = { VALID: 0, VALID_NSEC: 2, STATX: 8 } as const;

/** struct fuse_statx, words; a time is two words of seconds and one of nanoseconds. MODE is half a word. */
export const Statx = {
  MASK: 0,
  BLKSIZE: 1,
  NLINK: 4,
  UID: 5,
  GID: 6,
  MODE: 7,
  INO: 8,
  SIZE: 10,
  BLOCKS: 12,
  ATIME: 16,
  BTIME: 20,
  CTIME: 24,
  MTIME: 28,
  RDEV_MAJOR: 32,
  RDEV_MINOR: 33,
} as const;

/** Bits of fuse_statx.mask (include/uapi/linux/stat.h). */
export const StatxMask = { BASIC_STATS: 0x7ff, BTIME: 0x800 } as const;

/** struct fuse_kstatfs, words. */
export const Statfs = {
  BLOCKS: 0,
  BLOCKS_FREE: 2,
  BLOCKS_AVAILABLE: 4,
  FILES: 6,
  FILES_FREE: 8,
  BLOCK_SIZE: 10,
  NAME_LENGTH: 11,
  FRAGMENT_SIZE: 12,
} as const;

/** struct fuse_dirent, words; the name's bytes follow, filled up to a multiple of 8 bytes. */
export const Dirent = { INO: 0, NEXT: 2, NAME_LENGTH: 4, TYPE: 5, NAME: 6 } as const;
