/**
 * The events of one volume. Their paths need a map of names, which a crawl builds while the guest goes on: what its
 * transactions change meanwhile is kept, and told once the map is there; or, if that takes too long, without paths.
 */
import type { Changes, InodeState } from "../filesystems/changes.js";
import { isPast, type Position } from "../versions/commit.js";
import { composeEvents, undoNames } from "./composer.js";
import { hasDoubts, settleDoubts } from "./doubts.js";
import type { FileEvent, Names } from "./file-event.js";
import { mergeChanges } from "./merge-changes.js";
import { type Written, writtenEvent } from "./written.js";

/** A map of a volume's names and inodes, kept current by what transactions change. */
export interface VolumeIndex extends Names {
  /**
   * The names in some directories, one character a byte, and their inodes, by directory. Takes a while whatever their
   * number: all that are wanted are best asked for at once.
   */
  children(directories: Iterable<number>): ReadonlyMap<number, ReadonlyMap<string, number>>;
  setState(ino: number, state: InodeState): void;
  drop(ino: number): void;
}

/** A transaction, or a part of one, as far as events are concerned. */
export interface Transaction extends Position {
  readonly changes: Changes;
  /** When it was finished, by the guest's clock: seconds since 1970, and nanoseconds. */
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** When something happened: seconds since 1970 and nanoseconds; and the last transaction before it. */
export type Moment = Omit<Transaction, "changes">;

/** What a volume's events need of the daemon. */
export interface VolumeEventsHost<Index extends VolumeIndex> {
  /** Has the volume crawled, soon; `crawled` or `failed` is called in the end. */
  crawl(): void;
  /** What differs between two maps. */
  compare(old: Index, now: Index): Changes;
  /** `names`: the map as the events leave it; undefined: there is none yet. */
  publish(events: readonly FileEvent[], moment: Moment, names: Names | undefined): void;
  /** Something may have happened that nobody has seen. */
  publishGap(reason: string, at: Position): void;
}

/** Transactions kept, and ms that the first of them waits, before events are told without paths. */
const MOST_KEPT = 5000;
const LONGEST_WAIT = 10_000;

/** Transactions that are told as one at most, where they fit what was before only together. */
const MOST_MERGED = 1000;

interface Kept {
  readonly transaction: Transaction;
  isTold: boolean;
}

/** Files whose writes are kept until their paths are known. */
const MOST_WRITTEN = 10_000;

export class VolumeEvents<Index extends VolumeIndex> {
  readonly #host: VolumeEventsHost<Index>;
  #index: Index | undefined;
  /** The map as it was when the volume had to be read anew. */
  #before: Index | undefined;
  #kept: Kept[] = [];
  /** Writes that wait for paths, too. */
  #written: Written[] = [];
  #since = 0;
  #isCrawling = false;
  /** Whether it has been said that something may be missing until the map is there. */
  #isGapTold = false;
  #at: Position = { sequence: 0 };
  #toldUpTo: Position | undefined;
  #mapAt: Position | undefined;
  /** What comes up to here is in the map. */
  #mappedUpTo: Position | undefined;
  /** What comes up to here has been told before. */
  #silentUpTo: Position | undefined;
  /** What waits for the rest of it, and how many transactions that is. */
  #partial: Transaction | undefined;
  #merged = 0;

  constructor(host: VolumeEventsHost<Index>) {
    this.#host = host;
  }

  /** The map of names; undefined until it is there. */
  get index(): Index | undefined {
    return this.#index;
  }

  /** Up to where all has been told; undefined: nothing yet. */
  get toldUpTo(): Position | undefined {
    return this.#toldUpTo;
  }

  /** What the map is as of; undefined: there is none, or no transaction has come since it was made. */
  get mapAt(): Position | undefined {
    return this.#index === undefined ? undefined : this.#mapAt;
  }

  /**
   * Goes on where another one ended: with the map as it was at a position. What comes after that and up to `toldUpTo` has
   * been told; what comes up to it, as a transaction's parts do again, is passed over.
   */
  resume(index: Index, mapAt: Position, toldUpTo: Position): void {
    this.#index = index;
    this.#mapAt = undefined;
    this.#mappedUpTo = mapAt;
    this.skip(toldUpTo);
  }

  /** What comes up to `toldUpTo` has been told. */
  skip(toldUpTo: Position): void {
    this.#silentUpTo = toldUpTo;
    this.#toldUpTo = toldUpTo;
  }

  /** Has the map built, if it is not. */
  prepare(): void {
    if (this.#index !== undefined || this.#isCrawling) return;
    this.#isCrawling = true;
    this.#host.crawl();
  }

  /** Tells a transaction's events, or keeps it until that is possible. `now`: ms of a monotonic clock. */
  take(transaction: Transaction, now: number): void {
    this.#at = positionIn(transaction);
    if (this.#mappedUpTo !== undefined && !isPast(this.#at, this.#mappedUpTo)) return;
    const isTold = this.#silentUpTo !== undefined && !isPast(transaction, this.#silentUpTo);
    if (this.#index !== undefined) {
      this.#takeWhole(transaction, this.#index);
      return;
    }
    if (hasDoubts(transaction.changes) && !isTold && !this.#isGapTold) {
      this.#isGapTold = true;
      this.#host.publishGap("the guest went on before there was a map of its names", this.#at);
    }
    if (this.#kept.length === 0) this.#since = now;
    this.#kept.push({ transaction, isTold });
    this.prepare();
    this.lookAtClock(now);
  }

  /** Tells what was written to files, after what has changed before; or keeps it until their paths are known. */
  write(written: readonly Written[], now: number): void {
    if (this.#index !== undefined && this.#partial === undefined) {
      this.#publishWritten(written, this.#index);
      return;
    }
    if (this.#kept.length + this.#written.length === 0) this.#since = now;
    this.#written.push(...written);
    this.prepare();
    this.lookAtClock(now);
    if (this.#written.length >= MOST_WRITTEN) this.#tellWritten(undefined);
  }

  /** Tells the writes that wait. */
  #tellWritten(index: Index | undefined): void {
    this.#publishWritten(this.#written.splice(0), index);
  }

  #publishWritten(written: readonly Written[], index: Index | undefined): void {
    const events = written.flatMap((one) => writtenEvent(one, index) ?? []);
    if (events.length === 0) return;
    // Each has a time of its own.
    const { sequence } = this.#toldUpTo ?? this.#at;
    this.#host.publish(events, { sequence, seconds: 0, nanoseconds: 0 }, index);
  }

  /** Moves the map on, and tells what has not been told, once there is all that belongs together. */
  #takeWhole(last: Transaction, index: Index): void {
    const isSilent = (one: Transaction) => this.#silentUpTo !== undefined && !isPast(one, this.#silentUpTo);
    let transaction = last;
    if (this.#partial !== undefined) {
      // What was told before the restart is not told again with the rest.
      if (isSilent(this.#partial) && !isSilent(last)) follow(this.#partial.changes, index);
      else transaction = { ...last, changes: mergeChanges(this.#partial.changes, last.changes) };
    }
    this.#merged++;
    const mustWait = transaction.changes.isPartial === true && this.#merged < MOST_MERGED;
    this.#partial = mustWait ? transaction : undefined;
    if (mustWait) return;
    this.#merged = 0;
    if (isSilent(transaction)) follow(transaction.changes, index);
    else this.#tell(transaction, index);
    this.#mapAt = positionIn(transaction);
    this.#tellWritten(index);
  }

  /** Tells without paths what has waited for too long. */
  lookAtClock(now: number): void {
    if (this.#kept.length + this.#written.length === 0 || this.#before !== undefined) return;
    if (this.#kept.length < MOST_KEPT && now - this.#since < LONGEST_WAIT) return;
    for (const kept of this.#kept) this.#tellWithoutPaths(kept);
    this.#tellWritten(undefined);
  }

  /**
   * The volume had to be opened afresh: what it is now is compared with what was known, once it has been crawled again.
   * `gap`: why something may be missing; undefined if nothing can be. `before`: what is known from another source.
   */
  reopened(gap: string | undefined, before?: Index): void {
    this.#isGapTold = gap !== undefined;
    if (gap !== undefined) this.#host.publishGap(gap, this.#at);
    this.#before ??= this.#index ?? before;
    this.#index = undefined;
    this.#silentUpTo = undefined;
    this.#mappedUpTo = undefined;
    this.#partial = undefined;
    // What was kept is part of the difference, where there is one.
    if (this.#before !== undefined || gap !== undefined) this.#kept = [];
    this.#isCrawling = false;
    this.prepare();
  }

  /** The crawl that was asked for has ended. `transaction`: what the difference is told as. */
  crawled(index: Index, transaction: Omit<Transaction, "changes">): void {
    this.#isCrawling = false;
    this.#mapAt = undefined;
    const kept = this.#kept;
    this.#kept = [];
    // What went before the last doubt cannot be told with paths: the map may be of later, and nobody knows what was undone.
    const doubtful = kept.findLastIndex(({ transaction: { changes } }) => hasDoubts(changes));
    const before = this.#before;
    this.#before = undefined;
    const early = kept.splice(0, doubtful + 1);
    // The crawl saw some of what was kept: back to before it, or to after what cannot be undone.
    for (const { transaction: late } of [...kept].reverse()) undo(late.changes, index);
    for (const one of early) {
      // Of a volume that was opened afresh it is in the difference.
      if (before === undefined) this.#tellWithoutPaths(one);
      follow(one.transaction.changes, index);
      this.#mapAt = positionIn(one.transaction);
    }
    if (before !== undefined) {
      const changes = this.#host.compare(before, index);
      if (changes.inodes.length + changes.names.length > 0) this.#tell({ ...transaction, changes }, before);
    }
    this.#index = index;
    for (const { transaction: late, isTold } of kept) {
      if (isTold) follow(late.changes, index);
      else this.#tell(late, index);
      this.#mapAt = positionIn(late);
    }
    this.#tellWritten(index);
  }

  /** The crawl that was asked for has failed: events go on without paths until the next one succeeds. */
  failed(now: number): void {
    this.#isCrawling = false;
    this.#since = now - LONGEST_WAIT;
    this.lookAtClock(now);
    this.#kept = [];
    this.#tellWritten(undefined);
  }

  #tellWithoutPaths(kept: Kept): void {
    if (kept.isTold) return;
    kept.isTold = true;
    this.#toldUpTo = positionIn(kept.transaction);
    const events = composeEvents(kept.transaction.changes, undefined);
    if (events.length > 0) this.#host.publish(events, kept.transaction, undefined);
  }

  #tell(transaction: Transaction, index: VolumeIndex): void {
    dropBetween(transaction.changes, index);
    const changes = settleDoubts(transaction.changes, index);
    const events = composeEvents(changes, index);
    setStates(changes, index);
    this.#toldUpTo = positionIn(transaction);
    if (events.length > 0) this.#host.publish(events, transaction, index);
  }
}

function positionIn({ sequence, part }: Transaction): Position {
  return { sequence, part };
}

/** Moves a map back to before a transaction. */
function undo(changes: Changes, index: VolumeIndex): void {
  undoNames(changes, index);
  for (const { ino, old } of changes.inodes) {
    if (old === undefined || old.nlink === 0) index.drop(ino);
    else index.setState(ino, old);
  }
}

/** Moves a map on to after a transaction. */
export function follow(unsettled: Changes, index: VolumeIndex): void {
  dropBetween(unsettled, index);
  const changes = settleDoubts(unsettled, index);
  for (const { directory, name, ino } of changes.names) if (ino !== 0) index.unlink(directory, name, ino);
  for (const { directory, name, now } of changes.names) if (now !== 0) index.link(directory, name, now);
  setStates(changes, index);
}

/**
 * Takes from a map what names stood for in the midst of several commits that are told as one: a crawl may have been there
 * while they were made, and no other change tells that they went.
 */
function dropBetween({ names }: Changes, index: VolumeIndex): void {
  for (const { directory, name, ino, between = [] } of names)
    for (const one of between) if (one !== ino) index.unlink(directory, name, one);
}

function setStates({ inodes }: Changes, index: VolumeIndex): void {
  for (const { ino, now } of inodes) {
    if (now === undefined || now.nlink === 0) index.drop(ino);
    else index.setState(ino, now);
  }
}
