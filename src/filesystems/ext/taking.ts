/** Taking transactions out of a journal, with their copies. */
import type { Log } from "../../images/image.js";
import type { Commit } from "../../versions/commit.js";
import type { LoggedBlock, Transaction } from "./journal/journal.js";
import type { OpenJournal } from "./version.js";

/**
 * Reads a transaction's copies; undefined (and a line in the log) if they are no longer what was logged. `settled`: see
 * Commit.
 */
export function readCommit(
  { journal, device }: OpenJournal,
  transaction: Transaction,
  log: Log,
  settled = journal.superblock.sequence,
): Commit | undefined {
  const { blockSize } = device;
  try {
    const revoked = Float64Array.from(new Set(transaction.revoked));
    const newest = new Map<number, LoggedBlock>();
    for (const logged of transaction.blocks) newest.set(logged.block, logged);
    for (const block of revoked) newest.delete(block);
    const copies = [...newest.values()];
    const bytes = Buffer.from(new SharedArrayBuffer(copies.length * blockSize));
    copies.forEach((logged, index) => {
      journal.readCopy(logged, bytes, index * blockSize);
    });
    if (!journal.holds(transaction.sequence)) return undefined;
    return {
      sequence: transaction.sequence,
      blocks: Float64Array.from(copies, ({ block }) => block),
      bytes,
      places: Float64Array.from(copies, ({ index, escaped }) => (escaped ? 0 : device.physical(index))),
      revoked,
      settled,
      next: transaction.next,
    };
  } catch (error) {
    log(`transaction ${transaction.sequence} could not be taken: ${(error as Error).message}`);
    return undefined;
  }
}
