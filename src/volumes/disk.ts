import type { Log, Source } from "../images/image.js";

/** A disk whose partition table is being read. */
export class Disk {
  /** The image's size in bytes when reading began: one measure for the whole table. */
  readonly size: number;
  private readonly image: Source;
  private readonly name: string;
  private readonly sink: Log;

  constructor(image: Source, name: string, log: Log) {
    this.image = image;
    this.size = image.size;
    this.name = name;
    this.sink = log;
  }

  /** `length` bytes at `position`: fewer at the end of the image, and none, with a log line, where reading fails. */
  read(position: number, length: number): Buffer {
    const buffer = Buffer.alloc(length);
    try {
      return buffer.subarray(0, this.image.read(buffer, 0, length, position));
    } catch (error) {
      this.log(`cannot be read at byte ${position}: ${(error as Error).message}`);
      return buffer.subarray(0, 0);
    }
  }

  log(line: string): void {
    this.sink(`${this.name}: ${line}`, { volume: this.name });
  }
}
