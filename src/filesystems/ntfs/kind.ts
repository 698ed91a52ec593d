/** What kind of file a record stands for, as stat(2) has kinds: Windows has directories, files and reparse points. */
import { FileType } from "../filesystem.js";
import { Attribute, AttributeType } from "./attribute.js";
import { linuxAttributes } from "./extended-attributes.js";
import type { Inode } from "./inode.js";
import { interixFile, LONGEST_INTERIX, type SpecialFile } from "./interix.js";
import type { MasterFileTable } from "./mft.js";
import { type ReparsePoint, ReparseTag, readReparsePoint, STANDS_FOR_NAME } from "./reparse.js";
import { FileAttributes } from "./standard-information.js";
import { Stream } from "./stream.js";

const { DIRECTORY, REGULAR, LINK, SOCKET, FIFO, CHARACTER, BLOCK } = FileType;

export class Kinds {
  /** Of the file that `typeOf` was asked for, if it is a device. */
  major = 0;
  minor = 0;
  readonly #mft: MasterFileTable;
  readonly #attribute = new Attribute();

  constructor(mft: MasterFileTable) {
    this.#mft = mft;
  }

  /** FileType. Throws IoError (EIO). */
  typeOf(inode: Inode): number {
    this.major = 0;
    this.minor = 0;
    if (inode.isReparsePoint) {
      const point = readReparsePoint(this.#mft, inode);
      const type = point === undefined ? undefined : this.#ofReparsePoint(inode, point);
      if (type !== undefined) return type;
    }
    if (inode.isDirectory) return DIRECTORY;
    if (!inode.hasFileAttribute(FileAttributes.SYSTEM)) return REGULAR;
    const special = this.special(inode);
    if (special === undefined) return REGULAR;
    this.major = special.major;
    this.minor = special.minor;
    return special.type;
  }

  /** What a file of the system's is, if it is one of those that Interix makes. Throws IoError (EIO). */
  special(inode: Inode): SpecialFile | undefined {
    const data = inode.find(AttributeType.DATA);
    if (data < 0) return undefined;
    const { size } = inode.attribute(data, this.#attribute);
    if (size > LONGEST_INTERIX) return undefined;
    const bytes = Buffer.alloc(size);
    if (size > 1) {
      const stream = new Stream(this.#mft, inode, data);
      if (stream.unitClusters !== 0 && !stream.isResident) return undefined;
      stream.read(0, size, bytes, 0);
    }
    return interixFile(bytes, size, inode.hasFileAttribute(FileAttributes.HIDDEN));
  }

  /** Undefined: it is what it would be without. */
  #ofReparsePoint(inode: Inode, { tag }: ReparsePoint): number | undefined {
    switch (tag) {
      case ReparseTag.AF_UNIX:
        return SOCKET;
      case ReparseTag.LX_FIFO:
        return FIFO;
      case ReparseTag.LX_CHR:
      case ReparseTag.LX_BLK: {
        const linux = linuxAttributes(this.#mft, inode);
        this.major = linux?.major ?? 0;
        this.minor = linux?.minor ?? 0;
        return tag === ReparseTag.LX_CHR ? CHARACTER : BLOCK;
      }
      default:
        // What stands for another name and cannot be told is shown as a link that leads nowhere, as ntfs-3g does.
        return (tag & STANDS_FOR_NAME) !== 0 ? LINK : undefined;
    }
  }
}
