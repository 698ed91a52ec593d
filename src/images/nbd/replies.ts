/**
 * One read, asked for in pieces, and the server's replies to them as they come: simple or structured, pieces and parts of
 * pieces in any order. Nothing a server sends takes more memory than is here from the beginning.
 */
import { NbdServerError } from "./handshake.js";
import {
  CHUNK_DONE,
  CHUNK_IS_ERROR,
  CHUNK_SIZE,
  Chunk,
  REQUEST_MAGIC,
  REQUEST_SIZE,
  Request,
  SIMPLE_REPLY_MAGIC,
  SIMPLE_REPLY_SIZE,
  STRUCTURED_REPLY_MAGIC,
} from "./protocol.js";

/** Requests that one read is asked for in at most. A power of two. */
export const MOST_PIECES = 64;
/** Bytes of an error with its text, as far as anyone sends one. */
const LARGEST_ERROR = 8192;
/** Errors that a read is answered with at most: one for each sector, an honest server sends none twice. */
const MOST_ERRORS = 4096;
/** Bytes before the data or the hole of a structured reply. */
const OFFSET_SIZE = 8;
const HOLE_SIZE = 12;
/** Bytes of an error that are looked at: its value. */
const ERROR_HEAD = 6;

/** What comes next from the server. */
const Part = { HEADER: 0, PAYLOAD_HEAD: 1, DATA: 2, SKIPPED: 3 } as const;

export class Replies {
  readonly #window: Buffer;
  readonly #requests = Buffer.alloc(MOST_PIECES * REQUEST_SIZE);
  readonly #isStructured: boolean;
  /** The read: its first byte's position, its length, and that of its pieces (but the last). */
  #position = 0;
  #length = 0;
  #pieceLength = 1;
  /** The first piece's number; those of earlier reads are never used again within a connection's life. */
  #first = 0;
  #count = 0;
  /** Pieces that are not yet answered, and of each piece the bytes that have not come. */
  #open = 0;
  readonly #missing = new Int32Array(MOST_PIECES);
  readonly #isOpen = new Uint8Array(MOST_PIECES);
  readonly #hasFailed = new Uint8Array(MOST_PIECES);
  /** The first error value that a piece was answered with; 0: none. */
  #error = 0;
  #errors = 0;

  #part: number = Part.HEADER;
  readonly #head = Buffer.alloc(CHUNK_SIZE);
  /** Bytes of `#head` that are here, and that are wanted. */
  #here = 0;
  #wanted: number;
  /** The piece, type, flags and payload of the reply that is being read. */
  #piece = 0;
  #type = 0;
  #isLast = false;
  #payload = 0;
  /** Where data goes in the window, and how much there is to come of it. */
  #at = 0;
  #left = 0;

  /** What is read is put at the beginning of `window`. */
  constructor(window: Buffer, isStructured: boolean) {
    this.#window = window;
    this.#isStructured = isStructured;
    this.#wanted = isStructured ? CHUNK_SIZE : SIMPLE_REPLY_SIZE;
  }

  get isDone(): boolean {
    return this.#open === 0;
  }

  /** The value of the error that the read was answered with; 0: none. */
  get error(): number {
    return this.#error;
  }

  /** Begins a read; the one before is done. Returns the requests, which stay as they are until the next. */
  begin(position: number, length: number, pieceLength: number): Buffer {
    this.#position = position;
    this.#length = length;
    this.#pieceLength = pieceLength;
    this.#first = (this.#first + MOST_PIECES) >>> 0;
    this.#count = Math.ceil(length / pieceLength);
    this.#open = this.#count;
    this.#error = 0;
    this.#errors = 0;
    for (let piece = 0; piece < this.#count; piece++) this.#request(piece);
    return this.#requests.subarray(0, this.#count * REQUEST_SIZE);
  }

  /** Takes in what the server sent: the first `length` bytes. Throws NbdServerError if it makes no sense. */
  feed(bytes: Buffer, length: number): void {
    for (let at = 0; at < length; ) {
      const there = length - at;
      switch (this.#part) {
        case Part.HEADER:
        case Part.PAYLOAD_HEAD: {
          const count = Math.min(there, this.#wanted - this.#here);
          bytes.copy(this.#head, this.#here, at, at + count);
          at += count;
          this.#here += count;
          if (this.#here < this.#wanted) break;
          if (this.#part === Part.PAYLOAD_HEAD) this.#takePayloadHead();
          else if (this.#isStructured) this.#takeChunk();
          else this.#takeSimple();
          break;
        }
        default: {
          const count = Math.min(there, this.#left);
          if (this.#part === Part.DATA) bytes.copy(this.#window, this.#at, at, at + count);
          at += count;
          this.#at += count;
          this.#left -= count;
          if (this.#left === 0) this.#endReply();
        }
      }
    }
  }

  #request(piece: number): void {
    const requests = this.#requests;
    const at = piece * REQUEST_SIZE;
    const position = this.#position + piece * this.#pieceLength;
    const length = this.#lengthOf(piece);
    this.#missing[piece] = length;
    this.#isOpen[piece] = 1;
    this.#hasFailed[piece] = 0;
    requests.writeUInt32BE(REQUEST_MAGIC, at);
    requests.writeUInt16BE(0, at + 4);
    requests.writeUInt16BE(Request.READ, at + 6);
    requests.writeUInt32BE(0, at + 8);
    requests.writeUInt32BE((this.#first + piece) >>> 0, at + 12);
    requests.writeUInt32BE(Math.floor(position / 2 ** 32), at + 16);
    requests.writeUInt32BE(position % 2 ** 32, at + 20);
    requests.writeUInt32BE(length, at + 24);
  }

  #lengthOf(piece: number): number {
    return Math.min(this.#pieceLength, this.#length - piece * this.#pieceLength);
  }

  /** Finds the piece by the cookie at `at` of the header. */
  #findPiece(at: number): void {
    const piece = this.#head.readUInt32BE(at + 4) - this.#first;
    if (this.#head.readUInt32BE(at) !== 0 || piece < 0 || piece >= this.#count || this.#isOpen[piece] === 0)
      throw new NbdServerError("the NBD server answers what was not asked");
    this.#piece = piece;
  }

  #takeSimple(): void {
    const head = this.#head;
    if (head.readUInt32BE(0) !== SIMPLE_REPLY_MAGIC) throw nonsense();
    this.#findPiece(8);
    this.#isLast = true;
    const error = head.readUInt32BE(4);
    if (error !== 0) {
      this.#fail(error);
      this.#endReply();
      return;
    }
    const length = this.#lengthOf(this.#piece);
    this.#missing[this.#piece] = 0;
    this.#take(Part.DATA, this.#piece * this.#pieceLength, length);
  }

  #takeChunk(): void {
    const head = this.#head;
    if (head.readUInt32BE(0) !== STRUCTURED_REPLY_MAGIC) throw nonsense();
    this.#findPiece(8);
    this.#isLast = (head.readUInt16BE(4) & CHUNK_DONE) !== 0;
    this.#type = head.readUInt16BE(6);
    this.#payload = head.readUInt32BE(16);
    if ((this.#type & CHUNK_IS_ERROR) !== 0) {
      if (this.#payload < ERROR_HEAD || this.#payload > LARGEST_ERROR) throw nonsense();
      this.#want(Part.PAYLOAD_HEAD, ERROR_HEAD);
      return;
    }
    switch (this.#type) {
      case Chunk.NONE:
        if (this.#payload !== 0 || !this.#isLast) throw nonsense();
        this.#endReply();
        return;
      case Chunk.OFFSET_DATA:
        if (this.#payload <= OFFSET_SIZE) throw nonsense();
        this.#want(Part.PAYLOAD_HEAD, OFFSET_SIZE);
        return;
      case Chunk.OFFSET_HOLE:
        if (this.#payload !== HOLE_SIZE) throw nonsense();
        this.#want(Part.PAYLOAD_HEAD, HOLE_SIZE);
        return;
      default:
        throw nonsense();
    }
  }

  #takePayloadHead(): void {
    const head = this.#head;
    if ((this.#type & CHUNK_IS_ERROR) !== 0) {
      this.#fail(head.readUInt32BE(0));
      this.#take(Part.SKIPPED, 0, this.#payload - ERROR_HEAD);
      return;
    }
    const isHole = this.#type === Chunk.OFFSET_HOLE;
    const position = head.readUInt32BE(0) * 2 ** 32 + head.readUInt32BE(4);
    const length = isHole ? head.readUInt32BE(8) : this.#payload - OFFSET_SIZE;
    const at = position - this.#position;
    const start = this.#piece * this.#pieceLength;
    const missing = this.#missing[this.#piece] as number;
    if (length === 0 || at < start || at + length > start + this.#lengthOf(this.#piece) || length > missing)
      throw nonsense();
    this.#missing[this.#piece] = missing - length;
    if (isHole) {
      this.#window.fill(0, at, at + length);
      this.#endReply();
    } else this.#take(Part.DATA, at, length);
  }

  #fail(error: number): void {
    if (++this.#errors > MOST_ERRORS) throw nonsense();
    if (this.#error === 0) this.#error = error === 0 ? -1 : error;
    this.#hasFailed[this.#piece] = 1;
  }

  #take(part: number, at: number, length: number): void {
    this.#part = part;
    this.#at = at;
    this.#left = length;
    if (length === 0) this.#endReply();
  }

  #want(part: number, bytes: number): void {
    this.#part = part;
    this.#here = 0;
    this.#wanted = bytes;
  }

  #endReply(): void {
    this.#want(Part.HEADER, this.#isStructured ? CHUNK_SIZE : SIMPLE_REPLY_SIZE);
    if (!this.#isLast) return;
    if (this.#missing[this.#piece] !== 0 && this.#hasFailed[this.#piece] === 0)
      throw new NbdServerError("the NBD server's answer is too short");
    this.#isOpen[this.#piece] = 0;
    this.#open--;
  }
}

function nonsense(): NbdServerError {
  return new NbdServerError("what the NBD server answers makes no sense");
}
