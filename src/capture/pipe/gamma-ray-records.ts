/**
 * Reads what Gamma-Ray's patched QEMU writes into a pipe, as it comes. Nothing in it tells where a record begins: once the
 * thread is lost, it is lost until the writer opens the pipe anew.
 */
import type { WriteRecord } from "../../queue/write-record.js";
import type { ByteStream } from "../recording/byte-stream.js";
import { openPipeRecords } from "../recording/pipe-records.js";
import { everythingWritten, type PipeRecordsOptions } from "./records.js";

/** The disk's records, after a gap that is all of it, as nothing tells what came before. Ends with the bytes. */
export async function* gammaRayRecords(
  stream: ByteStream,
  { diskSize, tellsData, log }: PipeRecordsOptions,
): AsyncGenerator<WriteRecord> {
  let last = 0;
  if ((await stream.peek(1)) === undefined) return;
  yield everythingWritten(diskSize, last);
  try {
    for await (const record of openPipeRecords(stream).records) {
      if (record.offset + record.length > diskSize)
        throw new RangeError(`after ${last} records: byte ${record.offset} is beyond the end of the disk`);
      last = record.sequence;
      yield { ...record, data: tellsData ? record.data : undefined, time: Date.now() };
    }
    return;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    log(`${error.message}; until the pipe is opened anew, only the disk itself tells what is written`);
  }
  // It is read on, as its writer may wait for that.
  do yield everythingWritten(diskSize, last);
  while (await stream.drop());
}
