/** The bytes of an attribute, wherever they lie: in a record, or in runs of clusters that several records may name. */
import { EIO, IoError } from "../../images/io-error.js";
import { Attribute, StreamFlags } from "./attribute.js";
import { type Inode, moveToInstance, readExtension } from "./inode.js";
import type { MasterFileTable } from "./mft.js";
import { FileRecord } from "./record.js";
import { HOLE, Runs } from "./runs.js";

/** Parts of a stream's runs that are kept at hand. */
const MOST_PARTS = 64;
/** Runs that one search for a hole looks at. */
const MOST_RUNS = 100_000;
/** The logarithm of the most clusters that a unit of compression can have. */
const LARGEST_UNIT = 8;

/** Part of a stream's runs, and the attribute that has them. */
interface Part {
  readonly lowestVcn: number;
  readonly record: number;
  readonly instance: number;
  runs: Runs | undefined;
}

export class Stream {
  readonly ino: number;
  /** Bytes, those of them that have been written, and those that they take on the volume. */
  readonly size: number;
  readonly initialisedSize: number;
  readonly allocatedSize: number;
  /** StreamFlags */
  readonly flags: number;
  /** Clusters of a unit of compression; 0: it is not compressed. */
  readonly unitClusters: number;
  /** Where cluster `vcn` lies that `map` was asked for, and how many follow it there. */
  cluster = HOLE;
  length = 0;
  readonly #mft: MasterFileTable;
  readonly #type: number;
  /** The bytes of one that is in its record. */
  readonly #value: Buffer | undefined;
  readonly #parts: Part[] = [];
  #part: Part | undefined;
  #atHand = 0;

  /** The stream whose first attribute has that index. Throws IoError (EIO). */
  constructor(mft: MasterFileTable, inode: Inode, index: number) {
    this.#mft = mft;
    this.ino = inode.ino;
    const attribute = inode.attribute(index);
    this.#type = attribute.type;
    this.size = attribute.size;
    this.initialisedSize = Math.min(attribute.initialisedSize, this.size);
    this.flags = attribute.flags;
    this.allocatedSize = attribute.isResident ? (this.size + 7) & ~7 : attribute.allocatedSize;
    const isCompressed = (this.flags & StreamFlags.COMPRESSED) !== 0;
    const { compressionUnit } = attribute;
    if (isCompressed && compressionUnit > LARGEST_UNIT)
      throw new IoError(EIO, `MFT record ${this.ino}: its units of compression are too large`);
    this.unitClusters = isCompressed && compressionUnit !== 0 ? 2 ** compressionUnit : 0;
    if (attribute.isResident) {
      const at = attribute.valueAt;
      this.#value = Buffer.from(attribute.buffer.subarray(at, at + this.size));
      return;
    }
    if (attribute.lowestVcn !== 0)
      throw new IoError(EIO, `MFT record ${this.ino}: the first part of a stream is missing`);
    this.#parts.push({
      lowestVcn: 0,
      record: inode.recordOf(index),
      instance: attribute.instance,
      runs: Runs.of(attribute, mft.geometry.clusters, this.ino),
    });
    this.#atHand = 1;
    this.#addParts(inode, index);
  }

  get isResident(): boolean {
    return this.#value !== undefined;
  }

  get isSparse(): boolean {
    return (this.flags & (StreamFlags.SPARSE | StreamFlags.COMPRESSED)) !== 0;
  }

  get isEncrypted(): boolean {
    return (this.flags & StreamFlags.ENCRYPTED) !== 0;
  }

  /**
   * Reads `length` bytes, all of them within the stream, as they lie there: compressed ones stay so. Holes, and what has
   * never been written, are zeros. Throws IoError.
   */
  read(position: number, length: number, target: Buffer, targetOffset: number): void {
    const value = this.#value;
    if (value !== undefined) {
      value.copy(target, targetOffset, position, position + length);
      return;
    }
    const written = Math.max(0, Math.min(length, this.initialisedSize - position));
    this.readRuns(position, written, target, targetOffset);
    target.fill(0, targetOffset + written, targetOffset + length);
  }

  /** The same through the cache: for metadata, which is read in small pieces and again. Throws IoError. */
  readCached(position: number, length: number, target: Buffer, targetOffset: number): void {
    if (this.#value !== undefined || position + length > this.initialisedSize) {
      this.read(position, length, target, targetOffset);
      return;
    }
    const { clusterSize, blockSize, blocksPerCluster } = this.#mft.geometry;
    const { view } = this.#mft;
    for (let done = 0; done < length; ) {
      const at = position + done;
      const vcn = Math.floor(at / clusterSize);
      const within = at - vcn * clusterSize;
      const start = within % blockSize;
      const part = Math.min(blockSize - start, length - done);
      this.map(vcn);
      const to = targetOffset + done;
      if (this.cluster === HOLE) target.fill(0, to, to + part);
      else {
        const block = this.cluster * blocksPerCluster + (within - start) / blockSize;
        const bytes = view.locate(block, true);
        bytes.copy(target, to, view.at + start, view.at + start + part);
      }
      done += part;
    }
  }

  /** Has bytes read from the disk the next time. Throws IoError (EIO) for runs that are bad. */
  forgetCached(position: number, length: number): void {
    if (this.#value !== undefined) return;
    const { clusterSize, blockSize, blocksPerCluster } = this.#mft.geometry;
    for (let at = position - (position % blockSize); at < position + length; at += blockSize) {
      const vcn = Math.floor(at / clusterSize);
      this.map(vcn);
      const within = (at - vcn * clusterSize) / blockSize;
      if (this.cluster !== HOLE) this.#mft.view.forgetPlace(this.cluster * blocksPerCluster + within);
    }
  }

  /** Reads what is not in its record as `read` does, without regard to how much has been written. Throws IoError. */
  readRuns(position: number, length: number, target: Buffer, targetOffset: number): void {
    const { clusterSize, blocksPerCluster } = this.#mft.geometry;
    for (let done = 0; done < length; ) {
      const at = position + done;
      const vcn = Math.floor(at / clusterSize);
      const within = at - vcn * clusterSize;
      this.map(vcn);
      const part = Math.min(this.length * clusterSize - within, length - done);
      const to = targetOffset + done;
      if (this.cluster === HOLE) target.fill(0, to, to + part);
      else this.#mft.view.readData(this.cluster * blocksPerCluster, within, part, target, to);
      done += part;
    }
  }

  /** Finds where a cluster lies: see `cluster` and `length`. Throws IoError (EIO) if the runs do not tell. */
  map(vcn: number): void {
    if (!this.tryMap(vcn))
      throw new IoError(EIO, `MFT record ${this.ino}: its runs do not have cluster ${vcn}`);
  }

  /** The same; false: the runs do not tell. Throws IoError (EIO) for runs that are bad. */
  tryMap(vcn: number): boolean {
    const runs = this.#runsAt(vcn);
    const index = runs.find(vcn);
    if (index < 0) return false;
    const start = runs.start(index);
    const cluster = runs.cluster(index);
    this.cluster = cluster === HOLE ? HOLE : cluster + vcn - start;
    this.length = start + runs.length(index) - vcn;
    return true;
  }

  /**
   * The first byte from `position` on that is data (or, with `hole`, in a hole, or the end); `size` if there is none.
   * After MOST_RUNS runs the rest counts as data.
   */
  seek(position: number, hole: boolean): number {
    if (this.#value !== undefined) return hole ? this.size : position;
    const { clusterSize } = this.#mft.geometry;
    // What has never been written is as good as a hole.
    const written = this.initialisedSize;
    let at = position;
    for (let runs = 0; at < written; runs++) {
      if (runs === MOST_RUNS) return hole ? this.size : at;
      const vcn = Math.floor(at / clusterSize);
      this.map(vcn);
      if ((this.cluster === HOLE) === hole) return at;
      at = (vcn + this.length) * clusterSize;
    }
    return hole ? Math.min(this.size, Math.max(position, written)) : this.size;
  }

  /** Visits all runs but holes: the first cluster in the stream, where it lies, how many. Throws IoError. */
  eachRun(visit: (vcn: number, cluster: number, count: number) => void): void {
    for (const part of this.#parts) {
      const runs = this.#load(part);
      for (let index = 0; index < runs.count; index++)
        if (runs.cluster(index) !== HOLE) visit(runs.start(index), runs.cluster(index), runs.length(index));
    }
  }

  /** The further parts, which an attribute list names in order. */
  #addParts(inode: Inode, first: number): void {
    for (let index = first + 1; index < inode.count && inode.type(index) === this.#type; index++) {
      if (inode.isFirstPart(index)) return;
      const lowestVcn = inode.lowestVcn(index);
      if (lowestVcn <= (this.#parts.at(-1) as Part).lowestVcn)
        throw new IoError(EIO, `MFT record ${this.ino}: the parts of a stream are in disorder`);
      this.#parts.push({
        lowestVcn,
        record: inode.recordOf(index),
        instance: inode.instanceOf(index),
        runs: undefined,
      });
    }
  }

  #runsAt(vcn: number): Runs {
    const last = this.#part;
    if (last?.runs !== undefined && vcn >= last.lowestVcn && vcn < last.runs.end) return last.runs;
    const parts = this.#parts;
    let low = 0;
    let high = parts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((parts[middle] as Part).lowestVcn <= vcn) low = middle;
      else high = middle - 1;
    }
    const part = parts[low] as Part;
    this.#part = part;
    return this.#load(part);
  }

  #load(part: Part): Runs {
    if (part.runs !== undefined) return part.runs;
    if (this.#atHand >= MOST_PARTS) {
      for (const other of this.#parts) other.runs = undefined;
      this.#atHand = 0;
    }
    const { geometry } = this.#mft;
    const record = new FileRecord(geometry.recordSize);
    const attribute = new Attribute();
    readExtension(this.#mft, this.ino, part.record, record);
    moveToInstance(attribute, record, this.#type, part.instance);
    if (attribute.isResident || attribute.lowestVcn !== part.lowestVcn)
      throw new IoError(
        EIO,
        `MFT record ${this.ino}: a part of its runs is not where its attribute list says`,
      );
    part.runs = Runs.of(attribute, geometry.clusters, part.record);
    this.#atHand++;
    return part.runs;
  }
}
