/** What a commit changed, as far as those need to know who hold copies of it: the kernel's caches, subscribers. */

/** An inode that changed, came or went. */
export interface InodeChange {
  readonly ino: number;
  /** Before and after; a mode of 0: not in use. */
  readonly oldMode: number;
  readonly oldGeneration: number;
  readonly newMode: number;
  readonly newGeneration: number;
}

/** A name that no longer stands for the inode that it stood for. */
export interface NameChange {
  readonly directory: number;
  /** The directory's generation before. */
  readonly generation: number;
  readonly name: Buffer;
  /** The inode that it stood for. */
  readonly ino: number;
}

export interface Changes {
  readonly inodes: readonly InodeChange[];
  readonly names: readonly NameChange[];
}
