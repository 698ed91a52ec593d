/**
 * Blocks that commits have logged: a file system writes them to their places some time later. Nobody need own them by what
 * is known of inodes, as blocks of attributes that several inodes share.
 */

/** Blocks that are remembered. */
const MOST = 65_536;

export class LoggedBlocks {
  readonly #blocks = new Set<number>();

  /** A commit has logged blocks; `revoked` ones are no metadata any longer. */
  add(logged: Float64Array, revoked: Float64Array): void {
    const blocks = this.#blocks;
    for (const block of revoked) blocks.delete(block);
    for (const block of logged) {
      // The latest are the last.
      blocks.delete(block);
      blocks.add(block);
    }
    for (const oldest of blocks) {
      if (blocks.size <= MOST) return;
      blocks.delete(oldest);
    }
  }

  has(block: number): boolean {
    return this.#blocks.has(block);
  }
}
