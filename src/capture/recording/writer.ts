/** Writes a recording. */
import { type FileHandle, open } from "node:fs/promises";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { WriteRecord } from "../../queue/write-record.js";
import { encodeHeader, encodeRecord } from "./format.js";

const compress = promisify(gzip);
/** Buffers that are written at a time: the host's IOV_MAX is 1024. */
const MOST_BUFFERS = 1024;

export class RecordingWriter {
  readonly #handle: FileHandle;
  readonly #isCompressed: boolean;
  #bytes = 0;

  private constructor(handle: FileHandle, isCompressed: boolean) {
    this.#handle = handle;
    this.#isCompressed = isCompressed;
  }

  /**
   * Begins a recording of a disk of `diskSize` bytes; gzipped if the name ends in ".gz". Throws a system error: EEXIST if
   * the file is there already, so that none is lost.
   */
  static async create(path: string, diskSize: number): Promise<RecordingWriter> {
    const handle = await open(path, "wx", 0o600);
    const writer = new RecordingWriter(handle, path.endsWith(".gz"));
    try {
      await writer.#append([encodeHeader(diskSize, Date.now())]);
    } catch (error) {
      await handle.close();
      throw error;
    }
    return writer;
  }

  /** Bytes of the file. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Appends records. Throws a system error if they cannot be written; the recording then ends before them, and nothing
   * more may be appended.
   */
  async write(records: readonly WriteRecord[]): Promise<void> {
    const buffers: Buffer[] = [];
    for (const record of records) {
      buffers.push(encodeRecord(record));
      if (record.data !== undefined) buffers.push(record.data);
    }
    const end = this.#bytes;
    try {
      await this.#append(buffers);
    } catch (error) {
      // What is left of them would be taken for a torn end in any case.
      await this.#handle.truncate(end).catch(() => {});
      throw error;
    }
  }

  /** Makes the recording durable and ends it. Throws a system error. */
  async close(): Promise<void> {
    try {
      await this.#handle.sync();
    } finally {
      await this.#handle.close();
    }
  }

  async #append(buffers: readonly Buffer[]): Promise<void> {
    // Each batch is a gzip member of its own, so that all before a torn end can be read.
    if (this.#isCompressed) return this.#put([await compress(Buffer.concat(buffers))]);
    for (let at = 0; at < buffers.length; at += MOST_BUFFERS)
      await this.#put(buffers.slice(at, at + MOST_BUFFERS));
  }

  async #put(buffers: readonly Buffer[]): Promise<void> {
    const length = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
    const { bytesWritten } = await this.#handle.writev(buffers);
    for (let done = bytesWritten; done < length; ) {
      const rest = Buffer.concat(buffers).subarray(done);
      done += (await this.#handle.write(rest)).bytesWritten;
    }
    this.#bytes += length;
  }
}
