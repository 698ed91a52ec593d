/** The journal's own blocks, wherever they lie: in the journal's inode, or on a device of their own. */
export interface JournalDevice {
  /** Bytes: the file system's block size, or what the journal's superblock says of one on its own device. */
  readonly blockSize: number;
  /** How many blocks there are. What a hostile disk can have read is bounded by this. */
  readonly length: number;
  /**
   * Reads the journal's block `index` (0: its superblock) into `target` at `targetOffset`.
   * Throws FileSystemError or IoError (EIO) if it is not mapped or cannot be read.
   */
  read(index: number, target: Buffer, targetOffset: number): void;
}
