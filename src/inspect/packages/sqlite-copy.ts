/** A copy of a guest's SQLite database that can be opened without writing to the guest. */
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import type { Reader } from "../reader.js";
import { applyWriteAheadLog } from "./write-ahead-log.js";

const MAGIC = Buffer.from("SQLite format 3\0");
/** Where a database says whether it has a write-ahead log (2) or not (1): for writing, and for reading. */
const VERSIONS = 18;
const MOST_DATABASE = 512 << 20;
const MOST_LOG = 128 << 20;
const PIECE = 1 << 20;

/**
 * Copies the database, with what is in its write-ahead log, to the file `to`, which is made. Returns false if there is none.
 * Throws for what is no database, or too large.
 */
export async function copyDatabase(reader: Reader, path: string, to: string): Promise<boolean> {
  const log = await reader.bytes(`${path}-wal`, MOST_LOG);
  const fd = openSync(to, "wx", 0o600);
  try {
    const pageSize = await reader.withFile(path, ({ size, read }) => {
      if (size > MOST_DATABASE)
        throw new Error(`${path} has more than ${MOST_DATABASE} bytes, which are not read`);
      for (let position = 0; position < size; position += PIECE) {
        const bytes = read(position, Math.min(PIECE, size - position));
        // What is sparse stays so.
        if (bytes.some((byte) => byte !== 0)) writeSync(fd, bytes, 0, bytes.length, position);
      }
      ftruncateSync(fd, size);
      return pageSizeOf(read(0, 100), path);
    });
    if (pageSize === undefined) return false;
    if (log !== undefined) {
      applyWriteAheadLog(log, pageSize, {
        write: (bytes, position) => writeSync(fd, bytes, 0, bytes.length, position),
        truncate: (length) => ftruncateSync(fd, Math.min(length, MOST_DATABASE)),
      });
    }
    // Without the log at its side it is to be opened as one that has none.
    writeSync(fd, Buffer.of(1, 1), 0, 2, VERSIONS);
    return true;
  } finally {
    closeSync(fd);
  }
}

/** Throws if it is no database. */
function pageSizeOf(header: Buffer, path: string): number {
  if (header.length < 100 || !header.subarray(0, MAGIC.length).equals(MAGIC))
    throw new Error(`${path} is no SQLite database`);
  const size = header.readUInt16BE(16);
  return size === 1 ? 65536 : size;
}
