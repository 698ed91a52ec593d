/** A stream of writes that was stored, or comes through a pipe. */
import type { WriteRecord } from "../../queue/write-record.js";

/** How a recording ended; known when its records have been read. */
export interface Ending {
  /** What is there after the last whole record, if anything. */
  torn: string | undefined;
}

export interface Recording {
  /** Bytes of the disk that was recorded, where the form tells. */
  readonly diskSize: number | undefined;
  readonly ending: Readonly<Ending>;
  /** In order; can be read once. Throws RangeError in the middle of what makes no sense. */
  readonly records: AsyncIterable<WriteRecord>;
}

/** Data of one record, where the source has longer writes. */
export const LARGEST_PIECE = 1 << 20;
