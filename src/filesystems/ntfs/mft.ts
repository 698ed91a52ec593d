/** The Master File Table: where the records lie, and reading them. */
import { EIO, IoError } from "../../images/io-error.js";
import type { View } from "../../versions/view.js";
import { Errno, FileSystemError } from "../filesystem.js";
import { Attribute, AttributeType } from "./attribute.js";
import { AttributeList, LONGEST_LIST } from "./attribute-list.js";
import type { Geometry } from "./boot-sector.js";
import { HalfWritten } from "./fix-ups.js";
import { FileRecord } from "./record.js";
import { HOLE, Runs } from "./runs.js";
import { readValue } from "./value.js";

/** Numbers of the records that every volume has. */
export const SystemRecord = {
  MFT: 0,
  MIRROR: 1,
  LOG_FILE: 2,
  VOLUME: 3,
  ATTRIBUTE_DEFINITIONS: 4,
  ROOT: 5,
  BITMAP: 6,
  BOOT: 7,
  SECURE: 9,
  UPCASE: 10,
  EXTEND: 11,
  /** The first that is not the format's own. */
  FIRST_USER: 16,
} as const;

/** Inode numbers of the tree are of 32 bits. */
const MOST_RECORDS = 2 ** 32 - 1;

export class MasterFileTable {
  readonly geometry: Geometry;
  readonly view: View;
  /** $MFT's own runs, part by part; undefined: not read yet. */
  #parts: Runs[] | undefined;
  #records = 0;

  constructor(geometry: Geometry, view: View) {
    this.geometry = geometry;
    this.view = view;
  }

  /** Forgets where the records lie, when the view has changed. */
  forget(): void {
    this.#parts = undefined;
  }

  /** How many records there are, in use or not. Throws IoError. */
  get records(): number {
    this.#open();
    return this.#records;
  }

  /** Where the records lie. Throws IoError. */
  get parts(): readonly Runs[] {
    return this.#open();
  }

  /**
   * Reads record `number`, whether or not it is in use. With `ahead`, those after it are likely to be asked for next.
   * Throws FileSystemError (ESTALE) if there is none, IoError for one that is bad.
   */
  read(number: number, record: FileRecord, ahead = false): void {
    const parts = this.#open();
    if (number >= this.#records) throw new FileSystemError(Errno.ESTALE, `there is no MFT record ${number}`);
    try {
      this.#read(number, record, parts, ahead);
    } catch (error) {
      if (!(error instanceof HalfWritten)) throw error;
      this.#forgetPlaces(number, parts);
      this.#read(number, record, parts, false);
    }
  }

  #open(): Runs[] {
    if (this.#parts !== undefined) return this.#parts;
    const record = new FileRecord(this.geometry.recordSize);
    this.#readFirst(record);
    const attribute = new Attribute();
    const data = find(record, attribute, AttributeType.DATA);
    if (data < 0 || attribute.isResident) throw new IoError(EIO, "$MFT has no records");
    const records = Math.floor(attribute.initialisedSize / this.geometry.recordSize);
    const parts = [Runs.of(attribute, this.geometry.clusters, 0)];
    if (find(record, attribute, AttributeType.ATTRIBUTE_LIST) >= 0) {
      const list = readValue(attribute, LONGEST_LIST, SystemRecord.MFT, this.geometry, this.view);
      this.#records = records;
      this.#readParts(list, parts);
    }
    const end = (parts.at(-1) as Runs).end * this.geometry.clusterSize;
    const most = Math.floor(
      Math.min(end, this.view.blocksThere * this.view.blockSize) / this.geometry.recordSize,
    );
    this.#records = Math.min(records, most, MOST_RECORDS);
    this.#parts = parts;
    return parts;
  }

  /** Record 0 where the boot sector says, or its copy in $MFTMirr. */
  #readFirst(record: FileRecord): void {
    const { mftCluster, mirrorCluster, clusters } = this.geometry;
    try {
      this.#readAt(mftCluster, 0, record, 0, false);
    } catch (error) {
      if (!(error instanceof IoError) || mirrorCluster >= clusters) throw error;
      try {
        this.#readAt(mirrorCluster, 0, record, 0, false);
      } catch {
        throw error;
      }
    }
  }

  /** The parts after the first, each in a record that lies in those before it. */
  #readParts(value: Buffer, parts: Runs[]): void {
    const list = new AttributeList();
    const record = new FileRecord(this.geometry.recordSize);
    const attribute = new Attribute();
    list.enter(value, SystemRecord.MFT);
    while (list.step()) {
      if (list.type !== AttributeType.DATA || list.nameLength !== 0 || list.lowestVcn === 0) continue;
      const { end } = parts.at(-1) as Runs;
      if (list.lowestVcn !== end) throw new IoError(EIO, "$MFT: its attribute list makes no sense");
      this.#read(list.record, record, parts, false);
      let at = record.firstAttribute();
      while (at >= 0) {
        attribute.move(record.buffer, at, record.number);
        if (attribute.instance === list.instance && attribute.type === AttributeType.DATA) break;
        at = record.nextAttribute(at);
      }
      if (at < 0 || attribute.isResident || attribute.lowestVcn !== end)
        throw new IoError(EIO, "$MFT: a part of its runs is not where its attribute list says");
      parts.push(Runs.of(attribute, this.geometry.clusters, record.number));
    }
  }

  #read(number: number, record: FileRecord, parts: readonly Runs[], ahead: boolean): void {
    const { clusterSize, recordSize } = this.geometry;
    if (recordSize <= clusterSize) {
      const position = number * recordSize;
      const vcn = Math.floor(position / clusterSize);
      this.#readAt(this.#cluster(vcn, number, parts), position - vcn * clusterSize, record, number, ahead);
      return;
    }
    // The clusters of a record need not lie together.
    const perRecord = recordSize / clusterSize;
    for (let n = 0; n < perRecord; n++) {
      const cluster = this.#cluster(number * perRecord + n, number, parts);
      const bytes = this.view.locate(cluster, ahead);
      bytes.copy(record.buffer, n * clusterSize, this.view.at, this.view.at + clusterSize);
    }
    record.enter(number);
  }

  /** Has a record read from the disk the next time. */
  #forgetPlaces(number: number, parts: readonly Runs[]): void {
    const { clusterSize, recordSize, blockSize, blocksPerCluster } = this.geometry;
    for (let at = number * recordSize; at < (number + 1) * recordSize; at += blockSize) {
      const vcn = Math.floor(at / clusterSize);
      const within = (at - vcn * clusterSize) / blockSize;
      this.view.forgetPlace(this.#cluster(vcn, number, parts) * blocksPerCluster + within);
    }
  }

  #cluster(vcn: number, number: number, parts: readonly Runs[]): number {
    for (const runs of parts) {
      if (vcn >= runs.end) continue;
      const index = runs.find(vcn);
      if (index >= 0 && runs.cluster(index) !== HOLE) return runs.cluster(index) + vcn - runs.start(index);
      break;
    }
    throw new IoError(EIO, `MFT record ${number} lies in a hole of $MFT`);
  }

  #readAt(cluster: number, within: number, record: FileRecord, number: number, ahead: boolean): void {
    const { blockSize, blocksPerCluster, recordSize } = this.geometry;
    const first = cluster * blocksPerCluster + within / blockSize;
    for (let done = 0; done < recordSize; done += blockSize) {
      const bytes = this.view.locate(first + done / blockSize, ahead);
      bytes.copy(record.buffer, done, this.view.at, this.view.at + blockSize);
    }
    record.enter(number);
  }
}

/** Moves to the first attribute of a type, without a name; -1: there is none. */
function find(record: FileRecord, attribute: Attribute, type: number): number {
  let at = record.firstAttribute();
  while (at >= 0) {
    attribute.move(record.buffer, at, record.number);
    if (attribute.type === type && attribute.nameLength === 0) return at;
    at = record.nextAttribute(at);
  }
  return -1;
}
