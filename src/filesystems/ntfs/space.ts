/** Counting what is free: clusters by $Bitmap, records by that of $MFT. */
import { EIO, IoError } from "../../images/io-error.js";
import { AttributeType } from "./attribute.js";
import { Inode } from "./inode.js";
import { type MasterFileTable, SystemRecord } from "./mft.js";
import { Stream } from "./stream.js";

/** Bytes of a bitmap that are read at once. */
const PIECE = 1 << 18;

export interface Space {
  readonly freeClusters: number;
  /** Records that $MFT's bitmap has room for, and those of them that nobody uses. */
  readonly freeRecords: number;
  readonly records: number;
}

/** Throws IoError. */
export function countSpace(mft: MasterFileTable): Space {
  const { clusters, clusterSize } = mft.geometry;
  const inode = new Inode(mft);
  // What lies past the end of an image that was cut short is nobody's to use.
  const there = Math.min(clusters, Math.ceil((mft.view.blocksThere * mft.view.blockSize) / clusterSize));
  const freeClusters = there - bitsSet(bitmap(mft, inode, SystemRecord.BITMAP, AttributeType.DATA), there);
  const records = bitmap(mft, inode, SystemRecord.MFT, AttributeType.BITMAP);
  const room = records.allocatedSize * 8;
  return { freeClusters, freeRecords: Math.max(0, room - bitsSet(records, mft.records)), records: room };
}

function bitmap(mft: MasterFileTable, inode: Inode, ino: number, type: number): Stream {
  const index = inode.load(ino).find(type);
  if (index < 0) throw new IoError(EIO, `MFT record ${ino} has no bitmap`);
  return new Stream(mft, inode, index);
}

/** How many of the first `count` bits are set. */
function bitsSet(stream: Stream, count: number): number {
  const piece = Buffer.allocUnsafe(PIECE);
  const bytes = Math.min(stream.size, Math.ceil(count / 8));
  let set = 0;
  for (let done = 0; done < bytes; done += PIECE) {
    const length = Math.min(PIECE, bytes - done);
    stream.read(done, length, piece, 0);
    const end = count - done * 8;
    // Bits past the end are set, and stand for nothing.
    if (end < length * 8) {
      piece.fill(0, Math.ceil(end / 8), length);
      if (end % 8 !== 0) piece[end >> 3] = (piece[end >> 3] as number) & ((1 << (end & 7)) - 1);
    }
    piece.fill(0, length, (length + 3) & ~3);
    for (let at = 0; at < length; at += 4) set += bitCount(piece.readInt32LE(at));
  }
  return set;
}

function bitCount(bits: number): number {
  let pairs = bits - ((bits >>> 1) & 0x5555_5555);
  pairs = (pairs & 0x3333_3333) + ((pairs >>> 2) & 0x3333_3333);
  return Math.imul((pairs + (pairs >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}
