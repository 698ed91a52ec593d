import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from "node:fs";
import { sizeByReading, sizeInSysfs } from "./block-device.js";
import type { Image } from "./image.js";
import { ImageError } from "./image-error.js";

/** Opens a raw disk image, a file or a block device, for reading. Throws ImageError. */
export function openRawImage(path: string): Image {
  // The kind is looked at before the open too: to open a FIFO or a tape would wait for it or move it.
  requireDisk(
    path,
    attempt(path, () => statSync(path)),
  );
  const fd = attempt(path, () => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
  try {
    const stats = attempt(path, () => fstatSync(fd));
    requireDisk(path, stats);
    const image = stats.isBlockDevice() ? new BlockDevice(path, fd, stats.rdev) : new RawFile(path, fd);
    if (attempt(path, () => image.size) === 0) {
      throw new ImageError(
        path,
        stats.isBlockDevice()
          ? "the device has no medium (0 bytes); attach one or name another device"
          : "the image is empty (0 bytes); name a file that holds a raw disk",
      );
    }
    return image;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

abstract class RawImage implements Image {
  readonly name: string;
  protected fd: number;

  constructor(name: string, fd: number) {
    this.name = name;
    this.fd = fd;
  }

  get file(): string {
    return this.name;
  }

  /** Bytes, looked at again each time: an image grows while its guest runs. */
  abstract readonly size: number;

  read(target: Buffer, targetOffset: number, length: number, position: number): number {
    let done = 0;
    // A position that no file can have, as broken structures name them, is past the end as any other.
    while (done < length && position + done <= Number.MAX_SAFE_INTEGER) {
      const count = readSync(this.fd, target, targetOffset + done, length - done, position + done);
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  close(): void {
    if (this.fd < 0) return;
    closeSync(this.fd);
    this.fd = -1;
  }
}

class RawFile extends RawImage {
  get size(): number {
    return fstatSync(this.fd).size;
  }

  /** The time of its last change (ms, with what fractions the host keeps): each write moves it on. */
  get revision(): number {
    return fstatSync(this.fd).ctimeMs;
  }
}

class BlockDevice extends RawImage {
  private readonly rdev: number;

  constructor(name: string, fd: number, rdev: number) {
    super(name, fd);
    this.rdev = rdev;
  }

  get size(): number {
    return sizeInSysfs(this.rdev) ?? sizeByReading(this.fd);
  }
}

function requireDisk(path: string, stats: Stats): void {
  if (stats.isFile() || stats.isBlockDevice()) return;
  if (stats.isDirectory()) {
    throw new ImageError(path, "this is a directory; name the image file in it");
  }
  const kind = stats.isFIFO() ? "FIFO" : stats.isSocket() ? "socket" : "character device";
  throw new ImageError(path, `this is a ${kind}; an image is a file or a block device`);
}

function attempt<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    switch (code) {
      case undefined:
        throw error;
      case "ENOENT":
      case "ENOTDIR":
        throw new ImageError(path, "no such image; check the path");
      case "EACCES":
      case "EPERM":
        throw new ImageError(path, "no right to read the image; run as a user who may read it");
      case "ENOMEDIUM":
      case "ENXIO":
        throw new ImageError(path, "the device has no medium or is not there; name another device");
      default:
        throw new ImageError(path, `cannot be opened (${code})`);
    }
  }
}
