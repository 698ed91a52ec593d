/** A list of the attributes of a file that has more than one record (NTFS documentation, "$ATTRIBUTE_LIST"). */
import { EIO, IoError } from "../../images/io-error.js";
import { structure, u8, u16, u32, u64 } from "../../layout/struct.js";
import { referenceAt } from "./record.js";

const ListEntry = structure("attribute list entry", 26, {
  type: u32(0x0),
  length: u16(0x4),
  nameLength: u8(0x6),
  nameOffset: u8(0x7),
  lowestVcn: u64(0x8),
  instance: u16(0x18),
});
const REFERENCE = 0x10;
/** Windows keeps no longer ones (ntfs-3g: 0x40000). */
export const LONGEST_LIST = 0x4_0000;

/** The entries of a list, one after the other. */
export class AttributeList {
  buffer: Buffer = Buffer.alloc(ListEntry.size);
  at = 0;
  readonly #entry = ListEntry.at(this.buffer);
  #record = 0;
  #next = 0;

  /** Goes through the list in `buffer` from now on. `record`: the file's, for what is said of errors. */
  enter(buffer: Buffer, record: number): void {
    this.buffer = buffer;
    this.#record = record;
    this.#next = 0;
  }

  /** Goes on to the next entry; false: there is none. Throws IoError (EIO). */
  step(): boolean {
    const { buffer } = this;
    this.at = this.#next;
    if (this.at + ListEntry.size > buffer.length) return false;
    const { length, nameLength, nameOffset, type } = this.#entry.move(buffer, this.at);
    if (type === 0 && length === 0) return false;
    const isGood =
      length >= ListEntry.size &&
      this.at + length <= buffer.length &&
      (nameLength === 0 || nameOffset + nameLength * 2 <= length);
    if (!isGood) throw new IoError(EIO, `MFT record ${this.#record}: its attribute list makes no sense`);
    this.#next = this.at + length;
    return true;
  }

  /** Reads the entry at `at`, at which it was before. */
  move(at: number): void {
    this.at = at;
    this.#entry.move(this.buffer, at);
  }

  get type(): number {
    return this.#entry.type;
  }

  get nameLength(): number {
    return this.#entry.nameLength;
  }

  get nameAt(): number {
    return this.at + this.#entry.nameOffset;
  }

  get lowestVcn(): number {
    return this.#entry.lowestVcn;
  }

  get instance(): number {
    return this.#entry.instance;
  }

  /** The record that has the attribute. */
  get record(): number {
    return referenceAt(this.buffer, this.at + REFERENCE);
  }
}
