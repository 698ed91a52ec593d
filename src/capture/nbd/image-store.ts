/** A disk in an image file or a block device: what a guest writes is in the image before it is acknowledged. */
import { fdatasync, read, write } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { openRawImage } from "../../images/raw.js";
import type { Store } from "./export.js";

/** Zeros that are written at a time. */
const ZEROS = Buffer.alloc(1 << 20);

/** A write that is being done: others of the same bytes wait for it. */
interface Running {
  readonly offset: number;
  readonly end: number;
  readonly done: Promise<void>;
}

/**
 * Opens an image for reading and, unless `isReadOnly`, for writing. Throws ImageError for what is no disk or cannot be
 * read, and a system error if it cannot be written.
 */
export async function openImageStore(path: string, isReadOnly = false): Promise<Store> {
  const image = openRawImage(path);
  const { size } = image;
  image.close();
  return new ImageStore(await open(path, isReadOnly ? "r" : "r+"), size, isReadOnly);
}

class ImageStore implements Store {
  readonly size: number;
  readonly isReadOnly: boolean;
  readonly isShared = true;
  // Node has no fallocate(2): zeros are written, one by one.
  readonly zeroesFast = false;
  readonly keepsData = true;
  // Nor has it lseek(2) with SEEK_HOLE: nothing is known of holes.
  readonly allocation = 0;
  readonly #handle: FileHandle;
  readonly #running = new Set<Running>();
  #syncing: Promise<void> | undefined;
  #nextSync: Promise<void> | undefined;

  constructor(handle: FileHandle, size: number, isReadOnly: boolean) {
    this.#handle = handle;
    this.size = size;
    this.isReadOnly = isReadOnly;
  }

  async read(target: Buffer, targetOffset: number, length: number, offset: number): Promise<void> {
    for (let done = 0; done < length; ) {
      const count = await readSome(
        this.#handle.fd,
        target,
        targetOffset + done,
        length - done,
        offset + done,
      );
      if (count === 0) {
        // Somebody made the image smaller: beyond its end there is nothing.
        target.fill(0, targetOffset + done, targetOffset + length);
        return;
      }
      done += count;
    }
  }

  write(data: Buffer, offset: number, isDurable: boolean): Promise<void> {
    return this.#alone(offset, data.length, async () => {
      await this.#put(data, offset, data.length);
      if (isDurable) await this.flush();
    });
  }

  zero(offset: number, length: number, isDurable: boolean): Promise<void> {
    return this.#alone(offset, length, async () => {
      for (let done = 0; done < length; done += ZEROS.length)
        await this.#put(ZEROS, offset + done, Math.min(ZEROS.length, length - done));
      if (isDurable) await this.flush();
    });
  }

  /** Requests that come while one runs share the next. */
  flush(): Promise<void> {
    if (this.#syncing === undefined) {
      this.#syncing = sync(this.#handle.fd).finally(() => {
        this.#syncing = undefined;
      });
      return this.#syncing;
    }
    this.#nextSync ??= this.#syncing
      .catch(() => {})
      .then(() => {
        this.#nextSync = undefined;
        return this.flush();
      });
    return this.#nextSync;
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.#running].map(({ done }) => done));
    await this.#handle.close();
  }

  async #put(data: Buffer, offset: number, length: number): Promise<void> {
    for (let done = 0; done < length; )
      done += await writeSome(this.#handle.fd, data, done, length - done, offset + done);
  }

  /** Runs `action` while no other writes to the range, so that the image and the order of the records agree. */
  async #alone(offset: number, length: number, action: () => Promise<void>): Promise<void> {
    const end = offset + length;
    for (;;) {
      const other = this.#overlapping(offset, end);
      if (other === undefined) break;
      await other.done;
    }
    const result = action();
    const running: Running = { offset, end, done: result.catch(() => {}) };
    this.#running.add(running);
    try {
      await result;
    } finally {
      this.#running.delete(running);
    }
  }

  #overlapping(offset: number, end: number): Running | undefined {
    for (const running of this.#running) {
      if (running.offset < end && offset < running.end) return running;
    }
    return undefined;
  }
}

function readSome(fd: number, target: Buffer, at: number, length: number, offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, target, at, length, offset, (error, count) => (error ? reject(error) : resolve(count)));
  });
}

function writeSome(fd: number, data: Buffer, at: number, length: number, offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, data, at, length, offset, (error, count) => (error ? reject(error) : resolve(count)));
  });
}

function sync(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fdatasync(fd, (error) => (error ? reject(error) : resolve()));
  });
}
