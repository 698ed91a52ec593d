/** What stat(2) tells of a file. */
import { type Attributes, FileType } from "../filesystem.js";
import { Attribute, AttributeType } from "./attribute.js";
import { I30 } from "./directory.js";
import { linuxAttributes } from "./extended-attributes.js";
import { FileNames } from "./file-name.js";
import type { Inode } from "./inode.js";
import type { Parts } from "./parts.js";
import { StandardInformation } from "./standard-information.js";
import { FileTime } from "./time.js";

const PERMISSIONS = 0o7777;
const OF_LINKS = 0o777;

export class AttributesOfFiles {
  readonly #parts: Parts;
  readonly #attribute = new Attribute();
  readonly #names = new FileNames();
  readonly #time = new FileTime();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Fills `out`. Throws IoError (EIO) where it makes no sense. */
  fill(inode: Inode, out: Attributes): void {
    const { kinds, descriptors, mft, geometry } = this.#parts;
    const type = kinds.typeOf(inode);
    out.ino = inode.ino;
    out.generation = inode.generation;
    out.major = kinds.major;
    out.minor = kinds.minor;
    // Subdirectories have no name of their parent's here, so a directory has one name.
    out.nlink = type === FileType.DIRECTORY ? 1 : Math.max(1, this.#names.count(inode));
    const { uid, gid, mode: permissions } = descriptors.access(inode);
    const linux = inode.findAny(AttributeType.EA) < 0 ? undefined : linuxAttributes(mft, inode);
    out.uid = linux?.uid ?? uid;
    out.gid = linux?.gid ?? gid;
    const mode = linux?.mode ?? permissions;
    out.mode = type | (type === FileType.LINK ? OF_LINKS : mode & PERMISSIONS);
    out.blksize = Math.max(4096, geometry.clusterSize);
    this.#sizes(inode, type, out);
    this.#times(inode, out);
  }

  #sizes(inode: Inode, type: number, out: Attributes): void {
    const isDirectory = type === FileType.DIRECTORY;
    const index = isDirectory
      ? inode.find(AttributeType.INDEX_ALLOCATION, I30)
      : inode.find(AttributeType.DATA);
    out.size = 0;
    out.blocks = 0;
    if (index >= 0) {
      const attribute = inode.attribute(index, this.#attribute);
      out.size = attribute.size;
      const allocated = attribute.isResident ? (attribute.size + 7) & ~7 : attribute.allocatedSize;
      out.blocks = Math.ceil(allocated / 512);
    }
    if (type === FileType.LINK) out.size = this.#parts.links.target(inode).length;
  }

  #times(inode: Inode, out: Attributes): void {
    const { standardBuffer: buffer, standardAt: at } = inode;
    const time = this.#time;
    time.read(buffer, at + StandardInformation.ACCESSED);
    out.atime = time.seconds;
    out.atimeNsec = time.nanoseconds;
    time.read(buffer, at + StandardInformation.CHANGED);
    out.mtime = time.seconds;
    out.mtimeNsec = time.nanoseconds;
    time.read(buffer, at + StandardInformation.RECORD_CHANGED);
    out.ctime = time.seconds;
    out.ctimeNsec = time.nanoseconds;
    time.read(buffer, at + StandardInformation.CREATED);
    out.btime = time.seconds;
    out.btimeNsec = time.nanoseconds;
  }
}
