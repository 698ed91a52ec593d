/** A name of a file (NTFS documentation, "$FILE_NAME"): an attribute of its record, and a key of its directory's index. */
import { AttributeType } from "./attribute.js";
import type { Inode } from "./inode.js";
import { referenceAt } from "./record.js";

/** Offsets in the value. */
const FLAGS = 0x38;
const LENGTH = 0x40;
const NAMESPACE = 0x41;
export const NAME_OFFSET = 0x42;

/** The space that a name is of. Where a file has a name for DOS alone, it has another one for Windows. */
export const Namespace = { POSIX: 0, WINDOWS: 1, DOS: 2, BOTH: 3 } as const;

/** In the flags of a name: what the file is; the others are FileAttributes. */
export const NAME_IS_DIRECTORY = 0x1000_0000;

/** Where a name is being read. */
export class FileName {
  buffer: Buffer = Buffer.alloc(NAME_OFFSET);
  at = 0;
  /** Units of 16 bits. */
  length = 0;
  namespace: number = Namespace.POSIX;

  /** Reads the value at `at` from now on; false: it does not fit into `size` bytes. */
  move(buffer: Buffer, at: number, size: number): boolean {
    if (size < NAME_OFFSET || at + size > buffer.length) return false;
    this.buffer = buffer;
    this.at = at;
    this.length = buffer[at + LENGTH] as number;
    this.namespace = buffer[at + NAMESPACE] as number;
    return NAME_OFFSET + this.length * 2 <= size;
  }

  /** Where the name itself lies. */
  get nameAt(): number {
    return this.at + NAME_OFFSET;
  }

  /** The record of the directory that has it. */
  get parent(): number {
    return referenceAt(this.buffer, this.at);
  }

  /** A copy of the file's, as of when it was made: not always as they are now. */
  get flags(): number {
    return this.buffer.readUInt32LE(this.at + FLAGS);
  }
}

/** The names of a file, one after the other. */
export class FileNames extends FileName {
  #inode: Inode | undefined;
  #next = 0;

  /** Goes through the names of a file, which is to stay loaded meanwhile. */
  enter(inode: Inode): void {
    this.#inode = inode;
    this.#next = 0;
  }

  /** Goes on to the next name, those for DOS included; false: there is none. Throws IoError (EIO). */
  step(): boolean {
    const inode = this.#inode as Inode;
    for (;;) {
      const index = inode.findAny(AttributeType.FILE_NAME, this.#next);
      if (index < 0) return false;
      this.#next = index + 1;
      const { isResident, buffer, valueAt, valueLength } = inode.attribute(index);
      if (isResident && this.move(buffer, valueAt, valueLength)) return true;
    }
  }

  /** How many names a file has in the tree: those for DOS alone do not count. Throws IoError (EIO). */
  count(inode: Inode): number {
    this.enter(inode);
    let count = 0;
    while (this.step()) if (this.namespace !== Namespace.DOS) count++;
    return count;
  }
}
