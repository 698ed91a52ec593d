/** Where the writes of guests go that a capture sees as they happen. */
import type { WriteRecord } from "../queue/write-record.js";

/**
 * Takes the writes of guests' disks. `disk` counts a guest's images from 0 on, in the order in which they were named. A
 * guest or disk that is not known here is passed over. Nothing throws.
 */
export interface StreamTaker {
  /**
   * All writes to a disk are told from now on, in order. Again after a stream was interrupted. `unknownLife`: ms for
   * which a write is kept that nothing explains yet.
   */
  streamBegins(guest: string, disk: number, unknownLife: number): void;
  /**
   * A batch of what was written; the bytes themselves are not looked at, `data` may be undefined. What the records tell
   * of must be on the image by now.
   */
  written(guest: string, disk: number, records: readonly WriteRecord[]): void;
  /** Writes are not told any longer: the disk is watched as those without a stream. */
  streamEnded(guest: string, disk: number): void;
}

/**
 * Takes where the metadata of a disk is: pairs of a first byte and the byte after the last, in order and apart, as
 * `Tapping.setMetadata` wants them. Comes when it is known, and now and then when it has changed.
 */
export type MetadataTaker = (guest: string, disk: number, ranges: Float64Array) => void;
