/** Numbers of the NBD protocol, from its specification (doc/proto.md of NetworkBlockDevice/nbd). All big-endian. */

/** "NBDMAGIC", which every server's greeting begins with, in two halves. */
export const GREETING_MAGIC_HIGH = 0x4e42444d;
export const GREETING_MAGIC_LOW = 0x41474943;
/** What follows it in the handshake that was in use before 2011, in two halves. */
export const OLDSTYLE_MAGIC_HIGH = 0x00004202;
export const OLDSTYLE_MAGIC_LOW = 0x81861253;
/** The greeting of a server of ours: "NBDMAGIC", "IHAVEOPT", handshake flags. */
export const GREETING = Buffer.concat([Buffer.from("NBDMAGICIHAVEOPT", "latin1"), Buffer.from([0, 3])]);
/** Bytes of a greeting, of an option's header and of the header of a reply to one. */
export const GREETING_SIZE = 18;
export const OPTION_SIZE = 16;
export const OPTION_REPLY_SIZE = 20;
/** "IHAVEOPT" before each option, in two halves. */
export const OPTION_MAGIC_HIGH = 0x49484156;
export const OPTION_MAGIC_LOW = 0x454f5054;
/** Before each reply to an option, in two halves. */
export const OPTION_REPLY_MAGIC_HIGH = 0x0003e889;
export const OPTION_REPLY_MAGIC_LOW = 0x045565a9;
export const REQUEST_MAGIC = 0x25609513;
export const SIMPLE_REPLY_MAGIC = 0x67446698;
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef;

/** Handshake flags. */
export const HandshakeFlag = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const;

/** Client flags. */
export const ClientFlag = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const;

export const Option = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  STARTTLS: 5,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
} as const;

export const OptionReply = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: 0x80000001,
  ERR_POLICY: 0x80000002,
  ERR_INVALID: 0x80000003,
  ERR_TLS_REQD: 0x80000005,
  ERR_UNKNOWN: 0x80000006,
  ERR_TOO_BIG: 0x80000009,
} as const;

export const Info = { EXPORT: 0, NAME: 1, DESCRIPTION: 2, BLOCK_SIZE: 3 } as const;

/** Transmission flags. */
export const ExportFlag = {
  HAS_FLAGS: 1 << 0,
  READ_ONLY: 1 << 1,
  SEND_FLUSH: 1 << 2,
  SEND_FUA: 1 << 3,
  SEND_TRIM: 1 << 5,
  SEND_WRITE_ZEROES: 1 << 6,
  SEND_DF: 1 << 7,
  CAN_MULTI_CONN: 1 << 8,
  SEND_CACHE: 1 << 10,
  SEND_FAST_ZERO: 1 << 11,
} as const;

export const Request = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  CACHE: 5,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
} as const;

/** Command flags. */
export const RequestFlag = { FUA: 1, NO_HOLE: 2, DF: 4, REQ_ONE: 8, FAST_ZERO: 16 } as const;

/** Types of structured replies, and their one flag. */
export const Chunk = { NONE: 0, OFFSET_DATA: 1, OFFSET_HOLE: 2, BLOCK_STATUS: 5, ERROR: 0x8001 } as const;
export const CHUNK_DONE = 1;
/** The bit that all types of errors have. */
export const CHUNK_IS_ERROR = 0x8000;

/** Flags of `base:allocation`. */
export const Allocation = { HOLE: 1, ZERO: 2 } as const;

/** Error values: not the host's errno, though most look like it. */
export const NbdError = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;

/** Bytes of a request without its payload, of a simple reply, and of a structured reply's header. */
export const REQUEST_SIZE = 28;
export const SIMPLE_REPLY_SIZE = 16;
export const CHUNK_SIZE = 20;

/** Bytes that one READ or WRITE may carry: what every client must be able to rely on, and QEMU's own limit. */
export const LARGEST_PAYLOAD = 1 << 25;
/** Bytes, for the client's planning: smaller or unaligned requests are served as well. */
export const PREFERRED_BLOCK = 4096;
/** Bytes of the largest block that a server may ask its clients to read whole. */
export const LARGEST_BLOCK = 1 << 16;
/** The port that is NBD's own. */
export const DEFAULT_PORT = 10809;
/** Bytes that a string, such as an export's name, may have. */
export const LONGEST_STRING = 4096;
