/**
 * Extended attributes: named streams as `user.NAME`, and, by name only, what ntfs-3g gives of a file as
 * `system.ntfs_...`, byte for byte.
 */
import { EIO, IoError } from "../../images/io-error.js";
import { Errno, FileSystemError } from "../filesystem.js";
import { AttributeType } from "./attribute.js";
import { type Content, WOF_NAME } from "./content.js";
import type { Descriptors } from "./descriptors.js";
import { readExtendedAttributes } from "./extended-attributes.js";
import { FileNames, Namespace } from "./file-name.js";
import type { Inode } from "./inode.js";
import type { MasterFileTable } from "./mft.js";
import { decodeName, encoded } from "./names.js";
import { ReparseTag, readReparsePoint, reparseValue } from "./reparse.js";
import { FileAttributes, StandardInformation } from "./standard-information.js";

const USER = "user.";
/** The longest value that Linux has (XATTR_SIZE_MAX). */
const LONGEST = 65536;
/** Named streams of a file that are listed. */
const MOST_NAMES = 10_000;

export class ExtendedAttributes {
  readonly #mft: MasterFileTable;
  readonly #content: Content;
  readonly #descriptors: Descriptors;
  readonly #units = new Uint16Array(255);

  constructor(mft: MasterFileTable, content: Content, descriptors: Descriptors) {
    this.#mft = mft;
    this.#content = content;
    this.#descriptors = descriptors;
  }

  /** Whether a file has named streams. */
  any(inode: Inode): boolean {
    return this.#next(inode, 0) >= 0;
  }

  /** Their names, one character a byte. Throws IoError (EIO). */
  names(inode: Inode): string[] {
    const names: string[] = [];
    this.each(inode, (name) => names.push(name) === MOST_NAMES);
    return names;
  }

  /** Visits named streams, until `visit` returns true: the name, and a way to their bytes. Throws IoError (EIO). */
  each(inode: Inode, visit: (name: string, size: number, copy: () => Buffer) => boolean): void {
    const isWof = inode.isReparsePoint && readReparsePoint(this.#mft, inode)?.tag === ReparseTag.WOF;
    for (let index = this.#next(inode, 0); index >= 0; index = this.#next(inode, index + 1)) {
      const { buffer, nameAt, nameLength, size } = inode.attribute(index);
      // The bytes of the file itself.
      if (isWof && buffer.compare(WOF_NAME, 0, WOF_NAME.length, nameAt, nameAt + nameLength * 2) === 0)
        continue;
      const name = USER + encoded(buffer, nameAt, nameLength).toString("latin1");
      const at = index;
      if (!name.includes("\0") && visit(name, size, () => this.#bytes(inode, at))) return;
    }
  }

  /** Undefined: there is none of that name. Throws IoError (EIO), FileSystemError (E2BIG). */
  value(inode: Inode, name: string): Buffer | undefined {
    if (!name.startsWith(USER)) return this.#ofFormat(inode, name);
    const length = decodeName(Buffer.from(name.slice(USER.length), "latin1"), this.#units);
    if (length <= 0) return undefined;
    const wanted = Buffer.alloc(length * 2);
    for (let n = 0; n < length; n++) wanted.writeUInt16LE(this.#units[n] as number, n * 2);
    const index = inode.find(AttributeType.DATA, wanted);
    return index < 0 ? undefined : this.#bytes(inode, index);
  }

  /** The next named stream from attribute `from` on; -1: there is none. */
  #next(inode: Inode, from: number): number {
    for (let index = from; index < inode.count; index++)
      if (inode.type(index) === AttributeType.DATA && inode.hasName(index) && inode.isFirstPart(index))
        return index;
    return -1;
  }

  #bytes(inode: Inode, index: number): Buffer {
    const stream = this.#content.stream(inode, index);
    if (stream.size > LONGEST)
      throw new FileSystemError(Errno.E2BIG, `inode ${inode.ino}: a stream is too long for an attribute`);
    const value = Buffer.alloc(stream.size);
    stream.read(0, value.length, value, 0);
    return value;
  }

  #ofFormat(inode: Inode, name: string): Buffer | undefined {
    switch (name) {
      case "system.ntfs_attrib":
        return number(attributesOf(inode));
      case "system.ntfs_attrib_be":
        return number(attributesOf(inode)).reverse();
      case "system.ntfs_times":
        return times(inode);
      case "system.ntfs_times_be":
        return bigEndian(times(inode));
      case "system.ntfs_crtime":
        return times(inode).subarray(0, 8);
      case "system.ntfs_crtime_be":
        return bigEndian(times(inode).subarray(0, 8));
      case "system.ntfs_acl":
        return this.#descriptors.descriptor(inode);
      case "system.ntfs_reparse_data":
        return reparseValue(this.#mft, inode);
      case "system.ntfs_ea":
        return readExtendedAttributes(this.#mft, inode);
      case "system.ntfs_dos_name":
        return dosName(inode);
      case "system.ntfs_object_id":
        return objectId(inode);
      default:
        return undefined;
    }
  }
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value | 0);
  return bytes;
}

/** With what the record has elsewhere, or by having nothing. */
function attributesOf(inode: Inode): number {
  const { DIRECTORY, NORMAL } = FileAttributes;
  const attributes = inode.isDirectory ? inode.fileAttributes | DIRECTORY : inode.fileAttributes & ~DIRECTORY;
  return attributes === 0 ? NORMAL : attributes;
}

/** Times of creation, of the last change, of the last access and of the record's last change. */
function times(inode: Inode): Buffer {
  const { standardBuffer: buffer, standardAt: at } = inode;
  const { CREATED, CHANGED, ACCESSED, RECORD_CHANGED } = StandardInformation;
  return Buffer.concat(
    [CREATED, CHANGED, ACCESSED, RECORD_CHANGED].map((offset) =>
      buffer.subarray(at + offset, at + offset + 8),
    ),
  );
}

function bigEndian(numbers: Buffer): Buffer {
  return Buffer.from(numbers).swap64();
}

function dosName(inode: Inode): Buffer | undefined {
  const names = new FileNames();
  names.enter(inode);
  while (names.step())
    if (names.namespace === Namespace.DOS) return encoded(names.buffer, names.nameAt, names.length);
  return undefined;
}

function objectId(inode: Inode): Buffer | undefined {
  const index = inode.find(AttributeType.OBJECT_ID);
  if (index < 0) return undefined;
  const { isResident, buffer, valueAt, valueLength } = inode.attribute(index);
  if (!isResident) throw new IoError(EIO, `MFT record ${inode.ino}: its object id is bad`);
  return Buffer.from(buffer.subarray(valueAt, valueAt + valueLength));
}
