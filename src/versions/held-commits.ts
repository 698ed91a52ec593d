/** The commits of all views of a cache: so many of the newest have their bytes in memory. */
import type { HeldCommit } from "./held-commit.js";

/** Bytes of commits that are kept in memory; of older ones the copies in the journal are read. */
const COMMITS_HELD = 32 << 20;

export class HeldCommits {
  #held: HeldCommit[] = [];
  /** Bytes at most, as those of commits that were dropped since it was counted are among them. */
  #bytes = 0;

  add(commit: HeldCommit): void {
    this.#held.push(commit);
    this.#bytes += commit.bytesHeld;
    if (this.#bytes <= COMMITS_HELD) return;
    this.#held = this.#held.filter(({ bytesHeld }) => bytesHeld > 0);
    this.#bytes = this.#held.reduce((sum, { bytesHeld }) => sum + bytesHeld, 0);
    for (const oldest of this.#held) {
      if (this.#bytes <= COMMITS_HELD) return;
      const before = oldest.bytesHeld;
      oldest.release();
      this.#bytes -= before - oldest.bytesHeld;
    }
  }
}
