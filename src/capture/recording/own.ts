/** Reads slashcloud's own recordings. */
import type { WriteRecord } from "../../queue/write-record.js";
import type { ByteStream } from "./byte-stream.js";
import { decodeHeader, decodeRecord, HEADER_SIZE, hasData, isWhole, RECORD_SIZE } from "./format.js";
import type { Ending, Recording } from "./recording.js";

/** Throws RangeError for a header that cannot be read. */
export async function openOwn(stream: ByteStream): Promise<Recording> {
  const bytes = await stream.take(HEADER_SIZE);
  if (bytes === undefined) throw new RangeError("it ends within its header");
  const header = decodeHeader(bytes);
  await stream.skip(header.length - HEADER_SIZE);
  const ending: Ending = { torn: undefined };
  return { diskSize: header.diskSize, ending, records: records(stream, ending) };
}

async function* records(stream: ByteStream, ending: Ending): AsyncGenerator<WriteRecord> {
  for (;;) {
    const header = await stream.take(RECORD_SIZE);
    if (header === undefined) {
      if (stream.left > 0) ending.torn = `${stream.left} bytes of a record`;
      return;
    }
    const record = decodeRecord(header);
    const isFollowed = hasData(header);
    const data = record !== undefined && isFollowed ? await stream.take(record.length) : undefined;
    if (record === undefined || (isFollowed && data === undefined) || !isWhole(header, data)) {
      ending.torn = "a record that is not whole";
      return;
    }
    yield { ...record, data };
  }
}
