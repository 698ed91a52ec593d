/** Following a file system while its guest writes. */
import type { Spot } from "../images/image.js";
import type { Commit, LogicalChanges } from "../versions/commit.js";
import type { Changes } from "./changes.js";
import type { BlockSink, NameSink } from "./crawler.js";

/** One commit, what it changes, and when the guest finished it: seconds since 1970 by its clock, and nanoseconds. */
export interface Step {
  readonly commit: Commit;
  readonly changes: Changes;
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** A part of a transaction that was taken before the whole, and the step that it was. */
export interface TakenPart extends Omit<Step, "commit"> {
  readonly sequence: number;
  readonly logical: LogicalChanges;
}

/**
 * Why a file system must be opened afresh. `overrun`: commits were overwritten before they were read, so that nobody
 * knows them one by one. `changed`: it was written to past its journal, as fsck, mkfs, resize2fs and tune2fs do.
 * `damaged`: what was read makes no sense. `unreachable`: for a while nothing could be read.
 */
export type ReopenReason = "overrun" | "changed" | "damaged" | "unreachable";

/**
 * What a look found: nothing; commits, oldest first, or copies that have been written to their places, and
 * with `reread` that the file system was at rest meanwhile, so that what was read of it may have been written over; or that the file
 * system must be opened afresh, since it cannot be told step by step what happened to it.
 */
export type Look =
  | undefined
  | {
      readonly steps: readonly Step[];
      readonly settled?: number;
      readonly reread?: true;
      /** Generations and inodes, in pairs, of files of which more is shown, as their bytes have come. */
      readonly revealed: readonly number[];
      /** The steps go on from the file system as it is when it is opened now: nobody knows what has changed so far. */
      readonly afresh?: true;
      /** More has been written, which is not taken yet. */
      readonly isWaiting?: true;
    }
  | { readonly reopen: ReopenReason };

/** What is asked of a file by its number; filled in place. */
export class FileFacts {
  generation = 0;
  /** Type and permission bits. */
  mode = 0;
  /** Bytes, of which not all may have come. */
  size = 0;
}

/** Where files lie, as the steps so far have left them. */
export interface FileMaps {
  /** Bytes. */
  readonly blockSize: number;
  /** False: there is no such file in use, or it cannot be read. */
  facts(ino: number, out: FileFacts): boolean;
  /** Tells where the blocks of an inode lie; all that can be read of them, within a bounded time. */
  extents(ino: number, sink: BlockSink): void;
}

export interface Follower {
  /** Undefined: nobody knows yet. */
  readonly maps?: FileMaps | undefined;
  /** Whether it goes on from the transaction that it was asked to go on from, so that it misses none. */
  readonly isResumed: boolean;
  /** The transaction after which its steps begin; undefined: it has no numbers of which another could go on. */
  readonly begunAfter?: number | undefined;
  /**
   * Looks for what has been written since. `quietAt`: when its spots were last seen to be as they had been (ms of
   * performance.now()), if that was after the last look. Throws IoError when the image cannot be read.
   */
  look(quietAt?: number): Look;
  /**
   * The parts of the volume that are to be watched while nothing happens: as long as they are as they were, a look finds
   * nothing. Undefined: there is no telling without a look.
   */
  spots?(): readonly Spot[] | undefined;
  /**
   * Tells all inodes and names as the steps so far have left them; pauses now and then. Looks may come between: what their
   * steps change may have been seen already, or not, and nothing else is seen. Without it, or where it is undefined just now,
   * only a crawl of what is in place tells: what it sees no step need ever tell of.
   */
  crawl?(sink: NameSink): Generator<void> | undefined;
  /**
   * Bytes of a regular file as the steps so far have left it: at most `length` from `position` on, and those only that have
   * come. Undefined: it is not there any more, or its bytes are not to be read. Throws IoError.
   */
  read?(ino: number, generation: number, position: number, length: number): Buffer | undefined;
}
