/** A run of a file's blocks that lie together, or of blocks that are not there. Filled in place and used again. */
export class Run {
  /** The first block on the volume; 0: a hole. */
  physical = 0;
  /** Blocks, at least 1. */
  length = 0;
  /** Allocated but never written: reads as zeros. */
  unwritten = false;

  /** Whether there are bytes to read on the volume. */
  get isData(): boolean {
    return this.physical !== 0 && !this.unwritten;
  }

  set(physical: number, length: number, unwritten: boolean): void {
    this.physical = physical;
    this.length = length;
    this.unwritten = unwritten;
  }
}
