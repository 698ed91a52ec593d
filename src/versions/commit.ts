/** The step from one committed version of a volume to the next. */
export interface Commit {
  /** The transaction's number; wraps at 2^32. */
  readonly sequence: number;
  /** The blocks that it logged, and their bytes one after the other (in shared memory: threads need no copies). */
  readonly blocks: Float64Array;
  readonly bytes: Uint8Array;
  /** Where on the volume each copy lies in the journal as it stands in `bytes`; 0 where it does not. */
  readonly places: Float64Array;
  /** Blocks whose logged copies no longer count: what is in their places does. */
  readonly revoked: Float64Array;
  /** Copies of transactions before this one have been written to their places. */
  readonly settled: number;
  /** The journal's block where the next transaction is to begin, where the transaction is one of a journal's. */
  readonly next?: number;
  /** Only changes that are no copies of blocks: then there are none of these. */
  readonly logical?: LogicalChanges;
}

/**
 * Changes in the format's own records, which only the file system itself can apply. They are a part of the transaction
 * that the commit names, and hold until a later commit brings that as a whole.
 */
export interface LogicalChanges {
  /** Their place among that transaction's logical changes, from 1 on. */
  readonly number: number;
  /** In shared memory. */
  readonly records: Uint8Array;
}

/** How far a volume has been taken: up to the end of a transaction, or only up to so many of its logical changes. */
export interface Position {
  readonly sequence: number;
  readonly part?: number | undefined;
}

/** The position that a commit leads to. */
export function positionOf({ sequence, logical }: Pick<Commit, "sequence" | "logical">): Position {
  return logical === undefined ? { sequence } : { sequence, part: logical.number };
}

/** Whether two positions are the same. */
export function isSamePosition(a: Position | undefined, b: Position | undefined): boolean {
  return a?.sequence === b?.sequence && a?.part === b?.part;
}

/** Whether position `a` comes after `b`. */
export function isPast(a: Position, b: Position): boolean {
  if (a.sequence !== b.sequence) return isAfter(a.sequence, b.sequence);
  return b.part !== undefined && (a.part === undefined || a.part > b.part);
}

/** The transaction before another one. */
export function precedingSequence(sequence: number): number {
  return (sequence - 1) >>> 0;
}

/** Whether transaction `a` comes after `b`; numbers wrap (tid_gt in the kernel's jbd2). */
export function isAfter(a: number, b: number): boolean {
  return ((a - b) | 0) > 0;
}
