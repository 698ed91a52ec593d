/** Does to an image what a recording tells. */
import type { FileHandle } from "node:fs/promises";
import type { WriteRecord } from "../../queue/write-record.js";

const ZEROS = Buffer.alloc(1 << 20);

/** What was done. */
export interface Replayed {
  records: number;
  bytes: number;
  /** Ranges whose bytes were lost, or left out, when it was recorded, and the bytes that they may have. */
  gaps: number;
  gapBytes: number;
  /** The last record's number. */
  last: number;
}

/**
 * Applies records to an image of `size` bytes, those up to number `until`. Discards change nothing: what a disk holds
 * after one is not said. Throws RangeError for a record beyond the image's end, and system errors.
 */
export async function replay(
  records: AsyncIterable<WriteRecord>,
  image: FileHandle,
  size: number,
  until = Number.POSITIVE_INFINITY,
): Promise<Replayed> {
  const done: Replayed = { records: 0, bytes: 0, gaps: 0, gapBytes: 0, last: 0 };
  for await (const record of records) {
    const { kind, offset, length, data, sequence } = record;
    if (sequence > until) break;
    if (offset + length > size)
      throw new RangeError(`record ${sequence} is of byte ${offset + length}; the image has ${size}`);
    if (kind === "write" && data !== undefined) await put(image, data, offset, length);
    if (kind === "zeroes") {
      for (let at = 0; at < length; at += ZEROS.length)
        await put(image, ZEROS, offset + at, Math.min(ZEROS.length, length - at));
    }
    if (kind === "gap" || (kind === "write" && data === undefined)) {
      done.gaps++;
      done.gapBytes += length;
    } else if (kind === "write" || kind === "zeroes") {
      done.bytes += length;
    }
    done.records++;
    done.last = sequence;
  }
  return done;
}

async function put(image: FileHandle, data: Buffer, offset: number, length: number): Promise<void> {
  for (let at = 0; at < length; ) at += (await image.write(data, at, length - at, offset + at)).bytesWritten;
}
