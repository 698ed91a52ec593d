/** All of a journal at once: what a recovery would put in place. */
import { IoError } from "../../../images/io-error.js";
import type { Journal, LoggedBlock } from "./journal.js";

/** A journal's finished transactions folded into one. */
export interface Fold {
  /** The newest good copy of each block that the log has one of, and does not revoke later. */
  readonly copies: Map<number, LoggedBlock>;
  /** How many transactions there were, and the last one's number; undefined if there were none. */
  readonly transactions: number;
  readonly lastSequence: number | undefined;
  /** How many copies were passed over since they were not what was logged, or could not be read. */
  readonly badCopies: number;
}

/** What block bitmaps tell of logged copies that were not revoked. */
export interface Freed {
  /** Whether a block is a block bitmap. */
  isBitmap(block: number): boolean;
  /** Those of `candidates` that are free by the bitmap of block `block`. */
  among(block: number, bitmap: Buffer, candidates: Iterable<number>): number[];
}

/** A copy with the one before it, for where the newer one turns out bad. */
interface Layer {
  readonly logged: LoggedBlock;
  readonly older: Layer | undefined;
}

/**
 * Takes all finished transactions that are left in `journal`. Like the kernel's recovery it leaves out copies whose
 * checksums do not hold, so that an older copy, or the block in its place, stays the newest. Only the copies that
 * count are read. `journal.status` tells afterwards why the log ends. Throws FileSystemError (EIO) when the journal's
 * superblock has become bad, or a revoke block cannot be read. With `until`, what comes after that transaction is left.
 * With `freed`, copies of blocks that have been freed since are left out too.
 */
export function fold(journal: Journal, until?: number, freed?: Freed): Fold {
  const layers = new Map<number, Layer>();
  const keepOlder = journal.superblock.blockChecksums;
  const buffer = Buffer.alloc(journal.superblock.blockSize);
  let transactions = 0;
  let lastSequence: number | undefined;
  while (until === undefined || lastSequence !== until) {
    const next = journal.next();
    if (next === undefined) break;
    for (const logged of next.blocks) {
      layers.set(logged.block, { logged, older: keepOlder ? layers.get(logged.block) : undefined });
    }
    for (const block of next.revoked) layers.delete(block);
    for (const logged of freed === undefined ? [] : next.blocks) {
      if (!freed?.isBitmap(logged.block) || !isGood(journal, logged, buffer)) continue;
      for (const free of freed.among(logged.block, buffer, layers.keys())) layers.delete(free);
    }
    transactions++;
    lastSequence = next.sequence;
  }
  const copies = new Map<number, LoggedBlock>();
  let badCopies = 0;
  for (const [block, newest] of layers) {
    let layer: Layer | undefined = newest;
    while (layer !== undefined && keepOlder && !isGood(journal, layer.logged, buffer)) {
      badCopies++;
      layer = layer.older;
    }
    if (layer !== undefined) copies.set(block, layer.logged);
  }
  return { copies, transactions, lastSequence, badCopies };
}

function isGood(journal: Journal, logged: LoggedBlock, buffer: Buffer): boolean {
  try {
    journal.readCopy(logged, buffer, 0);
    return true;
  } catch (error) {
    if (error instanceof IoError) return false;
    throw error;
  }
}
