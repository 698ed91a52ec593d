/** Finding the security descriptors of files: in $Secure, by number, or in a record of their own. */
import { EIO, IoError } from "../../images/io-error.js";
import { AttributeType } from "./attribute.js";
import { Index, IndexNode } from "./index.js";
import { Inode } from "./inode.js";
import { type MasterFileTable, SystemRecord } from "./mft.js";
import { type PosixSecurity, securityToPosix } from "./security.js";
import { Stream } from "./stream.js";

const SII = Buffer.from("$SII", "utf16le");
const SDS = Buffer.from("$SDS", "utf16le");
/** An entry of $SII: where its data lie; those: hash, number, where the descriptor lies in $SDS, its bytes with a header. */
const DATA_SIZE = 20;
const ID = 4;
const OFFSET = 8;
const LENGTH = 16;
/** Of the header in $SDS, which is the same. */
const HEADER = 20;
/** Bytes of a descriptor; of entries in the tree that one search goes through; levels of it. */
const LONGEST = 65536;
const MOST_NODES = 64;
/** Descriptors that are remembered. */
const MOST_KNOWN = 10_000;

/** Who a file belongs to and who may do what with it, as stat(2) has that. */
export type Access = Readonly<PosixSecurity>;

/** Without a descriptor, or with one that cannot be read, a file is root's, and nobody else's. */
const NO_DESCRIPTOR: Access = { mode: 0, uid: 0, gid: 0 };
const BAD_DESCRIPTOR: Access = { mode: 0, uid: 0, gid: 0 };

export class Descriptors {
  readonly #mft: MasterFileTable;
  readonly #known = new Map<number, Access>();
  /** The last descriptor that was in a record, and what it says. */
  #last: Buffer = Buffer.alloc(0);
  #lastAccess: Access = BAD_DESCRIPTOR;
  #inode: Inode | undefined;
  #index: Index | undefined;
  #stream: Stream | undefined;

  constructor(mft: MasterFileTable) {
    this.#mft = mft;
  }

  /** Forgets what is remembered, when the view has changed. What a number stands for, it stands for for ever. */
  forget(): void {
    this.#index = undefined;
    this.#stream = undefined;
    // What could not be read may be there by now.
    for (const [id, access] of this.#known) if (access === BAD_DESCRIPTOR) this.#known.delete(id);
  }

  /** Who may do what with a file. */
  access(inode: Inode): Access {
    const id = inode.securityId;
    if (id === 0) return this.#ofOwn(inode);
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    let access: Access = BAD_DESCRIPTOR;
    try {
      access = accessOf(this.#read(id));
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
    }
    if (this.#known.size >= MOST_KNOWN) this.#known.clear();
    this.#known.set(id, access);
    return access;
  }

  /** Whether a file has a descriptor that cannot be found, or read. */
  isMissing(inode: Inode): boolean {
    return this.access(inode) === BAD_DESCRIPTOR;
  }

  /** By a descriptor in the file's record: mostly it is that of the file before. */
  #ofOwn(inode: Inode): Access {
    const index = inode.find(AttributeType.SECURITY_DESCRIPTOR);
    if (index < 0) return NO_DESCRIPTOR;
    try {
      const { isResident, buffer, valueAt, valueLength } = inode.attribute(index);
      const last = this.#last;
      if (isResident && last.length === valueLength) {
        if (buffer.compare(last, 0, last.length, valueAt, valueAt + valueLength) === 0)
          return this.#lastAccess;
      }
      this.#last = this.descriptor(inode) ?? last;
      this.#lastAccess = accessOf(this.#last);
      return this.#lastAccess;
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      return BAD_DESCRIPTOR;
    }
  }

  /** A file's descriptor as it is on the disk; undefined: it has none. Throws IoError. */
  descriptor(inode: Inode): Buffer | undefined {
    const id = inode.securityId;
    if (id !== 0) return this.#read(id);
    const own = inode.find(AttributeType.SECURITY_DESCRIPTOR);
    if (own < 0) return undefined;
    const stream = new Stream(this.#mft, inode, own);
    if (stream.size > LONGEST) throw new IoError(EIO, `MFT record ${inode.ino}: its descriptor is too long`);
    const descriptor = Buffer.alloc(stream.size);
    stream.read(0, descriptor.length, descriptor, 0);
    return descriptor;
  }

  #read(id: number): Buffer {
    this.#open();
    const index = this.#index as Index;
    const stream = this.#stream as Stream;
    const node = new IndexNode();
    index.enterRoot(node);
    const block = Buffer.allocUnsafe(index.blockSize);
    for (let nodes = 0; nodes < MOST_NODES; nodes++) {
      const isFound = seek(node, id);
      if (isFound) return this.#descriptorAt(node, stream, id);
      const { child } = node;
      if (node.isBad || child < 0) break;
      index.enterBlock(index.blockOf(child), block, node);
    }
    throw new IoError(EIO, `$Secure has no descriptor ${id}`);
  }

  #descriptorAt(node: IndexNode, stream: Stream, id: number): Buffer {
    const at = node.at + node.buffer.readUInt16LE(node.at);
    if (at + DATA_SIZE > node.at + node.length) throw new IoError(EIO, "$Secure: $SII has a bad entry");
    const offset =
      node.buffer.readUInt32LE(at + OFFSET) + node.buffer.readUInt32LE(at + OFFSET + 4) * 2 ** 32;
    const length = node.buffer.readUInt32LE(at + LENGTH);
    if (length < HEADER || length > LONGEST + HEADER || offset + length > stream.size)
      throw new IoError(EIO, "$Secure: $SII has a bad entry");
    const bytes = Buffer.alloc(length);
    stream.readCached(offset, length, bytes, 0);
    if (bytes.readUInt32LE(ID) !== id)
      throw new IoError(EIO, `$Secure: another descriptor is in the place of ${id}`);
    return bytes.subarray(HEADER);
  }

  #open(): void {
    if (this.#index !== undefined) return;
    this.#inode ??= new Inode(this.#mft);
    const inode = this.#inode.load(SystemRecord.SECURE);
    const data = inode.find(AttributeType.DATA, SDS);
    if (data < 0) throw new IoError(EIO, "$Secure has no $SDS");
    this.#stream = new Stream(this.#mft, inode, data);
    this.#index = new Index(this.#mft, inode, SII);
  }
}

function accessOf(descriptor: Buffer): Access {
  const access = { mode: 0, uid: 0, gid: 0 };
  securityToPosix(descriptor, 0, descriptor.length, access);
  return access;
}

/** Goes to the entry with that number, or to the one below which it would be; true: it is the one. */
function seek(node: IndexNode, id: number): boolean {
  while (node.step()) {
    if (node.isLast || node.keyLength < 4) return false;
    const key = node.buffer.readUInt32LE(node.keyAt);
    if (key === id) return true;
    if (key > id) return false;
  }
  return false;
}
