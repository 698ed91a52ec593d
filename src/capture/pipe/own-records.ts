/**
 * Reads the records that QEMU with the patch in patches/ tells, as they come: a recording (docs/recordings.md) without an
 * end, in which a header may stand anywhere. What is damaged is passed over, up to the next record that is whole.
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
  RECORD_MAGIC,
  RECORD_SIZE,
} from "../recording/format.js";
import { LARGEST_PIECE } from "../recording/recording.js";
import { everythingWritten, type PipeRecordsOptions } from "./records.js";

const MARKS = [MAGIC, RECORD_MAGIC];

/** A record as it lies at the beginning of the bytes that came. */
interface Found {
  readonly record: Omit<WriteRecord, "data">;
  /** The stream's own memory. */
  readonly data: Buffer | undefined;
  /** Bytes of all of it. */
  readonly length: number;
}

/**
 * The disk's records, clipped to it. Where a stream begins, and wherever records are lost, a gap tells that all of the
 * disk may have been written to. Ends with the bytes.
 */
export async function* ownRecords(
  stream: ByteStream,
  { diskSize, tellsData, log }: PipeRecordsOptions,
): AsyncGenerator<WriteRecord> {
  let thread: "begun" | "kept" | "lost" = "lost";
  let last = 0;
  let hasComplained = false;
  const lose = (why: string) => {
    if (!hasComplained) log(`${why}; only the disk itself tells what was written meanwhile`);
    hasComplained = true;
    thread = "lost";
  };
  for (;;) {
    const mark = await stream.peek(MAGIC.length);
    if (mark === undefined) return;
    let why = "bytes came that are no record";
    if (mark.equals(MAGIC)) {
      const header = await stream.peek(HEADER_SIZE);
      if (header === undefined) return;
      const length = headerLength(header);
      if (typeof length === "number") {
        if (!(await stream.skip(length))) return;
        yield everythingWritten(diskSize, 0);
        thread = "begun";
        continue;
      }
      why = length;
    } else if (mark.indexOf(RECORD_MAGIC) === 0) {
      const found = await nextRecord(stream);
      if (found === "end") return;
      if (found !== "damaged") {
        const { record } = found;
        const { kind, offset, sequence } = record;
        // A gap stands for as many as there are between it and the one before.
        const follows = kind === "gap" ? sequence > last : sequence === last + 1;
        if (thread === "kept" && !follows) lose(`record ${sequence} came after ${last}`);
        if (thread === "lost") yield everythingWritten(diskSize, sequence);
        thread = "kept";
        last = sequence;
        const length = Math.max(0, Math.min(record.length, diskSize - offset));
        const data = tellsData && found.data ? Buffer.from(found.data.subarray(0, length)) : undefined;
        await stream.skip(found.length);
        if (length > 0 || record.length === 0) yield { ...record, length, data };
        continue;
      }
      why = `the record after ${last} is damaged`;
    }
    lose(why);
    await stream.skip(1);
    if (!(await stream.seek(MARKS))) return;
  }
}

/** Bytes of a header; or why it is none. */
function headerLength(header: Buffer): number | string {
  try {
    return decodeHeader(header).length;
  } catch (error) {
    if (error instanceof RangeError) return `a stream began that cannot be read: ${error.message}`;
    throw error;
  }
}

/** The record whose mark has come; it stays where it is. "end": it is cut off. */
async function nextRecord(stream: ByteStream): Promise<Found | "damaged" | "end"> {
  const header = await stream.peek(RECORD_SIZE);
  if (header === undefined) return "end";
  const record = decodeRecord(header);
  const isFollowed = hasData(header);
  if (record === undefined || (isFollowed && record.length > LARGEST_PIECE)) return "damaged";
  const length = RECORD_SIZE + (isFollowed ? record.length : 0);
  const whole = await stream.peek(length);
  if (whole === undefined) return "end";
  const data = isFollowed ? whole.subarray(RECORD_SIZE) : undefined;
  return isWhole(whole, data) ? { record, data, length } : "damaged";
}
