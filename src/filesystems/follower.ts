/** Following a file system while its guest writes. */
import type { Commit } from "../versions/commit.js";
import type { Changes } from "./changes.js";

/** One commit, and what it changes. */
export interface Step {
  readonly commit: Commit;
  readonly changes: Changes;
}

/**
 * What a look found: nothing; commits, oldest first, or copies that have been written to their places; or that the file
 * system must be opened afresh, since it cannot be told step by step what happened to it.
 */
export type Look = undefined | { readonly steps: readonly Step[]; readonly settled?: number } | "reopen";

export interface Follower {
  /** Looks for what has been written since. Throws IoError when the image cannot be read. */
  look(): Look;
}
