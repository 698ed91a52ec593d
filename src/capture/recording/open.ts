/** Opens a recording, whatever its form. */
import { createReadStream } from "node:fs";
import { createGunzip, constants as zlib } from "node:zlib";
import type { WriteRecord } from "../../queue/write-record.js";
import { ByteStream } from "./byte-stream.js";
import { MAGIC } from "./format.js";
import { LOG_WRITES_MAGIC, openLogWrites } from "./log-writes.js";
import { openOwn } from "./own.js";
import { openPipeRecords } from "./pipe-records.js";
import type { Recording } from "./recording.js";

const GZIP_MAGIC = Buffer.from([0x1f, 0x8b]);
/** Bytes that are read at a time. */
const PIECE = 1 << 20;

/**
 * Opens a file or a pipe, gzipped or not: a recording of slashcloud's, or a log of dm-log-writes or `blklogwrites`; with
 * `form` "pipe" Gamma-Ray's records, which cannot be told from other bytes. Throws a system error, and RangeError for
 * what is no recording. It is closed when its records have been read, or are read no further.
 */
export async function openRecording(path: string, form: "auto" | "pipe" = "auto"): Promise<Recording> {
  let stream = new ByteStream(createReadStream(path, { highWaterMark: PIECE }));
  if (startsWith(await stream.peek(GZIP_MAGIC.length), GZIP_MAGIC)) {
    await stream.close();
    stream = new ByteStream(unzipped(path));
  }
  try {
    const recording = await openForm(stream, form);
    return { ...recording, records: closing(recording.records, stream) };
  } catch (error) {
    await stream.close();
    throw error;
  }
}

async function openForm(stream: ByteStream, form: "auto" | "pipe"): Promise<Recording> {
  if (form === "pipe") return openPipeRecords(stream);
  const magic = await stream.peek(MAGIC.length);
  if (startsWith(magic, MAGIC)) return openOwn(stream);
  if (startsWith(magic, LOG_WRITES_MAGIC)) return openLogWrites(stream);
  throw new RangeError("it is no recording");
}

async function* closing(
  records: AsyncIterable<WriteRecord>,
  stream: ByteStream,
): AsyncGenerator<WriteRecord> {
  try {
    yield* records;
  } finally {
    await stream.close();
  }
}

const startsWith = (bytes: Buffer | undefined, magic: Buffer): boolean => bytes?.equals(magic) === true;

/** What can be unzipped; a file that ends too early, or is damaged from somewhere on, ends there. */
async function* unzipped(path: string): AsyncGenerator<Buffer> {
  const source = createReadStream(path, { highWaterMark: PIECE });
  const gunzip = createGunzip({ finishFlush: zlib.Z_SYNC_FLUSH, chunkSize: PIECE });
  source.on("error", (error) => gunzip.destroy(error));
  try {
    for await (const chunk of source.pipe(gunzip)) yield chunk as Buffer;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code?.startsWith("Z_") !== true) throw error;
  } finally {
    source.destroy();
    gunzip.destroy();
  }
}
