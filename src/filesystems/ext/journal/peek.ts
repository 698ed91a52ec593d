/**
 * Whether anything has come to a journal since it was last read, told by two small reads: of the block where the next
 * transaction goes on, and of what the journal's superblock says of the log. The block alone would not do: a log that
 * has been written round has something else there, but not before its start has been moved on.
 */
import type { Source, Spot } from "../../../images/image.js";
import { readFully } from "../../../versions/block-cache.js";
import type { JournalInode } from "../journal-inode.js";
import { HeaderLayout, JOURNAL_MAGIC } from "./format.js";
import type { Journal } from "./journal.js";

/**
 * The part of the journal's superblock that says where the log starts (s_sequence, s_start) and what shape it has: from
 * s_blocksize to s_num_fc_blks.
 */
const LOG_AT = 0xc;
const LOG_SIZE = 0x58 - LOG_AT;
/**
 * ms for which the superblock need not be looked at again: no log, of 1024 blocks at least, is written round in that
 * time, with the commits and flushes that it takes.
 */
const ROUND = 0.2;

export class Peek {
  readonly #source: Source;
  readonly #journal: Journal;
  readonly #device: JournalInode;
  readonly #header = Buffer.alloc(HeaderLayout.size);
  readonly #logged = Buffer.alloc(LOG_SIZE);
  readonly #lastLogged = Buffer.alloc(LOG_SIZE);
  #lookedAt = Number.NEGATIVE_INFINITY;

  /** `source`: the volume that the journal lies on. */
  constructor(source: Source, journal: Journal, device: JournalInode) {
    this.#source = source;
    this.#journal = journal;
    this.#device = device;
  }

  /**
   * Whether nothing has come. With `closely`, the superblock is looked at in any case: copies that lie in the log may
   * have been written over as soon as it has been moved on. Throws IoError.
   */
  isQuiet(closely: boolean): boolean {
    const { awaited } = this.#journal;
    if (awaited !== 0 && this.#isWritten(awaited)) return false;
    const now = performance.now();
    if (awaited !== 0 && !closely && now - this.#lookedAt < ROUND) return true;
    this.#lookedAt = now;
    readFully(this.#source, this.#logged, LOG_SIZE, this.#superblockAt);
    if (this.#logged.equals(this.#lastLogged)) return true;
    this.#logged.copy(this.#lastLogged);
    return false;
  }

  /** What it looks at: as long as this is as it was, nothing has come. */
  spots(): Spot[] {
    const source = this.#source;
    const spots = [{ source, position: this.#superblockAt, length: LOG_SIZE }];
    const { awaited } = this.#journal;
    const block = awaited === 0 ? 0 : this.#device.physical(awaited);
    if (block !== 0)
      spots.push({ source, position: block * this.#device.blockSize, length: HeaderLayout.size });
    return spots;
  }

  get #superblockAt(): number {
    return this.#device.physical(0) * this.#device.blockSize + LOG_AT;
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
