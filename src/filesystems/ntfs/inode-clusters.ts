/** Which clusters a file has, and what for. */
import { IoError } from "../../images/io-error.js";
import { BlockKind } from "../block-kind.js";
import type { BlockSink } from "../crawler.js";
import { AttributeType as ATTRIBUTE, Attribute } from "./attribute.js";
import { I30 } from "./directory.js";
import type { Inode } from "./inode.js";
import { type MasterFileTable, SystemRecord } from "./mft.js";
import { HOLE, Runs } from "./runs.js";
import { Stream } from "./stream.js";

/** What the clusters of the format's own files hold, by record. */
const OF_SYSTEM: ReadonlyMap<number, BlockKind> = new Map([
  [SystemRecord.MFT, BlockKind.INODE_TABLE],
  [SystemRecord.MIRROR, BlockKind.INODE_TABLE],
  [SystemRecord.LOG_FILE, BlockKind.JOURNAL],
  [SystemRecord.ATTRIBUTE_DEFINITIONS, BlockKind.DESCRIPTORS],
  [SystemRecord.BITMAP, BlockKind.BITMAP],
  [SystemRecord.BOOT, BlockKind.BOOT],
  [SystemRecord.UPCASE, BlockKind.DESCRIPTORS],
]);

export class InodeClusters {
  readonly #mft: MasterFileTable;
  readonly #attribute = new Attribute();

  constructor(mft: MasterFileTable) {
    this.#mft = mft;
  }

  /** Tells of all clusters of a file. Throws IoError (EIO) after those that can be read, if some cannot. */
  tell(inode: Inode, sink: BlockSink): void {
    let problem: IoError | undefined;
    const list = inode.attributeList(this.#attribute);
    if (list !== undefined && !list.isResident) {
      const runs = Runs.of(list, this.#mft.geometry.clusters, inode.ino);
      for (let n = 0; n < runs.count; n++)
        if (runs.cluster(n) !== HOLE)
          sink.extent(runs.cluster(n), runs.length(n), inode.ino, 0, BlockKind.MAP);
    }
    for (let index = 0; index < inode.count; index++) {
      try {
        if (inode.isFirstPart(index)) this.#tellStream(inode, index, sink);
      } catch (error) {
        if (!(error instanceof IoError)) throw error;
        problem ??= error;
      }
    }
    if (problem !== undefined) throw problem;
  }

  /** The same for the contents of a file, or a directory, alone. */
  tellContents(inode: Inode, sink: BlockSink): void {
    const data = inode.find(ATTRIBUTE.DATA);
    const names = inode.find(ATTRIBUTE.INDEX_ALLOCATION, I30);
    if (data >= 0) this.#tellStream(inode, data, sink);
    if (names >= 0) this.#tellStream(inode, names, sink);
  }

  #tellStream(inode: Inode, index: number, sink: BlockSink): void {
    const type = inode.type(index);
    const attribute = inode.attribute(index, this.#attribute);
    if (attribute.isResident) return;
    const isContents =
      type === ATTRIBUTE.DATA ? attribute.nameLength === 0 : type === ATTRIBUTE.INDEX_ALLOCATION;
    const kind = kindOf(inode, type, isContents);
    const stream = new Stream(this.#mft, inode, index);
    const { clusterSize } = this.#mft.geometry;
    const written = Math.ceil(stream.initialisedSize / clusterSize);
    stream.eachRun((vcn, cluster, count) => {
      const logical = isContents ? vcn : 0;
      const old = kind === BlockKind.DATA && stream.unitClusters === 0 ? clamp(written - vcn, count) : count;
      if (old > 0) sink.extent(cluster, old, inode.ino, logical, kind);
      if (old < count) sink.extent(cluster + old, count - old, inode.ino, logical + old, BlockKind.UNWRITTEN);
    });
  }
}

function kindOf({ ino }: Inode, type: number, isContents: boolean): BlockKind {
  if (ino === SystemRecord.MFT && type === ATTRIBUTE.BITMAP) return BlockKind.BITMAP;
  const own = OF_SYSTEM.get(ino);
  switch (type) {
    case ATTRIBUTE.DATA:
      return own ?? (isContents ? BlockKind.DATA : BlockKind.ATTRIBUTES);
    case ATTRIBUTE.INDEX_ALLOCATION:
      return BlockKind.DIRECTORY;
    case ATTRIBUTE.BITMAP:
      return BlockKind.MAP;
    case ATTRIBUTE.REPARSE_POINT:
      return BlockKind.TARGET;
    default:
      return BlockKind.ATTRIBUTES;
  }
}

function clamp(value: number, most: number): number {
  return Math.max(0, Math.min(most, value));
}
