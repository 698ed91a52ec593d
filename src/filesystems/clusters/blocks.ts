/** Where sectors are read from: a view of a volume, or a version of it that has not been agreed on. */
export interface Blocks {
  /** Where the sector that was located last lies in the buffer that `locate` returned. */
  readonly at: number;
  /**
   * Finds a sector: returns a buffer in which it lies at `at`, until the next call or two. With `ahead`, those after it
   * are likely to be asked for next. Throws IoError when it cannot be read.
   */
  locate(sector: number, ahead?: boolean): Buffer;
}
