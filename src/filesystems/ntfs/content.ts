/** The bytes of files and of their named streams, however they are kept. */
import { Errno, FileSystemError } from "../filesystem.js";
import { Attribute, AttributeType } from "./attribute.js";
import { CompressedStream } from "./compressed.js";
import { WOF_STREAM, wofAlgorithm } from "./compression/wof.js";
import type { Inode } from "./inode.js";
import type { MasterFileTable } from "./mft.js";
import { ReparseTag, readReparsePoint } from "./reparse.js";
import { FileAttributes } from "./standard-information.js";
import { Stream } from "./stream.js";
import { UnitCache } from "./unit-cache.js";
import { WofFile } from "./wof-file.js";

/** Bytes that can be read. */
export interface FileBytes {
  readonly size: number;
  /** Reads `length` bytes, all of them below `size`. Throws IoError. */
  read(position: number, length: number, target: Buffer, targetOffset: number): void;
  /**
   * The first byte from `position` (below `size`) on that is data, or with `hole` in a hole; `size` if there is none.
   * Throws IoError.
   */
  seek(position: number, hole: boolean): number;
}

export const WOF_NAME = Buffer.from(WOF_STREAM, "utf16le");

/** A file without bytes, or whose bytes cannot be had: then `problem` says why. */
class NoBytes implements FileBytes {
  readonly size: number;
  readonly #problem: FileSystemError | undefined;

  constructor(size: number, problem?: FileSystemError) {
    this.size = size;
    this.#problem = problem;
  }

  read(): void {
    if (this.#problem !== undefined) throw this.#problem;
  }

  seek(position: number, hole: boolean): number {
    if (this.#problem !== undefined) throw this.#problem;
    return hole ? this.size : position;
  }
}

export class Content {
  readonly #mft: MasterFileTable;
  readonly #units = new UnitCache();
  readonly #attribute = new Attribute();

  constructor(mft: MasterFileTable) {
    this.#mft = mft;
  }

  /** A regular file's bytes. Throws IoError (EIO). */
  file(inode: Inode): FileBytes {
    const data = inode.find(AttributeType.DATA);
    if (data < 0) return new NoBytes(0);
    return (inode.isReparsePoint ? this.#ofReparsePoint(inode, data) : undefined) ?? this.stream(inode, data);
  }

  /** Bytes of a regular file, without looking at where they are. Throws IoError (EIO). */
  size(inode: Inode): number {
    const data = inode.find(AttributeType.DATA);
    return data < 0 ? 0 : inode.attribute(data, this.#attribute).size;
  }

  /** The stream whose first attribute has that index. Throws IoError (EIO). */
  stream(inode: Inode, index: number): FileBytes {
    const stream = new Stream(this.#mft, inode, index);
    if (stream.isEncrypted)
      return new NoBytes(stream.size, new FileSystemError(Errno.ENOKEY, `inode ${inode.ino} is encrypted`));
    if (stream.unitClusters === 0 || stream.isResident) return stream;
    return new CompressedStream(stream, this.#mft.geometry.clusterSize, this.#units);
  }

  /** Undefined: its bytes are where those of others are. */
  #ofReparsePoint(inode: Inode, data: number): FileBytes | undefined {
    const size = inode.attribute(data, this.#attribute).size;
    const point = readReparsePoint(this.#mft, inode);
    if (point?.tag === ReparseTag.WOF) {
      const packed = inode.find(AttributeType.DATA, WOF_NAME);
      const algorithm = wofAlgorithm(point.data, 0, point.data.length);
      if (packed < 0 || algorithm === null)
        return unavailable(inode, size, "are in a WIM archive, or compressed unknown");
      return new WofFile(size, algorithm, this.stream(inode, packed), this.#units);
    }
    if (point?.tag === ReparseTag.DEDUP) return unavailable(inode, size, "are deduplicated");
    if (inode.hasFileAttribute(FileAttributes.RECALL_ON_DATA_ACCESS | FileAttributes.OFFLINE))
      return unavailable(inode, size, "are not on this disk");
    return undefined;
  }
}

function unavailable({ ino }: Inode, size: number, why: string): NoBytes {
  return new NoBytes(size, new FileSystemError(Errno.EOPNOTSUPP, `inode ${ino}: its bytes ${why}`));
}
