/**
 * The client's side of the handshake: fixed newstyle, NBD_OPT_GO, or NBD_OPT_EXPORT_NAME with servers that know no
 * better. Written as a generator that yields how many bytes of the server's it wants next, and is given just these.
 */
import {
  ClientFlag,
  GREETING_MAGIC_HIGH,
  GREETING_MAGIC_LOW,
  GREETING_SIZE,
  HandshakeFlag,
  Info,
  LARGEST_BLOCK,
  LARGEST_PAYLOAD,
  OLDSTYLE_MAGIC_HIGH,
  OLDSTYLE_MAGIC_LOW,
  OPTION_MAGIC_HIGH,
  OPTION_MAGIC_LOW,
  OPTION_REPLY_MAGIC_HIGH,
  OPTION_REPLY_MAGIC_LOW,
  OPTION_REPLY_SIZE,
  OPTION_SIZE,
  Option,
  OptionReply,
} from "./protocol.js";

/** What a server has agreed to. */
export interface Agreement {
  /** Bytes of the disk that can be read. */
  readonly size: number;
  readonly isStructured: boolean;
  /** Bytes: a request begins at a multiple, and ends at one or with the disk. A power of two. */
  readonly alignment: number;
  /** Bytes that one request may ask for. A multiple of `alignment`. */
  readonly largestRead: number;
}

/** A server that breaks the protocol, or will not serve: the connection is of no use. */
export class NbdServerError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "NbdServerError";
  }
}

/** Replies to one option, and bytes of one: what an honest server sends is far less. */
const MOST_REPLIES = 64;
const LARGEST_REPLY = 16 << 10;
/** What is asked of servers that do not say what they want: every disk has such sectors. */
const SECTOR = 512;
/** Zeros that end the answer to NBD_OPT_EXPORT_NAME unless both sides leave them out. */
const EXPORT_NAME_ZEROS = 124;

/** Generates how many bytes are wanted, at most `LARGEST_REPLY`. Throws NbdServerError. */
export type Handshake = Generator<number, Agreement, Buffer>;

/** Negotiates about the export `name`; `send` sends bytes to the server. */
export function* negotiate(name: string, send: (bytes: Buffer) => void): Handshake {
  const greeting = yield GREETING_SIZE;
  const flags = checkGreeting(greeting);
  const isFixed = (flags & HandshakeFlag.FIXED_NEWSTYLE) !== 0;
  const noZeros = (flags & HandshakeFlag.NO_ZEROES) !== 0;
  const answer = Buffer.alloc(4);
  answer.writeUInt32BE((isFixed ? ClientFlag.FIXED_NEWSTYLE : 0) | (noZeros ? ClientFlag.NO_ZEROES : 0));
  send(answer);
  if (!isFixed) return yield* byName(name, send, false, noZeros);
  send(option(Option.STRUCTURED_REPLY));
  const isStructured = yield* isAgreed();
  send(option(Option.GO, goData(name)));
  const agreed = yield* go(name, isStructured, send);
  return agreed ?? (yield* byName(name, send, isStructured, noZeros));
}

/** Returns the handshake flags. */
function checkGreeting(greeting: Buffer): number {
  if (greeting.readUInt32BE(0) !== GREETING_MAGIC_HIGH || greeting.readUInt32BE(4) !== GREETING_MAGIC_LOW)
    throw new NbdServerError("what answers there is no NBD server");
  const high = greeting.readUInt32BE(8);
  const low = greeting.readUInt32BE(12);
  if (high === OLDSTYLE_MAGIC_HIGH && low === OLDSTYLE_MAGIC_LOW)
    throw new NbdServerError("the NBD server speaks the oldstyle handshake; have it speak newstyle");
  if (high !== OPTION_MAGIC_HIGH || low !== OPTION_MAGIC_LOW)
    throw new NbdServerError("the NBD server's greeting makes no sense");
  return greeting.readUInt16BE(16);
}

function* isAgreed(): Generator<number, boolean, Buffer> {
  for (let count = 0; count < MOST_REPLIES; count++) {
    const { type, data } = yield* reply(Option.STRUCTURED_REPLY);
    if (type === OptionReply.ACK) return true;
    if (type === OptionReply.ERR_TLS_REQD) throw refusal("", type, data);
    if (isError(type)) return false;
  }
  throw endless();
}

/** Undefined: the server does not know the option. */
function* go(
  name: string,
  isStructured: boolean,
  send: (bytes: Buffer) => void,
): Generator<number, Agreement | undefined, Buffer> {
  let size: number | undefined;
  let sizes: Buffer | undefined;
  for (let count = 0; count < MOST_REPLIES; count++) {
    const { type, data } = yield* reply(Option.GO);
    if (type === OptionReply.ACK) {
      if (size === undefined) throw new NbdServerError("the NBD server does not say how large the disk is");
      return agreement(size, isStructured, sizes);
    }
    if (type === OptionReply.ERR_UNSUP) return undefined;
    if (isError(type)) {
      send(option(Option.ABORT));
      throw refusal(name, type, data);
    }
    if (type !== OptionReply.INFO || data.length < 2) continue;
    const about = data.readUInt16BE(0);
    if (about === Info.EXPORT) {
      if (data.length !== 12) throw nonsense();
      size = readSize(data, 2);
    } else if (about === Info.BLOCK_SIZE) {
      if (data.length !== 14) throw nonsense();
      sizes = data;
    }
  }
  throw endless();
}

/** The one option of the first newstyle servers: one that has no such export hangs up. */
function* byName(
  name: string,
  send: (bytes: Buffer) => void,
  isStructured: boolean,
  noZeros: boolean,
): Handshake {
  send(option(Option.EXPORT_NAME, Buffer.from(name)));
  const answer = yield 10;
  const size = readSize(answer, 0);
  if (!noZeros) yield EXPORT_NAME_ZEROS;
  return agreement(size, isStructured, undefined);
}

interface Reply {
  readonly type: number;
  readonly data: Buffer;
}

function* reply(asked: number): Generator<number, Reply, Buffer> {
  const head = yield OPTION_REPLY_SIZE;
  const isReply =
    head.readUInt32BE(0) === OPTION_REPLY_MAGIC_HIGH && head.readUInt32BE(4) === OPTION_REPLY_MAGIC_LOW;
  if (!isReply || head.readUInt32BE(8) !== asked) throw nonsense();
  const type = head.readUInt32BE(12);
  const length = head.readUInt32BE(16);
  if (length > LARGEST_REPLY) throw nonsense();
  return { type, data: length === 0 ? Buffer.alloc(0) : yield length };
}

/** `sizes`: NBD_INFO_BLOCK_SIZE, if the server sent it. */
function agreement(size: number, isStructured: boolean, sizes: Buffer | undefined): Agreement {
  if (sizes === undefined) return { size, isStructured, alignment: SECTOR, largestRead: LARGEST_PAYLOAD };
  const alignment = sizes.readUInt32BE(2);
  const isPower = alignment > 0 && (alignment & (alignment - 1)) === 0;
  const most = sizes.readUInt32BE(10);
  if (!isPower || alignment > LARGEST_BLOCK || most < alignment)
    throw new NbdServerError("the NBD server's block sizes make no sense");
  const largestRead = Math.min(most, LARGEST_PAYLOAD);
  // Of a disk that does not end with a block, the rest cannot be asked for.
  return {
    size: size - (size % alignment),
    isStructured,
    alignment,
    largestRead: largestRead - (largestRead % alignment),
  };
}

function option(type: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(OPTION_SIZE);
  head.writeUInt32BE(OPTION_MAGIC_HIGH, 0);
  head.writeUInt32BE(OPTION_MAGIC_LOW, 4);
  head.writeUInt32BE(type, 8);
  head.writeUInt32BE(data.length, 12);
  return Buffer.concat([head, data]);
}

/** The export's name, and that its block sizes are wanted (and will be kept to). */
function goData(name: string): Buffer {
  const bytes = Buffer.from(name);
  const data = Buffer.alloc(4 + bytes.length + 4);
  data.writeUInt32BE(bytes.length, 0);
  bytes.copy(data, 4);
  data.writeUInt16BE(1, 4 + bytes.length);
  data.writeUInt16BE(Info.BLOCK_SIZE, 6 + bytes.length);
  return data;
}

function readSize(data: Buffer, at: number): number {
  const size = data.readUInt32BE(at) * 2 ** 32 + data.readUInt32BE(at + 4);
  if (!Number.isSafeInteger(size))
    throw new NbdServerError("the NBD server's disk is larger than any can be");
  return size;
}

function isError(type: number): boolean {
  return type >= 2 ** 31;
}

/** `text`: the server's own words, which are shown as far as they are fit to be. */
function refusal(name: string, type: number, text: Buffer): NbdServerError {
  const words = text
    .subarray(0, 200)
    .toString()
    .replace(/[^\p{L}\p{N}\p{P}\p{S} ]/gu, "?");
  const own = words === "" ? "" : ` ("${words}")`;
  if (type === OptionReply.ERR_TLS_REQD)
    return new NbdServerError("the NBD server wants TLS, which is not spoken here");
  if (type === OptionReply.ERR_UNKNOWN)
    return new NbdServerError(
      `the NBD server has no export "${name}"${own}; nbdinfo --list shows those it has`,
    );
  return new NbdServerError(`the NBD server refuses the export "${name}"${own}`);
}

function endless(): NbdServerError {
  return new NbdServerError("the NBD server does not come to an end in the handshake");
}

function nonsense(): NbdServerError {
  return new NbdServerError("what the NBD server says in the handshake makes no sense");
}
