/** A file in one version: what it is, its names, and the blocks of metadata that it has besides its records. */
import { IoError } from "../../../images/io-error.js";
import type { InodeState } from "../../changes.js";
import { Attribute, AttributeType } from "../attribute.js";
import { I30 } from "../directory.js";
import { FileNames, Namespace } from "../file-name.js";
import { Inode } from "../inode.js";
import { inodeState } from "../inode-state.js";
import { SystemRecord } from "../mft.js";
import { encoded, isShowable } from "../names.js";
import type { Parts } from "../parts.js";
import { FileRecord } from "../record.js";
import { Runs } from "../runs.js";
import { Stream } from "../stream.js";

/** A name that a file has, or that a directory has of one. */
export interface Name {
  readonly directory: number;
  readonly name: Buffer;
}

export interface Side {
  readonly ino: number;
  /** In use, and no extension of another one. */
  readonly isThere: boolean;
  readonly isDirectory: boolean;
  readonly generation: number;
  /** Undefined where it cannot be read, or is not there. */
  readonly state: InodeState | undefined;
  /** By `nameKey`; those for DOS alone are left out, as in the tree. */
  readonly names: ReadonlyMap<string, Name>;
  /** Of its index of names, that's bitmap, and its attribute list. */
  readonly blocks: ReadonlySet<number>;
  /** Its security descriptor cannot be found: $Secure may not have it yet. */
  readonly isUndescribed: boolean;
  /** What could not be read; "": all could. */
  readonly problem: string;
}

export function nameKey(directory: number, name: Buffer): string {
  return `${directory}/${name.toString("latin1")}`;
}

const NO_NAMES: ReadonlyMap<string, Name> = new Map();
const NO_BLOCKS: ReadonlySet<number> = new Set();

/** Whether the tree never shows a record: the format's own, but for the root. */
export function isSystem(ino: number): boolean {
  return ino < SystemRecord.FIRST_USER && ino !== SystemRecord.ROOT;
}

/** Reads files of one version. */
export class Sides {
  readonly inode: Inode;
  readonly #parts: Parts;
  readonly #record: FileRecord;
  readonly #attribute = new Attribute();
  readonly #names = new FileNames();

  constructor(parts: Parts) {
    this.#parts = parts;
    this.inode = new Inode(parts.mft);
    this.#record = new FileRecord(parts.geometry.recordSize);
  }

  /** `isInUse`: what the record says. `most`: blocks that one file may have. */
  of(ino: number, isInUse: boolean, most: number): Side {
    if (!isInUse) return this.#none(ino, "");
    const { inode } = this;
    const blocks = new Set<number>();
    try {
      this.#listBlocks(ino, blocks, most);
      if (!inode.loadIfUsed(ino)) return this.#none(ino, "");
      const { isDirectory, generation } = inode;
      if (isDirectory) this.#indexBlocks(blocks, most);
      const names = this.#namesOf();
      const state = isSystem(ino) ? undefined : inodeState(this.#parts, inode);
      if (!isDirectory && !isSystem(ino)) this.#checkRuns();
      const isUndescribed = this.#parts.descriptors.isMissing(inode);
      return {
        ino,
        isThere: true,
        isDirectory,
        generation,
        state,
        names,
        blocks,
        isUndescribed,
        problem: "",
      };
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      return { ...this.#none(ino, error.message), blocks };
    }
  }

  #none(ino: number, problem: string): Side {
    const isThere = problem !== "";
    return {
      ino,
      isThere,
      isDirectory: false,
      generation: 0,
      state: undefined,
      names: NO_NAMES,
      blocks: NO_BLOCKS,
      isUndescribed: false,
      problem,
    };
  }

  #namesOf(): Map<string, Name> {
    const found = new Map<string, Name>();
    const names = this.#names;
    names.enter(this.inode);
    while (names.step()) {
      if (names.namespace === Namespace.DOS || !isShowable(names.buffer, names.nameAt, names.length))
        continue;
      const name = encoded(names.buffer, names.nameAt, names.length);
      found.set(nameKey(names.parent, name), { directory: names.parent, name });
    }
    return found;
  }

  /** An attribute list that is not in the record: without it the file cannot even be read. */
  #listBlocks(ino: number, blocks: Set<number>, most: number): void {
    const { mft, geometry } = this.#parts;
    const record = this.#record;
    mft.read(ino, record);
    const attribute = this.#attribute;
    for (let at = record.firstAttribute(); at >= 0; at = record.nextAttribute(at)) {
      if (record.buffer.readUInt32LE(at) !== AttributeType.ATTRIBUTE_LIST) continue;
      attribute.move(record.buffer, at, ino);
      if (attribute.isResident) continue;
      const runs = Runs.of(attribute, geometry.clusters, ino);
      for (let n = 0; n < runs.count; n++) this.#add(blocks, runs.cluster(n), runs.length(n), most);
    }
  }

  #indexBlocks(blocks: Set<number>, most: number): void {
    for (const type of [AttributeType.INDEX_ALLOCATION, AttributeType.BITMAP]) {
      const index = this.inode.find(type, I30);
      if (index < 0) continue;
      new Stream(this.#parts.mft, this.inode, index).eachRun((_vcn, cluster, count) =>
        this.#add(blocks, cluster, count, most),
      );
    }
  }

  #add(blocks: Set<number>, cluster: number, count: number, most: number): void {
    if (cluster < 0) return;
    const { blocksPerCluster } = this.#parts.geometry;
    const first = cluster * blocksPerCluster;
    const length = Math.min(count * blocksPerCluster, most - blocks.size);
    for (let n = 0; n < length; n++) blocks.add(first + n);
  }

  /** A file's bytes must be found up to what has been written of them, in whichever records that is told. */
  #checkRuns(): void {
    const { inode } = this;
    const data = inode.find(AttributeType.DATA);
    if (data < 0 || inode.attribute(data).isResident) return;
    const stream = new Stream(this.#parts.mft, inode, data);
    const last = Math.ceil(stream.initialisedSize / this.#parts.geometry.clusterSize) - 1;
    if (last >= 0 && stream.unitClusters === 0) stream.map(last);
  }
}
