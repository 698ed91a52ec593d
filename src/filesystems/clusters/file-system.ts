/** FAT and exFAT behind the interface of all file systems. */
import { EIO, IoError } from "../../images/io-error.js";
import type { Commit } from "../../versions/commit.js";
import type { View } from "../../versions/view.js";
import {
  type Attributes,
  EntryType,
  type EntryVisitor,
  Errno,
  type FileSystem,
  FileSystemError,
  type Standing,
  type Statistics,
} from "../filesystem.js";
import { Content } from "./content.js";
import { DirectoryEntry } from "./entry.js";
import type { Layout } from "./layout.js";
import { Parts } from "./parts.js";
import { fillAttributes, fillRoot, setSize } from "./stat.js";

/** Positions of ".", "..", and slot 0. */
const DOTS = Buffer.from("..");
const FIRST_SLOT = 2;

export class ClusterFileSystem implements FileSystem {
  readonly type: string;
  readonly label: string;
  readonly uuid: string;
  readonly rootInode: number;
  readonly #layout: Layout;
  readonly #view: View;
  readonly #parts: Parts;
  readonly #content: Content;
  readonly #file = new DirectoryEntry();
  /** A visitor may ask for more while it is told of an entry: so listing has one of its own. */
  readonly #listed: DirectoryEntry[] = [];
  #free = -1;

  constructor(layout: Layout, view: View, label: string, uuid: string) {
    this.type = layout.type;
    this.label = label;
    this.uuid = uuid;
    this.rootInode = layout.rootInode;
    this.#layout = layout;
    this.#view = view;
    this.#parts = new Parts(layout, view);
    this.#content = new Content(layout, view, this.#parts.chains);
  }

  apply(commit: Commit): void {
    this.#view.apply(commit);
    this.#forgetParts();
  }

  settle(sequence: number): void {
    this.#view.settle(sequence);
  }

  standing(): Standing {
    return "current";
  }

  reread(): void {
    this.#view.forgetPlaces();
    this.#forgetParts();
  }

  forget(): void {
    this.#view.forgetAll();
    this.#forgetParts();
  }

  stat(ino: number, out: Attributes): void {
    const { clusterSize, root, rootInode } = this.#layout;
    const { directories } = this.#parts;
    if (ino === rootInode) {
      fillRoot(ino, clusterSize, out);
      setSize(out, directories.size(root), clusterSize);
      out.nlink = 2 + directories.subdirectories(ino);
      return;
    }
    const file = this.#entry(ino);
    fillAttributes(file, clusterSize, out);
    if (!file.isDirectory) return;
    setSize(out, directories.size(directories.place(ino)), clusterSize);
    out.nlink = 2 + directories.subdirectories(ino);
  }

  lookup(directory: number, name: Buffer, asListed = false): number {
    return this.#parts.directories.lookup(directory, name, asListed);
  }

  /** By letters of another case, and by short names. */
  foldsNames(): boolean {
    return true;
  }

  parent(directory: number): number {
    if (directory === this.rootInode) return directory;
    if (!this.#parts.directories.isDirectory(directory))
      throw new FileSystemError(Errno.ENOTDIR, `inode ${directory} is no directory`);
    return this.#parts.directories.parent(directory);
  }

  list(directory: number, position: number, visitor: EntryVisitor): void {
    const { directories } = this.#parts;
    const slots = directories.slots(directory);
    if (position < 1 && !visitor.entry(DOTS, 0, 1, directory, EntryType.DIRECTORY, 1)) return;
    if (position < FIRST_SLOT) {
      const parent = this.parent(directory);
      if (!visitor.entry(DOTS, 0, 2, parent, EntryType.DIRECTORY, FIRST_SLOT)) return;
    }
    const entry = this.#listed.pop() ?? new DirectoryEntry();
    try {
      let slot = Math.max(0, position - FIRST_SLOT);
      for (; this.#layout.next(slots, slot, entry); slot = entry.nextSlot) {
        directories.note(directory, entry);
        const { name, nameLength, ino, isDirectory, nextSlot } = entry;
        const type = isDirectory ? EntryType.DIRECTORY : EntryType.REGULAR;
        if (ino !== 0 && !visitor.entry(name, 0, nameLength, ino, type, FIRST_SLOT + nextSlot)) return;
      }
    } finally {
      this.#listed.push(entry);
    }
  }

  read(ino: number, position: number, length: number, target: Buffer, targetOffset: number): number {
    const file = this.#regular(ino);
    const there = Math.max(0, Math.min(length, file.size - position));
    if (there > 0) this.#content.read(file, position, there, target, targetOffset);
    return there;
  }

  /** There are no holes. */
  seek(ino: number, position: number, hole: boolean): number {
    const { size } = this.#regular(ino);
    return position >= size ? -1 : hole ? size : position;
  }

  readlink(ino: number): Buffer {
    throw new FileSystemError(Errno.EINVAL, `inode ${ino} is no symbolic link`);
  }

  attributeNames(ino: number): string[] {
    this.#require(ino);
    return [];
  }

  attribute(ino: number): undefined {
    this.#require(ino);
  }

  statistics(out: Statistics): void {
    const { clusterSize, clusters, nameLength } = this.#layout;
    if (this.#free < 0) this.#free = this.#layout.freeClusters(this.#view, this.#parts.table);
    out.blockSize = clusterSize;
    out.blocks = clusters;
    out.blocksFree = this.#free;
    out.blocksAvailable = this.#free;
    out.files = 0;
    out.filesFree = 0;
    out.nameLength = nameLength;
  }

  #forgetParts(): void {
    this.#parts.forget();
    this.#free = -1;
  }

  #entry(ino: number): DirectoryEntry {
    this.#parts.directories.entry(ino, this.#file);
    if (this.#file.isBad) throw new IoError(EIO, `inode ${ino}: its entry is damaged`);
    return this.#file;
  }

  #require(ino: number): void {
    if (ino !== this.rootInode) this.#entry(ino);
  }

  #regular(ino: number): DirectoryEntry {
    const file = ino === this.rootInode ? undefined : this.#entry(ino);
    if (file === undefined || file.isDirectory)
      throw new FileSystemError(Errno.EISDIR, `inode ${ino} is a directory`);
    return file;
  }
}
