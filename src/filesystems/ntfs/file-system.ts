/** NTFS behind the interface of all file systems. */
import type { Log } from "../../images/image.js";
import type { Commit } from "../../versions/commit.js";
import type { View } from "../../versions/view.js";
import {
  type Attributes,
  type EntryVisitor,
  Errno,
  type FileSystem,
  FileSystemError,
  FileType,
  type NameMatching,
  type Standing,
  type Statistics,
  type VolumeNames,
} from "../filesystem.js";
import type { Geometry } from "./boot-sector.js";
import { Listings } from "./follow/listings.js";
import type { LiveFiles } from "./follow/live-files.js";
import { Inode } from "./inode.js";
import { leftState } from "./left-state.js";
import { SystemRecord } from "./mft.js";
import { MOST_UNITS } from "./names.js";
import { Parts } from "./parts.js";
import { countSpace, type Space } from "./space.js";
import { volumeInformation } from "./volume-information.js";

/** One version of an NTFS volume. */
export class NtfsFileSystem implements FileSystem {
  readonly type = "ntfs";
  readonly label: string;
  readonly uuid: string;
  readonly rootInode = SystemRecord.ROOT;
  readonly #parts: Parts;
  readonly #inode: Inode;
  /** A visitor may stat what it is told of, which uses the inode above: so listing has one of its own. */
  readonly #listed: Inode;
  readonly #files: LiveFiles;
  readonly #listings: Listings;
  #space: Space | undefined;

  constructor(geometry: Geometry, view: View, files: LiveFiles, log: Log, matching: NameMatching) {
    this.#files = files;
    this.#parts = new Parts(geometry, view, log, matching);
    this.#inode = new Inode(this.#parts.mft);
    this.#listed = new Inode(this.#parts.mft);
    this.#listings = new Listings((ino, position, visitor) =>
      this.#parts.directories.list(this.#directory(ino, this.#listed), position, visitor),
    );
    this.label = volumeInformation(this.#parts.mft).label;
    this.uuid = geometry.serial;
    const left = leftState(this.#parts);
    if (left !== undefined) log(left, { level: "info" });
  }

  /** Moves on to the next committed version. */
  apply(commit: Commit): void {
    this.#parts.view.apply(commit);
    this.#forgetFiles();
  }

  /** Copies of transactions before this one are in their places. */
  settle(sequence: number): void {
    this.#parts.view.settle(sequence);
  }

  /** There is nothing here that could tell that the guest has moved on. */
  standing(): Standing {
    return "current";
  }

  /** Forgets what was read of blocks in their places. */
  reread(): void {
    this.#parts.view.forgetPlaces();
    this.#forgetFiles();
  }

  /** Forgets all that was read. */
  forget(): void {
    this.#parts.view.forgetAll();
    this.#forgetFiles();
  }

  stat(ino: number, out: Attributes): void {
    this.#parts.attributes.fill(this.#inode.load(ino), out);
  }

  lookup(directory: number, name: Buffer, asListed = false): number {
    return this.#parts.directories.lookupIn(directory, name, asListed, this.#checkDirectory);
  }

  foldsNames(directory: number): boolean {
    return this.#parts.directories.foldsNames(directory, this.#checkDirectory);
  }

  parent(directory: number): number {
    if (directory === SystemRecord.ROOT) return directory;
    return this.#parts.directories.parent(this.#directory(directory, this.#inode));
  }

  list(directory: number, position: number, visitor: EntryVisitor): void {
    this.#listings.list(directory, position, visitor);
  }

  read(ino: number, position: number, length: number, target: Buffer, targetOffset: number): number {
    const { generation } = this.#inode.load(ino);
    return this.#files.read(ino, generation, position, length, target, targetOffset);
  }

  seek(ino: number, position: number, hole: boolean): number {
    return this.#files.seek(ino, this.#inode.load(ino).generation, position, hole);
  }

  readlink(ino: number): Buffer {
    const inode = this.#inode.load(ino);
    if (this.#parts.kinds.typeOf(inode) !== FileType.LINK)
      throw new FileSystemError(Errno.EINVAL, `inode ${ino} is no symbolic link`);
    return this.#parts.links.target(inode);
  }

  nameVolumes(names: VolumeNames): void {
    this.#parts.links.volumes = names;
  }

  listedNames(names: readonly string[]): readonly string[] | undefined {
    return this.#parts.links.listed(names);
  }

  attributeNames(ino: number): string[] {
    return this.#parts.extendedAttributes.names(this.#inode.load(ino));
  }

  attribute(ino: number, name: string): Buffer | undefined {
    return this.#parts.extendedAttributes.value(this.#inode.load(ino), name);
  }

  /** As ntfs-3g counts: what is free may become clusters of files or records. */
  statistics(out: Statistics): void {
    const { geometry, mft } = this.#parts;
    this.#space ??= countSpace(mft);
    const { freeClusters, freeRecords, records } = this.#space;
    const possible = Math.floor((freeClusters * geometry.clusterSize) / geometry.recordSize);
    out.blockSize = geometry.clusterSize;
    out.blocks = geometry.clusters;
    out.blocksFree = freeClusters;
    out.blocksAvailable = freeClusters;
    out.files = records + possible;
    out.filesFree = freeRecords + possible;
    out.nameLength = MOST_UNITS;
  }

  /** A directory's record, which the tree does not take for one if it is a link. */
  #directory(ino: number, inode: Inode): Inode {
    this.#checkDirectory(inode.load(ino));
    return inode;
  }

  readonly #checkDirectory = (inode: Inode): void => {
    if (inode.isReparsePoint && this.#parts.kinds.typeOf(inode) !== FileType.DIRECTORY)
      throw new FileSystemError(Errno.ENOTDIR, `inode ${inode.ino} is no directory`);
  };

  #forgetFiles(): void {
    this.#parts.forget();
    this.#files.forget();
    this.#space = undefined;
  }
}
