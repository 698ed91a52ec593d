/**
 * Reads the records that Gamma-Ray's patched QEMU writes into a pipe: a 64-bit number of the first sector, a 32-bit count
 * of sectors (both signed, little-endian, sectors of 512 bytes), then the data.
 */
import type { WriteRecord } from "../../queue/write-record.js";
import type { ByteStream } from "./byte-stream.js";
import { type Ending, LARGEST_PIECE, type Recording } from "./recording.js";

const SECTOR = 512;
const HEAD_SIZE = 12;
/** Sectors of one write: QEMU's BDRV_REQUEST_MAX_SECTORS. */
const MOST_SECTORS = 0x7fffffff / SECTOR;

export function openPipeRecords(stream: ByteStream): Recording {
  const ending: Ending = { torn: undefined };
  return { diskSize: undefined, ending, records: records(stream, ending) };
}

async function* records(stream: ByteStream, ending: Ending): AsyncGenerator<WriteRecord> {
  for (let sequence = 0; ; ) {
    const head = await stream.take(HEAD_SIZE);
    if (head === undefined) {
      if (stream.left > 0) ending.torn = `${stream.left} bytes of a record`;
      return;
    }
    const sector = head.readUInt32LE(0) + head.readInt32LE(4) * 2 ** 32;
    const count = head.readInt32LE(8);
    if (sector < 0 || count < 0 || count > MOST_SECTORS || !Number.isSafeInteger((sector + count) * SECTOR))
      throw new RangeError(`after ${sequence} records: sector ${sector}, ${count} sectors make no sense`);
    for (let done = 0; done < count * SECTOR; done += LARGEST_PIECE) {
      const length = Math.min(LARGEST_PIECE, count * SECTOR - done);
      const data = await stream.take(length);
      if (data === undefined) {
        ending.torn = `${stream.left} bytes of a write`;
        return;
      }
      const offset = sector * SECTOR + done;
      yield { kind: "write", offset, length, data, fua: false, sequence: ++sequence, time: 0 };
    }
  }
}
