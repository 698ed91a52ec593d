/** What the readers of both forms share. */
import type { Log } from "../../images/image.js";
import type { WriteRecord } from "../../queue/write-record.js";

export interface PipeRecordsOptions {
  /** Bytes of the disk. */
  readonly diskSize: number;
  /** False: writes come without their bytes, for those who only want to know where. */
  readonly tellsData: boolean;
  /** Told, once a stream, of what makes no sense in it. */
  readonly log: Log;
}

/** A gap that is all of a disk. */
export function everythingWritten(diskSize: number, sequence: number): WriteRecord {
  return {
    kind: "gap",
    offset: 0,
    length: diskSize,
    data: undefined,
    fua: false,
    sequence,
    time: Date.now(),
  };
}
