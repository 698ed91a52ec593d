/**
 * Reads the records that QEMU with the patch in patches/ tells, as they come: recordings (docs/recordings.md), one after
 * the other, without an end.
 */
import type { WriteRecord } from "../../queue/write-record.js";
import type { ByteStream } from "../recording/byte-stream.js";
import {
  decodeHeader,
  decodeRecord,
  HEADER_SIZE,
  hasData,
  isWhole,
  MAGIC,
  RECORD_SIZE,
} from "../recording/format.js";
import { LARGEST_PIECE } from "../recording/recording.js";
import { everythingWritten, type PipeRecordsOptions } from "./records.js";

/**
 * The disk's records, clipped to it. For each header a gap tells first that all of the disk may have been written to.
 * Ends with the bytes. Throws RangeError for what is damaged: whoever reads opens the pipe anew, and QEMU begins anew.
 */
export async function* ownRecords(
  stream: ByteStream,
  { diskSize, tellsData }: Omit<PipeRecordsOptions, "log">,
): AsyncGenerator<WriteRecord> {
  /** Of the last record; undefined after a header. */
  let last: number | undefined;
  for (let hasBegun = false; ; ) {
    const mark = await stream.peek(MAGIC.length);
    if (mark === undefined) return;
    if (mark.equals(MAGIC)) {
      const header = await stream.take(HEADER_SIZE);
      if (header === undefined || !(await stream.skip(decodeHeader(header).length - HEADER_SIZE))) return;
      hasBegun = true;
      last = undefined;
      yield everythingWritten(diskSize, 0);
      continue;
    }
    if (!hasBegun) throw new RangeError("a stream came that has no beginning");
    const header = await stream.take(RECORD_SIZE);
    if (header === undefined) return;
    const record = decodeRecord(header);
    const isFollowed = hasData(header);
    if (record === undefined || (isFollowed && record.length > LARGEST_PIECE))
      throw new RangeError(`what came after record ${last ?? 0} is no record`);
    const data = isFollowed ? await stream.take(record.length) : undefined;
    if (isFollowed && data === undefined) return;
    const { kind, offset, sequence } = record;
    if (!isWhole(header, data)) throw new RangeError(`the record after ${last ?? 0} is damaged`);
    // A gap stands for as many as there are between it and the one before.
    if (last !== undefined && (kind === "gap" ? sequence <= last : sequence !== last + 1))
      throw new RangeError(`record ${sequence} came after ${last}`);
    last = sequence;
    const length = Math.max(0, Math.min(record.length, diskSize - offset));
    if (length > 0 || record.length === 0)
      yield { ...record, length, data: tellsData ? data?.subarray(0, length) : undefined };
  }
}
