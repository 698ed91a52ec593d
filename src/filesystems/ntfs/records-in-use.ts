/** Going through all records of the MFT, in the order of their numbers. */
import type { Log } from "../../images/image.js";
import { EIO, IoError } from "../../images/io-error.js";
import { AttributeType } from "./attribute.js";
import { Inode } from "./inode.js";
import { type MasterFileTable, SystemRecord } from "./mft.js";
import { Stream } from "./stream.js";

/** So many bad records are looked at again and passed over; more, and the crawl has failed. */
const MOST_BAD = 100_000;
/** Lines in the log about what was passed over. */
const MOST_LINES = 10;
/** Bytes of the bitmap that are read at once. */
const PIECE = 65536;

/** What a pass could not read, and why. */
export class BadRecords {
  readonly why = new Map<number, string>();

  /** Throws what is no IoError, and IoError if there are too many. */
  note(number: number, error: unknown): void {
    if (!(error instanceof IoError)) throw error;
    this.noteWhy(number, error.message);
  }

  noteWhy(number: number, message: string): void {
    if (!this.why.has(number)) this.why.set(number, message);
    if (this.why.size > MOST_BAD)
      throw new IoError(EIO, `more than ${MOST_BAD} MFT records are bad; one: ${message}`);
  }

  /** Tells of what was passed over, in a few lines; returns how much it is. */
  tell(log: Log): number {
    const messages = [...this.why.values()];
    for (const message of messages.slice(0, MOST_LINES)) log(`crawl: passed over ${message}`);
    if (messages.length > MOST_LINES) log(`crawl: passed over ${messages.length - MOST_LINES} more`);
    return messages.length;
  }
}

/**
 * Calls `take` with each file's record, loaded: extensions of others, and what is not in use, are passed over. What cannot
 * be read, and what `take` throws, goes to `bad`, unless $MFT's bitmap says that nobody uses the record.
 */
export function eachRecord(
  mft: MasterFileTable,
  inode: Inode,
  bad: BadRecords,
  take: (inode: Inode) => void,
): void {
  const { records } = mft;
  const inUse = new RecordBitmap(mft);
  for (let number = 0; number < records; number++) {
    try {
      if (inode.loadIfUsed(number, true)) take(inode);
    } catch (error) {
      if (inUse.has(number) || !(error instanceof IoError)) bad.note(number, error);
    }
  }
}

class RecordBitmap {
  readonly #stream: Stream | undefined;
  readonly #piece = Buffer.alloc(PIECE);
  #start = -1;

  constructor(mft: MasterFileTable) {
    try {
      const inode = new Inode(mft).load(SystemRecord.MFT);
      const index = inode.find(AttributeType.BITMAP);
      this.#stream = index < 0 ? undefined : new Stream(mft, inode, index);
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
    }
  }

  /** Whether a record counts as used; also where nobody knows. */
  has(number: number): boolean {
    const stream = this.#stream;
    if (stream === undefined) return true;
    const byte = Math.floor(number / 8);
    const start = byte - (byte % PIECE);
    try {
      if (start !== this.#start) {
        const length = Math.min(PIECE, stream.size - start);
        if (length <= 0) return false;
        this.#piece.fill(0);
        stream.read(start, length, this.#piece, 0);
        this.#start = start;
      }
    } catch (error) {
      if (error instanceof IoError) return true;
      throw error;
    }
    return (((this.#piece[byte - start] as number) >> (number & 7)) & 1) !== 0;
  }
}
