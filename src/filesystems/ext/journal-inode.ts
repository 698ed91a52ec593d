/** A journal that lies in an inode of the file system itself, as the kernel's internal journals do. */
import type { Source } from "../../images/image.js";
import { EIO, IoError } from "../../images/io-error.js";
import { readFully } from "../../versions/block-cache.js";
import { Errno, FileSystemError, FileType } from "../filesystem.js";
import type { Content } from "./content.js";
import type { Inode } from "./inode.js";
import type { JournalDevice } from "./journal/device.js";
import { Run } from "./run.js";

/** More pieces than any journal has. */
const MOST_RUNS = 65536;

/** The blocks of an internal journal, read from their place, past any cache. */
export class JournalInode implements JournalDevice {
  readonly blockSize: number;
  readonly length: number;
  readonly #source: Source;
  /** For each run: its first block in the journal, and on the volume (0: a hole). */
  readonly #logical: number[] = [];
  readonly #physical: number[] = [];
  #last = 0;

  /** `size` of the journal in bytes. Throws IoError (EIO) when the inode is none that can hold a journal. */
  constructor(source: Source, blockSize: number, content: Content, inode: Inode, size: number) {
    if (inode.type !== FileType.REGULAR) throw new IoError(EIO, "the journal's inode is no regular file");
    this.#source = source;
    this.blockSize = blockSize;
    this.length = Math.floor(size / blockSize);
    const run = new Run();
    for (let logical = 0; logical < this.length; logical += run.length) {
      if (this.#logical.length === MOST_RUNS) throw new IoError(EIO, "the journal is in too many pieces");
      content.map(inode, logical, run);
      this.#logical.push(logical);
      this.#physical.push(run.isData ? run.physical : 0);
    }
  }

  read(index: number, target: Buffer, targetOffset: number): void {
    const block = index >= 0 && index < this.length ? this.physical(index) : 0;
    if (block === 0) throw new FileSystemError(Errno.EIO, `the journal has no block ${index}`);
    const got = readFully(this.#source, target, this.blockSize, block * this.blockSize, targetOffset);
    if (got < this.blockSize)
      throw new FileSystemError(Errno.EIO, `journal block ${index} lies past the end of the volume`);
  }

  /** Where a block of the journal lies on the volume; 0: nowhere. */
  physical(index: number): number {
    let run = this.#last;
    if (!this.#covers(run, index)) {
      let low = 0;
      let high = this.#logical.length;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if ((this.#logical[middle] as number) <= index) low = middle + 1;
        else high = middle;
      }
      run = low - 1;
      this.#last = run;
    }
    const physical = this.#physical[run];
    return physical === undefined || physical === 0 ? 0 : physical + index - (this.#logical[run] as number);
  }

  #covers(run: number, index: number): boolean {
    return (this.#logical[run] ?? Infinity) <= index && index < (this.#logical[run + 1] ?? Infinity);
  }
}
