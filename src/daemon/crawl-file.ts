/** Files that `slashcloud crawl` has written: what they begin with, and what they have of a volume. */
import {
  closeSync,
  createReadStream,
  constants as fsConstants,
  fstatSync,
  openSync,
  readSync,
} from "node:fs";
import { type Transform, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { constants, createGunzip, gunzipSync } from "node:zlib";
import {
  type CrawledVolume,
  type CrawlFileHead,
  CrawlFileReader,
  type CrawlFileSink,
  readHead,
} from "../inference/crawl-file/reader.js";

/** Bytes of a file in which all that it begins with lies, and those that may be unpacked from them. */
const HEAD = 1 << 16;
const LARGEST_HEAD = 1 << 26;
/** Bytes that are unpacked at a time. */
const PIECE = 1 << 18;

/** A crawl of a volume in a file. */
export interface MadeCrawl {
  readonly path: string;
  readonly volume: CrawledVolume;
}

/** Throws an error of one line, a system error or what is wrong with the file. */
export function crawlFileHead(path: string): CrawlFileHead {
  const bytes = Buffer.alloc(HEAD);
  const fd = openSync(path, fsConstants.O_RDONLY | fsConstants.O_NONBLOCK);
  try {
    if (!fstatSync(fd).isFile()) throw new Error("it is no file");
    const head = bytes.subarray(0, readSync(fd, bytes, 0, HEAD, 0));
    return readHead(isGzip(head) ? unpacked(head) : head);
  } finally {
    closeSync(fd);
  }
}

/** Tells `sink` of all that a file has of a volume. Rejects with an error of one line; the sink's own errors end it, too. */
export async function readCrawl({ path, volume }: MadeCrawl, sink: CrawlFileSink): Promise<void> {
  const reader = new CrawlFileReader(volume, sink);
  const taking = new Writable({
    write(piece: Buffer, _encoding, done) {
      try {
        reader.feed(piece);
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  });
  const packing: Transform[] = startsAsGzip(path) ? [createGunzip({ chunkSize: PIECE })] : [];
  await pipeline([createReadStream(path, { highWaterMark: PIECE }), ...packing, taking]);
  reader.end();
}

function startsAsGzip(path: string): boolean {
  const bytes = Buffer.alloc(2);
  const fd = openSync(path, "r");
  try {
    readSync(fd, bytes, 0, 2, 0);
    return isGzip(bytes);
  } finally {
    closeSync(fd);
  }
}

/** RFC 1952, ID1 and ID2. */
function isGzip(bytes: Buffer): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

function unpacked(bytes: Buffer): Buffer {
  // The file goes on after what has been read of it.
  return gunzipSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: LARGEST_HEAD });
}
