/** The committed version of an ext file system as it is found on the disk: what is in place, and what the journal adds. */
import type { Log, Source } from "../../images/image.js";
import { IoError } from "../../images/io-error.js";
import { type BlockCache, readFully } from "../../versions/block-cache.js";
import type { CountedSource } from "../../versions/counted-source.js";
import { View } from "../../versions/view.js";
import { Compat, Incompat } from "./features.js";
import { FreedBlocks } from "./freed-blocks.js";
import { Groups } from "./groups.js";
import { Inode } from "./inode.js";
import type { FastCommit } from "./journal/fast-commit.js";
import { fold } from "./journal/fold.js";
import { followingSequence, isLater } from "./journal/format.js";
import { Journal } from "./journal/journal.js";
import { JournalInode } from "./journal-inode.js";
import { Parts } from "./parts.js";
import { Geometry, SUPERBLOCK_OFFSET, Superblock } from "./superblock.js";

/** A journal, and where its blocks lie. */
export interface OpenJournal {
  readonly journal: Journal;
  readonly device: JournalInode;
  /** The volume, through which the version and the journal are read. */
  readonly source: CountedSource;
}

/** A committed version. */
export interface Version {
  readonly geometry: Geometry;
  readonly view: View;
  /** The journal with its finished transactions taken; undefined if it has none that can be read. */
  readonly journal: OpenJournal | undefined;
  /** The last transaction that was taken from the journal. */
  readonly sequence: number | undefined;
  /** Whether it is as of the transaction that was asked for, with all later ones still in the journal. */
  readonly isAsAsked: boolean;
  /** The fast commits after that. */
  readonly fastCommits: readonly FastCommit[];
  /** How many copies in the journal were not what was logged. */
  readonly badCopies: number;
}

/** How often a version is opened where the guest has written its journal round meanwhile. */
const ATTEMPTS = 5;

/**
 * Opens the committed version; with `until`, the one that this transaction made, if all that came later is still in the
 * journal. Throws IoError when it cannot be read or needs what is not known here.
 */
export function openVersion(source: Source, cache: BlockCache, log: Log, until?: number): Version {
  const counted = cache.counted(source);
  let badCopies = 0;
  for (let attempt = 1; ; attempt++) {
    const lines = new HeldLines(log);
    const version = openOnce(counted, cache, (...line) => lines.take(...line), until);
    // The same are bad again where nobody writes.
    const isWhole =
      version.journal?.journal.status !== "overrun" &&
      (version.badCopies === 0 || version.badCopies === badCopies);
    if (isWhole || attempt === ATTEMPTS) {
      lines.release();
      return version;
    }
    badCopies = version.badCopies;
    version.view.forgetAll();
  }
}

/** Holds back what is logged until it is known whether it counts. */
class HeldLines {
  readonly #log: Log;
  #held: Parameters<Log>[] | undefined = [];

  constructor(log: Log) {
    this.#log = log;
  }

  take(...line: Parameters<Log>): void {
    if (this.#held === undefined) this.#log(...line);
    else this.#held.push(line);
  }

  release(): void {
    for (const line of this.#held ?? []) this.#log(...line);
    this.#held = undefined;
  }
}

function openOnce(source: CountedSource, cache: BlockCache, log: Log, until: number | undefined): Version {
  const buffer = Buffer.alloc(Superblock.size);
  readFully(source, buffer, buffer.length, SUPERBLOCK_OFFSET);
  const inPlace = new Geometry(Superblock.at(buffer));
  const view = new View(source, inPlace.blockSize, cache);
  if (view.blocksThere < inPlace.blocksCount) {
    log(
      `${inPlace.blocksCount} blocks of file system, but only ${view.blocksThere} there: the rest cannot be read`,
    );
  }
  // The kernel replays a journal only if this says so; else what the journal holds is of no account.
  if (!inPlace.hasIncompat(Incompat.RECOVER)) {
    const journal = emptyJournal(source, inPlace, view);
    return {
      geometry: inPlace,
      view,
      journal,
      sequence: undefined,
      isAsAsked: false,
      fastCommits: [],
      badCopies: 0,
    };
  }
  let journal: OpenJournal | undefined;
  let sequence: number | undefined;
  let isAsAsked = false;
  let badCopies = 0;
  let fastCommits: readonly FastCommit[] = [];
  try {
    journal = openJournal(source, inPlace, view, log);
    if (journal !== undefined) {
      const first = journal.journal.sequence;
      const isNext = until !== undefined && first === followingSequence(until);
      // What was finished before the log begins cannot be told from what is in place.
      const isThere = until !== undefined && !isLater(first, until);
      if (!isNext) {
        const freed = inPlace.hasIncompat(Incompat.INLINE_DATA)
          ? new FreedBlocks(inPlace, new Groups(inPlace, view))
          : undefined;
        ({ sequence, badCopies } = applyJournal(
          journal.journal,
          view,
          log,
          isThere ? until : undefined,
          freed,
        ));
      }
      isAsAsked = isNext || (isThere && sequence === until);
      if (!isAsAsked) fastCommits = journal.journal.fastCommits(inPlace.inodeSize);
    }
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    log(`its journal cannot be read (${error.message}): what was not yet written from there is not seen`);
    journal = undefined;
  }
  const geometry = committedGeometry(view, inPlace, log);
  return { geometry, view, journal, sequence, isAsAsked, fastCommits, badCopies };
}

/** The block that holds the superblock. */
export function superblockBlock(view: View): number {
  return Math.floor(SUPERBLOCK_OFFSET / view.blockSize);
}

/** What the superblock says: it is a block as any other, and may have a newer copy in the journal. */
export function committedGeometry(view: View, before: Geometry, log: Log): Geometry {
  try {
    const block = superblockBlock(view);
    const buffer = view.locate(block);
    const superblock = Superblock.at(buffer, view.at + SUPERBLOCK_OFFSET - block * view.blockSize);
    const geometry = new Geometry(superblock);
    if (geometry.blockSize === before.blockSize) return geometry;
    log("the superblock in its journal has another block size: it is passed over");
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    log(`the superblock in its journal is passed over: ${error.message}`);
  }
  return before;
}

/** The file system's journal; undefined (and a line in the log) if it lies elsewhere. Throws IoError when it is bad. */
function openJournal(
  source: CountedSource,
  geometry: Geometry,
  view: View,
  log: Log,
): OpenJournal | undefined {
  if (!geometry.hasCompat(Compat.HAS_JOURNAL)) return undefined;
  if (geometry.journalInode === 0) {
    log(
      "its journal is on another device, which is not read: what was not yet written from there is not seen",
    );
    return undefined;
  }
  const { inodes, content } = new Parts(geometry, view, log);
  const inode = inodes.read(geometry.journalInode, new Inode(geometry));
  // No journal is larger than its file system: a hostile map can be.
  const size = Math.min(inodes.size(inode), geometry.blocksCount * view.blockSize);
  const device = new JournalInode(source, view.blockSize, content, inode, size);
  return { journal: new Journal(device, log), device, source };
}

/** The journal of a file system at rest; undefined if it has none, or none that can be gone on with. */
function emptyJournal(source: CountedSource, geometry: Geometry, view: View): OpenJournal | undefined {
  try {
    const open = openJournal(source, geometry, view, () => {});
    return open?.journal.status === "empty" ? open : undefined;
  } catch (error) {
    if (error instanceof IoError) return undefined;
    throw error;
  }
}

/** Lays the journal's copies over the view; returns the last transaction's number, and how many copies were bad. */
function applyJournal(
  journal: Journal,
  view: View,
  log: Log,
  until: number | undefined,
  freed: FreedBlocks | undefined,
): { sequence: number | undefined; badCopies: number } {
  const { copies, badCopies, lastSequence } = fold(journal, until, freed);
  for (const [block, logged] of copies) {
    view.setCopy(block, {
      sequence: logged.sequence,
      read: (target, targetOffset) => {
        try {
          journal.readCopy(logged, target, targetOffset);
          if (journal.holds(logged.sequence)) return true;
        } catch (error) {
          if (!(error instanceof IoError)) throw error;
        }
        // It was good: the guest's log has come round since, which it does when the block has been written to its place, or
        // a later transaction has a copy of it.
        view.readPlace(block, target, targetOffset);
        return false;
      },
    });
  }
  view.settle(journal.settled);
  if (badCopies > 0) log(`${badCopies} blocks in its journal are damaged: older copies are taken`);
  return { sequence: lastSequence, badCopies };
}
