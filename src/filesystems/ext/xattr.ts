/** Extended attributes in the inode, in a block and in inodes of their own (ext4 documentation, "Extended Attributes"). */
import { EIO, IoError } from "../../images/io-error.js";
import { crc32c } from "../../layout/crc32c.js";
import type { View } from "../../versions/view.js";
import { posixAcl } from "./acl.js";
import type { Content } from "./content.js";
import { GOOD_OLD_SIZE, Inode, InodeFlags, type Inodes } from "./inode.js";
import type { Geometry } from "./superblock.js";

const MAGIC = 0xea020000;
/** Bytes of struct ext4_xattr_ibody_header, struct ext4_xattr_header and struct ext4_xattr_entry. */
const INODE_HEADER = 4;
const BLOCK_HEADER = 32;
const ENTRY = 16;
const BLOCK_CHECKSUM_AT = 16;
/** The longest value that the kernel hands to a user (XATTR_SIZE_MAX). */
const LONGEST_VALUE = 65536;

/** e_name_index */
export const NameIndex = { ACL_ACCESS: 2, ACL_DEFAULT: 3, SYSTEM: 7 } as const;

/** The prefixes that the kernel shows; attributes with another index are its own affair and not listed. */
const PREFIXES: ReadonlyMap<number, string> = new Map([
  [1, "user."],
  [NameIndex.ACL_ACCESS, "system.posix_acl_access"],
  [NameIndex.ACL_DEFAULT, "system.posix_acl_default"],
  [4, "trusted."],
  [6, "security."],
]);

const ZEROS = Buffer.alloc(8);

/** One entry where it lies. */
class EntryPlace {
  buffer: Buffer = ZEROS;
  at = 0;
  /** What e_value_offs counts from, and where values must end. */
  valuesFrom = 0;
  end = 0;

  get nameLength(): number {
    return this.buffer[this.at] as number;
  }
  get index(): number {
    return this.buffer[this.at + 1] as number;
  }
  get valueOffset(): number {
    return this.buffer.readUInt16LE(this.at + 2);
  }
  get valueInode(): number {
    return this.buffer.readUInt32LE(this.at + 4);
  }
  get valueSize(): number {
    return this.buffer.readUInt32LE(this.at + 8);
  }
  get fullName(): string | undefined {
    const prefix = PREFIXES.get(this.index);
    if (prefix === undefined) return undefined;
    return prefix + this.buffer.toString("latin1", this.at + ENTRY, this.at + ENTRY + this.nameLength);
  }
}

/** Whether an inode has attributes, by the inode alone; undefined: it cannot be told from inline data. */
export function hasAttributes(inodes: Inodes, inode: Inode): boolean | undefined {
  if (inodes.attributeBlock(inode) !== 0) return true;
  if (inode.hasFlag(InodeFlags.INLINE_DATA)) return undefined;
  const at = inode.extraEnd;
  const { raw } = inode;
  if (at <= GOOD_OLD_SIZE || at + INODE_HEADER + 4 > raw.length || raw.readUInt32LE(at) !== MAGIC)
    return false;
  // The list ends with four zeros (IS_LAST_ENTRY in fs/ext4/xattr.h).
  return raw.readUInt32LE(at + INODE_HEADER) !== 0;
}

/** The extended attributes of one view. Names are strings of one character a byte. */
export class ExtendedAttributes {
  readonly #geometry: Geometry;
  readonly #view: View;
  readonly #inodes: Inodes;
  readonly #content: Content;
  readonly #entry = new EntryPlace();
  readonly #valueInode: Inode;
  readonly #scratch = Buffer.alloc(8);

  constructor(geometry: Geometry, view: View, inodes: Inodes, content: Content) {
    this.#geometry = geometry;
    this.#view = view;
    this.#inodes = inodes;
    this.#content = content;
    this.#valueInode = new Inode(geometry);
  }

  /** The names that the kernel would list. Throws IoError (EIO) when the list is bad. */
  names(inode: Inode): string[] {
    const names: string[] = [];
    this.#visit(inode, (entry) => {
      const name = entry.fullName;
      if (name !== undefined) names.push(name);
      return false;
    });
    return names;
  }

  /** An attribute's value; undefined if there is none of that name. */
  value(inode: Inode, name: string): Buffer | undefined {
    let value: Buffer | undefined;
    this.#visit(inode, (entry) => {
      if (entry.fullName !== name) return false;
      value = this.#shownValue(inode, entry);
      return true;
    });
    return value;
  }

  /**
   * Visits the names that the kernel would list, and the bytes of each value; the value itself is asked for with `copy`,
   * which throws IoError when it is bad. The visitor returns true to stop. Throws IoError (EIO) when the list is bad.
   */
  each(inode: Inode, visitor: (name: string, size: number, copy: () => Buffer) => boolean): void {
    this.#visit(inode, (entry) => {
      const name = entry.fullName;
      return name !== undefined && visitor(name, entry.valueSize, () => this.#shownValue(inode, entry));
    });
  }

  /** Whether there can be any attributes at all, without looking at them. */
  any(inode: Inode): boolean {
    if (this.#inodes.attributeBlock(inode) !== 0) return true;
    const at = inode.extraEnd;
    return (
      at > GOOD_OLD_SIZE && at + INODE_HEADER <= inode.raw.length && inode.raw.readUInt32LE(at) === MAGIC
    );
  }

  /**
   * Where the inode's own part of the value of `system.data` lies: inline data beyond i_block. Returns its offset in the
   * raw inode and sets `inlineLength`; -1 if there is none.
   */
  inlineData(inode: Inode): number {
    this.inlineLength = 0;
    const entry = this.#entry;
    if (!this.#enterInode(inode)) return -1;
    for (; this.#there(inode); this.#step()) {
      if (entry.index !== NameIndex.SYSTEM || entry.nameLength !== 4) continue;
      if (entry.buffer.toString("latin1", entry.at + ENTRY, entry.at + ENTRY + 4) !== "data") continue;
      if (entry.valueSize === 0) return -1;
      const at = entry.valuesFrom + entry.valueOffset;
      if (at + entry.valueSize > entry.end) throw bad(inode.ino);
      this.inlineLength = entry.valueSize;
      return at;
    }
    return -1;
  }
  inlineLength = 0;

  #visit(inode: Inode, visitor: (entry: EntryPlace) => boolean): void {
    if (this.#enterInode(inode)) {
      for (; this.#there(inode); this.#step()) if (visitor(this.#entry)) return;
    }
    if (this.#enterBlock(inode)) {
      for (; this.#there(inode); this.#step()) if (visitor(this.#entry)) return;
    }
  }

  #enterInode(inode: Inode): boolean {
    const at = inode.extraEnd;
    const { raw } = inode;
    if (at <= GOOD_OLD_SIZE || at + INODE_HEADER > raw.length || raw.readUInt32LE(at) !== MAGIC) return false;
    const entry = this.#entry;
    entry.buffer = raw;
    entry.at = at + INODE_HEADER;
    entry.valuesFrom = at + INODE_HEADER;
    entry.end = raw.length;
    return true;
  }

  #enterBlock(inode: Inode): boolean {
    const block = this.#inodes.attributeBlock(inode);
    if (block === 0) return false;
    if (block <= this.#geometry.firstDataBlock || block >= this.#geometry.blocksCount) throw bad(inode.ino);
    const found = this.#view.locate(block);
    // A value in an inode of its own is read while the list is walked: so the list is copied.
    const buffer = Buffer.from(found.subarray(this.#view.at, this.#view.at + this.#view.blockSize));
    if (buffer.readUInt32LE(0) !== MAGIC || buffer.readUInt32LE(8) !== 1) throw bad(inode.ino);
    if (this.#geometry.checksums && !this.#view.checked) {
      this.#scratch.writeUInt32LE(block >>> 0, 0);
      this.#scratch.writeUInt32LE(Math.floor(block / 2 ** 32), 4);
      let sum = crc32c(this.#geometry.checksumSeed, this.#scratch, 0, 8);
      sum = crc32c(sum, buffer, 0, BLOCK_CHECKSUM_AT);
      sum = crc32c(sum, ZEROS, 0, 4);
      sum = crc32c(sum, buffer, BLOCK_CHECKSUM_AT + 4, buffer.length);
      if (sum !== buffer.readUInt32LE(BLOCK_CHECKSUM_AT)) throw bad(inode.ino);
      this.#view.markChecked();
    }
    const entry = this.#entry;
    entry.buffer = buffer;
    entry.at = BLOCK_HEADER;
    entry.valuesFrom = 0;
    entry.end = buffer.length;
    return true;
  }

  /** Whether there is an entry here; four zero bytes end the list. */
  #there(inode: Inode): boolean {
    const { buffer, at, end } = this.#entry;
    if (at + 4 > end) return false;
    if (buffer.readUInt32LE(at) === 0) return false;
    if (at + ENTRY > end || at + ENTRY + this.#entry.nameLength > end) throw bad(inode.ino);
    return true;
  }

  #step(): void {
    this.#entry.at += (ENTRY + this.#entry.nameLength + 3) & ~3;
  }

  /** A value as the kernel shows it. */
  #shownValue(inode: Inode, entry: EntryPlace): Buffer {
    const value = this.#copyValue(inode, entry);
    const isAcl = entry.index === NameIndex.ACL_ACCESS || entry.index === NameIndex.ACL_DEFAULT;
    return isAcl ? posixAcl(value, inode.ino) : value;
  }

  #copyValue(inode: Inode, entry: EntryPlace): Buffer {
    const size = entry.valueSize;
    if (size > LONGEST_VALUE) throw bad(inode.ino);
    if (entry.valueInode !== 0) {
      const holder = this.#inodes.read(entry.valueInode, this.#valueInode);
      if (!holder.hasFlag(InodeFlags.EA_INODE) || this.#inodes.size(holder) !== size) throw bad(inode.ino);
      const value = Buffer.alloc(size);
      this.#content.read(holder, 0, size, value, 0);
      return value;
    }
    const at = entry.valuesFrom + entry.valueOffset;
    if (size !== 0 && at + size > entry.end) throw bad(inode.ino);
    return Buffer.from(entry.buffer.subarray(at, at + size));
  }
}

function bad(ino: number): IoError {
  return new IoError(EIO, `inode ${ino}: its extended attributes are bad`);
}
