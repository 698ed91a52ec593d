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
/** Bytes that are unzipped at a time: where they are damaged, those are lost. */
const ZIPPED_PIECE = 1 << 10;

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
  const gunzip = createGunzip({ finishFlush: zlib.Z_SYNC_FLUSH, chunkSize: PIECE });
  const pieces: Buffer[] = [];
  gunzip.on("data", (piece: Buffer) => pieces.push(piece));
  // It is told to whoever writes, below.
  gunzip.on("error", () => {});
  try {
    for await (const zipped of createReadStream(path, { highWaterMark: ZIPPED_PIECE })) {
      const isDamaged = await new Promise<boolean>((resolve) => {
        gunzip.write(zipped, (error) => resolve(error != null));
      });
      yield* pieces.splice(0);
      if (isDamaged) return;
    }
    await new Promise<void>((resolve) => {
      gunzip.once("end", resolve).once("error", () => resolve());
      gunzip.end();
    });
    yield* pieces.splice(0);
  } finally {
    gunzip.destroy();
  }
}
