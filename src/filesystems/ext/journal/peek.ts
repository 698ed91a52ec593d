/**
 * Whether anything has come to a journal since it was last read, told by two small reads: of the block where the next
 * transaction goes on, and of where the journal's superblock says that the log starts. The block alone would not do: a
 * log that has been written round has something else there, but not before its start has been moved on.
 */
import type { Source } from "../../../images/image.js";
import { readFully } from "../../../versions/block-cache.js";
import type { JournalInode } from "../journal-inode.js";
import { HeaderLayout, JOURNAL_MAGIC } from "./format.js";
import type { Journal } from "./journal.js";

/** Where s_sequence and s_start lie in the journal's superblock, one after the other. */
const START_AT = 0x18;
const START_SIZE = 8;
/**
 * ms for which the log's start need not be looked at again: no log, of 1024 blocks at least, is written round in that
 * time, with the commits and flushes that it takes.
 */
const ROUND = 0.2;

export class Peek {
  readonly #source: Source;
  readonly #journal: Journal;
  readonly #device: JournalInode;
  readonly #header = Buffer.alloc(HeaderLayout.size);
  readonly #start = Buffer.alloc(START_SIZE);
  readonly #lastStart = Buffer.alloc(START_SIZE);
  #lookedAt = Number.NEGATIVE_INFINITY;

  /** `source`: the volume that the journal lies on. */
  constructor(source: Source, journal: Journal, device: JournalInode) {
    this.#source = source;
    this.#journal = journal;
    this.#device = device;
  }

  /**
   * Whether nothing has come. With `closely`, the log's start is looked at in any case: copies that lie in the log may
   * have been written over as soon as it has been moved on. Throws IoError.
   */
  isQuiet(closely: boolean): boolean {
    const { awaited } = this.#journal;
    if (awaited !== 0 && this.#isWritten(awaited)) return false;
    const now = performance.now();
    if (awaited !== 0 && !closely && now - this.#lookedAt < ROUND) return true;
    this.#lookedAt = now;
    const at = this.#device.physical(0) * this.#device.blockSize + START_AT;
    readFully(this.#source, this.#start, START_SIZE, at);
    if (this.#start.equals(this.#lastStart)) return true;
    this.#start.copy(this.#lastStart);
    return false;
  }

  /** Whether a block has become one of the expected transaction's own. */
  #isWritten(index: number): boolean {
    const block = this.#device.physical(index);
    if (block === 0) return false;
    const header = this.#header;
    readFully(this.#source, header, header.length, block * this.#device.blockSize);
    return header.readUInt32BE(0) === JOURNAL_MAGIC && header.readUInt32BE(8) === this.#journal.sequence;
  }
}
