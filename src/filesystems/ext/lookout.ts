/**
 * The look after the read: whether the guest has moved on while an answer was made from its disk.
 *
 * A file system does not hand out a block that was freed before the commit that freed it is finished, and puts nothing
 * in its place before the commit that changed it is. So if, after bytes were read of the disk, the journal has no
 * finished transaction that has not been taken, they were of the version that was answered from. If it has, they may
 * be another file's, or of a later version: then it is taken, and what was answered does not count.
 */
import type { Log } from "../../images/image.js";
import type { Commit } from "../../versions/commit.js";
import type { Standing } from "../filesystem.js";
import { Peek } from "./journal/peek.js";
import { readCommit } from "./taking.js";
import type { OpenJournal } from "./version.js";

/** Transactions that one look takes at most. */
const MOST_TRANSACTIONS = 1000;

/** What is moved on. */
export interface Moving {
  apply(commit: Commit): void;
  settle(sequence: number): void;
}

export class Lookout {
  readonly #open: OpenJournal;
  readonly #log: Log;
  readonly #peek: Peek;

  constructor(open: OpenJournal, log: Log) {
    this.#open = open;
    this.#log = log;
    this.#peek = new Peek(open.source.source, open.journal, open.device);
  }

  /** Looks, and moves `version` on; see Peek for `closely`. Throws IoError. */
  look(version: Moving, closely: boolean): Standing {
    if (this.#peek.isQuiet(closely)) return "current";
    const { journal } = this.#open;
    const { settled } = journal;
    let standing: Standing = "current";
    for (let taken = 0; taken < MOST_TRANSACTIONS; taken++) {
      const transaction = journal.next();
      if (transaction === undefined) break;
      const commit = readCommit(this.#open, transaction, this.#log);
      if (commit === undefined) return "overrun";
      version.apply(commit);
      standing = "moved";
    }
    if (journal.status === "overrun") return "overrun";
    if (journal.settled === settled) return standing;
    version.settle(journal.settled);
    return "moved";
  }
}
