/** A file as its records have it: the attributes of all of them, found by type and name. */
import { EIO, IoError } from "../../images/io-error.js";
import { Errno, FileSystemError } from "../filesystem.js";
import { Attribute, AttributeType } from "./attribute.js";
import { AttributeList, LONGEST_LIST } from "./attribute-list.js";
import type { MasterFileTable } from "./mft.js";
import { FileRecord } from "./record.js";
import { FileAttributes, StandardInformation } from "./standard-information.js";
import { readValue } from "./value.js";

/** Extension records at hand, so that one attribute can still be read when the next one is. */
const EXTENSIONS = 4;

export class Inode {
  ino = 0;
  /** Attributes, in order of type and name. */
  count = 0;
  readonly #mft: MasterFileTable;
  readonly #record: FileRecord;
  readonly #attribute = new Attribute();
  readonly #list = new AttributeList();
  /** The attribute list; undefined: all attributes are in the record. */
  #listed: Buffer | undefined;
  #listAt = -1;
  /** Of each attribute: its type, and where it, or its entry in the list, lies. */
  readonly #types: number[] = [];
  readonly #places: number[] = [];
  readonly #extensions: FileRecord[] = [];
  #nextExtension = 0;
  /** Where the value of $STANDARD_INFORMATION lies in the record. */
  #standard = 0;
  #standardSize = 0;

  constructor(mft: MasterFileTable) {
    this.#mft = mft;
    this.#record = new FileRecord(mft.geometry.recordSize);
  }

  /**
   * Reads a file's record. With `ahead`, those after it are likely to be asked for next. Throws FileSystemError (ESTALE)
   * if it is not in use, or goes on with another one; IoError if it is bad.
   */
  load(ino: number, ahead = false): this {
    if (!this.loadIfUsed(ino, ahead))
      throw new FileSystemError(Errno.ESTALE, `MFT record ${ino} is not in use`);
    return this;
  }

  /** The same, but tells by false that there is no such file. */
  loadIfUsed(ino: number, ahead = false): boolean {
    const record = this.#record;
    // What is there from an earlier file is nothing any more if this fails.
    this.count = 0;
    this.#mft.read(ino, record, ahead);
    if (!record.isInUse || record.base !== ino) return false;
    this.ino = ino;
    for (const extension of this.#extensions) extension.number = -1;
    this.#listed = undefined;
    this.#listAt = -1;
    this.#standard = -1;
    const attribute = this.#attribute;
    const { buffer } = record;
    for (let at = record.firstAttribute(); at >= 0; at = record.nextAttribute(at)) {
      const type = buffer.readUInt32LE(at);
      if (type === AttributeType.ATTRIBUTE_LIST) this.#listAt = at;
      else if (type === AttributeType.STANDARD_INFORMATION && this.#standard < 0) this.#noteStandard(at);
      this.#types[this.count] = type;
      this.#places[this.count++] = at;
    }
    if (this.#standard < 0) throw new IoError(EIO, `MFT record ${ino} has no standard information`);
    if (this.#listAt >= 0) {
      attribute.move(buffer, this.#listAt, ino);
      this.#takeList(readValue(attribute, LONGEST_LIST, ino, this.#mft.geometry, this.#mft.view));
    }
    return true;
  }

  get generation(): number {
    return this.#record.header.sequence;
  }

  /** As the record has it: a reparse point may be one, too. */
  get isDirectory(): boolean {
    return this.#record.isDirectory;
  }

  /** FileAttributes */
  get fileAttributes(): number {
    return this.#record.buffer.readUInt32LE(this.#standard + StandardInformation.FILE_ATTRIBUTES);
  }

  hasFileAttribute(bits: number): boolean {
    return (this.fileAttributes & bits) !== 0;
  }

  get isReparsePoint(): boolean {
    return this.hasFileAttribute(FileAttributes.REPARSE_POINT);
  }

  /** Whether names in it differ by their case alone, as WSL has it (`fsutil file setCaseSensitiveInfo`). */
  get isCaseSensitiveDirectory(): boolean {
    if (this.#standardSize < StandardInformation.SHORT_SIZE) return false;
    const { buffer } = this.#record;
    return (
      buffer.readUInt32LE(this.#standard + StandardInformation.MOST_VERSIONS) === 0 &&
      buffer.readUInt32LE(this.#standard + StandardInformation.VERSION) === 1
    );
  }

  /** The number of its security descriptor in $Secure; 0: it has none there. */
  get securityId(): number {
    if (this.#standardSize < StandardInformation.LONG_SIZE) return 0;
    return this.#record.buffer.readUInt32LE(this.#standard + StandardInformation.SECURITY_ID);
  }

  /** The buffer that has the value of $STANDARD_INFORMATION, and where. */
  get standardBuffer(): Buffer {
    return this.#record.buffer;
  }

  get standardAt(): number {
    return this.#standard;
  }

  /** The type of an attribute. */
  type(index: number): number {
    return this.#types[index] as number;
  }

  /** The first attribute of that type from `from` on, with that name (UTF-16; none: without a name); -1: there is none. */
  find(type: number, name?: Buffer, from = 0): number {
    for (let index = from; index < this.count; index++)
      if (this.#types[index] === type && this.#hasName(index, name)) return index;
    return -1;
  }

  /** The first of that type, whatever its name. */
  findAny(type: number, from = 0): number {
    for (let index = from; index < this.count; index++) if (this.#types[index] === type) return index;
    return -1;
  }

  /** Whether an attribute has a name. */
  hasName(index: number): boolean {
    const place = this.#places[index] as number;
    return (this.#listed === undefined ? this.#record.buffer[place + 9] : this.#listed[place + 6]) !== 0;
  }

  /** The number of an attribute's record. Throws IoError (EIO). */
  recordOf(index: number): number {
    return this.#listed === undefined ? this.ino : this.#entry(index).record;
  }

  /** What a list says of an attribute: its first cluster, and its number in its record. */
  lowestVcn(index: number): number {
    return this.#listed === undefined ? 0 : this.#entry(index).lowestVcn;
  }

  instanceOf(index: number): number {
    return this.#entry(index).instance;
  }

  /**
   * An attribute, to be read until a few others have been asked for. Throws IoError (EIO) if it is not where the list
   * says, or is bad.
   */
  attribute(index: number, into: Attribute = this.#attribute): Attribute {
    if (this.#listed === undefined) {
      into.move(this.#record.buffer, this.#places[index] as number, this.ino);
      return into;
    }
    const { record: number, instance, type } = this.#entry(index);
    const record = this.#recordWith(number);
    moveToInstance(into, record, type, instance);
    return into;
  }

  /** The list of attributes, which is not among them; undefined: there is none. */
  attributeList(into: Attribute): Attribute | undefined {
    if (this.#listAt < 0) return undefined;
    into.move(this.#record.buffer, this.#listAt, this.ino);
    return into;
  }

  /** Whether an attribute is the first part of its stream, or the only one. */
  isFirstPart(index: number): boolean {
    return this.lowestVcn(index) === 0;
  }

  #noteStandard(at: number): void {
    const attribute = this.#attribute;
    attribute.move(this.#record.buffer, at, this.#record.number);
    if (!attribute.isResident || attribute.valueLength < StandardInformation.SHORT_SIZE) return;
    this.#standard = attribute.valueAt;
    this.#standardSize = attribute.valueLength;
  }

  #takeList(value: Buffer): void {
    this.#listed = value;
    this.count = 0;
    const list = this.#list;
    list.enter(value, this.ino);
    while (list.step()) {
      this.#types[this.count] = list.type;
      this.#places[this.count++] = list.at;
    }
  }

  #entry(index: number): AttributeList {
    this.#list.move(this.#places[index] as number);
    return this.#list;
  }

  #hasName(index: number, name: Buffer | undefined): boolean {
    const place = this.#places[index] as number;
    const buffer = this.#listed ?? this.#record.buffer;
    // The list's entries have the length of the name and its place elsewhere than attributes.
    const isListed = this.#listed !== undefined;
    const length = buffer[place + (isListed ? 6 : 9)] as number;
    if (length * 2 !== (name?.length ?? 0)) return false;
    if (name === undefined || length === 0) return true;
    const at = place + (isListed ? (buffer[place + 7] as number) : buffer.readUInt16LE(place + 10));
    return (
      at + name.length <= buffer.length && buffer.compare(name, 0, name.length, at, at + name.length) === 0
    );
  }

  #recordWith(number: number): FileRecord {
    if (number === this.ino) return this.#record;
    const known = this.#extensions.find((extension) => extension.number === number);
    if (known !== undefined) return known;
    if (this.#extensions.length < EXTENSIONS)
      this.#extensions.push(new FileRecord(this.#mft.geometry.recordSize));
    const extension = this.#extensions[this.#nextExtension] as FileRecord;
    this.#nextExtension = (this.#nextExtension + 1) % EXTENSIONS;
    readExtension(this.#mft, this.ino, number, extension);
    return extension;
  }
}

/** Reads a record that goes on with a file. Throws IoError (EIO) if it does not. */
export function readExtension(mft: MasterFileTable, ino: number, number: number, record: FileRecord): void {
  record.number = -1;
  try {
    mft.read(number, record);
  } catch (error) {
    // That there is no such record is a defect of the file here.
    if (error instanceof FileSystemError) throw new IoError(EIO, `MFT record ${ino}: ${error.message}`);
    throw error;
  }
  if (!record.isInUse || (record.base !== ino && number !== ino)) {
    record.number = -1;
    throw new IoError(EIO, `MFT record ${ino}: record ${number} does not go on with it`);
  }
}

/** Moves to an attribute of a record by its type and number. Throws IoError (EIO) if there is none. */
export function moveToInstance(
  attribute: Attribute,
  record: FileRecord,
  type: number,
  instance: number,
): void {
  for (let at = record.firstAttribute(); at >= 0; at = record.nextAttribute(at)) {
    attribute.move(record.buffer, at, record.number);
    if (attribute.type === type && attribute.instance === instance) return;
  }
  throw new IoError(
    EIO,
    `MFT record ${record.number} has no attribute ${instance} of type 0x${type.toString(16)}`,
  );
}
