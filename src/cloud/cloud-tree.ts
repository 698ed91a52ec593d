/** The tree that users see: /<host>/<guest>/<path in the guest>. */

import {
  Attributes,
  EntryType,
  type EntryVisitor,
  Errno,
  FileSystemError,
  FileType,
} from "../filesystems/filesystem.js";
import { IoError } from "../images/io-error.js";
import { attributeNameInGuest, attributeNamesAsSeen } from "./attributes.js";
import { CloudDirectory } from "./directory.js";
import { EVENTS, EVENTS_BEFORE, type EventFiles } from "./event-files.js";
import { digestOf, isEvents, placeOf } from "./ids.js";
import { linkTarget } from "./link-target.js";
import { Place } from "./place.js";
import { Grant } from "./policy/grant.js";
import { own } from "./policy/ownership.js";
import type { ReadMarks } from "./read-marks.js";
import type { Entry, Statistics, Tree, TreeVisitor } from "./tree.js";

/** The name, in a guest's root, of the directory that has every volume on its own. */
export const VOLUMES = ".volumes";
const VOLUMES_NAME = Buffer.from(VOLUMES);
const DOT = Buffer.from(".");
const DOT_DOT = Buffer.from("..");
/** Positions in a directory from which on its files of events are listed: beyond those of any file system. */
const EVENTS_POSITION = 2 ** 53 - 4;
const EVENTS_LISTED = [EVENTS, EVENTS_BEFORE].map((name) => Buffer.from(name));
/** Directories of the tree's own change when guests come and go. */
const DIRECTORY_TIMEOUT = 1000;

/** How a tree is kept at what its guests are: see Tree. */
export interface Upkeep {
  /** Takes in what has changed in the guests. */
  refresh(): void;
  holds(): boolean;
}

/** Told of reads of files that have changed lately. */
export interface ChangedReads {
  /** By their ctime, s since the epoch. */
  changedSince: number;
  read(high: number, low: number): void;
}

export class CloudTree implements Tree {
  readonly #places: ReadonlyMap<number, Place>;
  readonly #directories: ReadonlyMap<number, CloudDirectory>;
  readonly #upkeep: Upkeep;
  readonly #started = Date.now() / 1000;
  readonly #attributes = new Attributes();
  readonly #entries = new PlaceEntries();
  readonly #events: EventFiles | undefined;
  readonly #eventsAreListed: boolean;
  readonly #eventsEntry: Entry = emptyEntry();
  #readers: ChangedReads = { changedSince: Number.POSITIVE_INFINITY, read: () => {} };
  #marks: ReadMarks | undefined;

  /** `events` are listed only if that is asked for. */
  constructor(
    places: ReadonlyMap<number, Place>,
    directories: ReadonlyMap<number, CloudDirectory>,
    upkeep: Upkeep,
    events: EventFiles | undefined,
    eventsAreListed: boolean,
  ) {
    this.#events = events;
    this.#eventsAreListed = eventsAreListed;
    this.#places = places;
    this.#directories = directories;
    this.#upkeep = upkeep;
  }

  /** Has reads of files told that have changed lately. */
  tellReads(readers: ChangedReads): void {
    this.#readers = readers;
  }

  /** Has each read of a file marked. */
  markReads(marks: ReadMarks): void {
    this.#marks = marks;
  }

  refresh(): void {
    this.#upkeep.refresh();
  }

  holds(): boolean {
    return this.#upkeep.holds();
  }

  lookup(high: number, low: number, name: Buffer, out: Entry): boolean {
    const place = this.#place(high);
    const segment = this.#events?.named(name);
    if (place === undefined) {
      const directory = this.#directory(low);
      if (segment !== undefined) return this.#events?.lookup(directory, low, segment, out) ?? false;
      const child = directory.child(name.toString("latin1"));
      if (child === undefined || isHidden(child)) return false;
      this.#fill(child, out);
      return true;
    }
    this.#require(place, high, low);
    if (segment !== undefined) return this.#events?.lookup(place, low, segment, out) ?? false;
    if (place.volumes !== undefined && low === place.fileSystem.rootInode && name.equals(VOLUMES_NAME)) {
      this.#fillDirectory(place.volumes, out);
      return true;
    }
    let ino = place.fileSystem.lookup(low, name, true);
    const isListed = ino !== 0;
    if (!isListed && place.fileSystem.foldsNames(low)) ino = place.fileSystem.lookup(low, name);
    if (ino === 0) return false;
    const cover = place.covers.get(ino);
    if (cover !== undefined) {
      if (isHidden(cover)) return false;
      this.#fillInode(cover, cover.fileSystem.rootInode, out);
      cover.noteParent(cover.fileSystem.rootInode, low);
    } else {
      this.#fillInode(place, ino, out);
      if (place.access?.ofName(low, name, ino, out.attributes, false) === Grant.HIDE) return false;
      if (needsParent(out)) place.noteParent(ino, low);
      if (isLink(out)) setLinkSize(place, ino, out);
    }
    // Changes are told by the names that directories list: what the kernel knows by another spelling it is to ask for.
    if (!isListed) out.timeout = 0;
    return true;
  }

  parent(high: number, low: number, out: Entry): void {
    if (isEvents(high)) throw new FileSystemError(Errno.ENOTDIR, "a file of events");
    const place = this.#place(high);
    if (place === undefined) {
      const directory = this.#directory(low);
      this.#fill(directory.parent ?? directory, out);
      return;
    }
    this.#require(place, high, low);
    this.#fillParent(place, low, out);
  }

  stat(high: number, low: number, out: Entry): void {
    if (isEvents(high)) {
      this.#eventFiles().stat(high, low, out);
      return;
    }
    const place = this.#place(high);
    if (place === undefined) {
      this.#fillDirectory(this.#directory(low), out);
      return;
    }
    place.fileSystem.stat(low, out.attributes);
    requireGeneration(place, high, low, out.attributes.generation);
    place.access?.require(low, out.attributes);
    this.#fillNode(place, low, out);
    if (isLink(out)) setLinkSize(place, low, out);
    out.high = high;
  }

  entry(inoHigh: number, ino: number, out: Entry): void {
    if (isEvents(inoHigh)) {
      this.#eventFiles().stat(inoHigh, ino, out);
      return;
    }
    if (inoHigh === 0) {
      this.#fillDirectory(this.#directory(ino), out);
      return;
    }
    const place = this.#places.get(inoHigh);
    if (place === undefined) throw stale(ino);
    this.#fillInode(place, ino, out);
    this.#entries.filled = place;
    this.#entries.filledInode = needsParent(out) ? ino : 0;
    // How long its text is depends on more than can be looked at in the midst of a listing: the kernel is to ask.
    if (isLink(out)) out.timeout = 0;
  }

  list(high: number, low: number, position: number, visitor: TreeVisitor): void {
    const place = this.#place(high);
    if (place === undefined) {
      const directory = this.#directory(low);
      if (position < EVENTS_POSITION && !this.#listDirectory(directory, position, visitor)) return;
      this.#listEvents(directory, low, position, visitor);
      return;
    }
    this.#require(place, high, low);
    if (position >= EVENTS_POSITION) {
      this.#listEvents(place, low, position, visitor);
      return;
    }
    const entries = this.#entries;
    entries.place = place;
    entries.directory = low;
    entries.visitor = visitor;
    entries.isRoot = low === place.fileSystem.rootInode;
    entries.isStopped = false;
    place.fileSystem.list(low, position, entries);
    if (!entries.isStopped) this.#listEvents(place, low, position, visitor);
  }

  read(
    high: number,
    low: number,
    position: number,
    length: number,
    target: Buffer,
    targetOffset: number,
  ): number {
    if (isEvents(high)) {
      return this.#eventFiles().read(high, low, position, length, target, targetOffset);
    }
    const place = this.#readablePlace(high, low, Errno.EISDIR);
    this.#marks?.mark(high, low);
    if (this.#attributes.ctime >= this.#readers.changedSince) this.#readers.read(high, low);
    return place.fileSystem.read(low, position, length, target, targetOffset);
  }

  seek(high: number, low: number, position: number, hole: boolean): number {
    if (isEvents(high)) return this.#seekEvents(high, low, position, hole);
    return this.#readablePlace(high, low, Errno.EISDIR).fileSystem.seek(low, position, hole);
  }

  readlink(high: number, low: number): Buffer {
    if (isEvents(high)) throw new FileSystemError(Errno.EINVAL, "a file of events");
    return linkTarget(this.#readablePlace(high, low, Errno.EINVAL), low);
  }

  attributeNames(high: number, low: number): string[] {
    if (isEvents(high)) return [];
    const place = this.#place(high);
    if (place === undefined) return [];
    this.#require(place, high, low);
    return attributeNamesAsSeen(place.fileSystem.attributeNames(low));
  }

  attribute(high: number, low: number, name: string): Buffer | undefined {
    if (isEvents(high)) return undefined;
    const place = this.#place(high);
    if (place === undefined) return undefined;
    this.#require(place, high, low);
    const own = place.fileSystem.attribute(low, name);
    if (own !== undefined) return own;
    const foreign = attributeNameInGuest(name);
    return foreign === undefined ? undefined : place.fileSystem.attribute(low, foreign);
  }

  statistics(high: number, low: number, out: Statistics): void {
    let shown: Place | CloudDirectory | undefined;
    if (!isEvents(high)) shown = this.#place(high) ?? this.#directories.get(low);
    // `.volumes` has the numbers of the guest that it belongs to.
    if (shown instanceof CloudDirectory && shown.parent instanceof Place) shown = shown.parent;
    if (shown instanceof Place) {
      shown.fileSystem.statistics(out);
      return;
    }
    out.blockSize = 4096;
    out.blocks = 0;
    out.blocksFree = 0;
    out.blocksAvailable = 0;
    out.files = 0;
    out.filesFree = 0;
    out.nameLength = 255;
  }

  told(high: number, low: number, generation: number): void {
    if (!isEvents(high)) this.#places.get(placeOf(high))?.noteTold(high, low, generation);
  }

  forgotten(high: number, low: number, times: number): void {
    if (!isEvents(high)) this.#places.get(placeOf(high))?.told.forget(low, digestOf(high), times);
  }

  /** The place of a node; undefined for a directory of the tree's own. */
  #place(high: number): Place | undefined {
    if (high === 0) return undefined;
    const place = this.#places.get(placeOf(high));
    if (place === undefined) throw new FileSystemError(Errno.ESTALE, "the volume is no longer there");
    return place;
  }

  /** The place of a file whose contents are asked for. */
  #readablePlace(high: number, low: number, errnoForDirectories: number): Place {
    const place = this.#place(high);
    if (place === undefined) throw new FileSystemError(errnoForDirectories, "a directory of the tree's own");
    const grant = this.#require(place, high, low);
    const isDirectory = (this.#attributes.mode & FileType.MASK) === FileType.DIRECTORY;
    if (grant !== Grant.SHOW && !isDirectory)
      throw new FileSystemError(Errno.EACCES, `of inode ${low} only the attributes are shown`);
    return place;
  }

  /** Throws ESTALE if the node is no longer there, or not to be seen. */
  #require(place: Place, high: number, low: number): Grant {
    place.fileSystem.stat(low, this.#attributes);
    requireGeneration(place, high, low, this.#attributes.generation);
    return place.access?.require(low, this.#attributes) ?? Grant.SHOW;
  }

  #directory(id: number): CloudDirectory {
    const directory = this.#directories.get(id);
    if (directory === undefined) throw stale(id);
    return directory;
  }

  #fill(shown: Place | CloudDirectory, out: Entry): void {
    if (shown instanceof Place) this.#fillInode(shown, shown.fileSystem.rootInode, out);
    else this.#fillDirectory(shown, out);
  }

  #fillInode(place: Place, ino: number, out: Entry): void {
    place.fileSystem.stat(ino, out.attributes);
    this.#fillNode(place, ino, out);
  }

  /** Fills in what is about an inode but its attributes, which are there. */
  #fillNode(place: Place, ino: number, out: Entry): void {
    const { attributes } = out;
    out.high = place.nodeHigh(ino, attributes.generation);
    out.low = ino;
    out.generation = attributes.generation;
    out.inoHigh = place.id;
    // All names of a link count for what it may say, so the kernel is to ask for each of them.
    out.timeout = isLink(out) && attributes.nlink > 1 ? 0 : place.timeout;
    if (place.ownership !== undefined) own(place.ownership, attributes);
  }

  #fillParent(place: Place, ino: number, out: Entry): void {
    const { fileSystem, parent } = place;
    if (ino !== fileSystem.rootInode) this.#fillInode(place, fileSystem.parent(ino), out);
    else if (parent instanceof CloudDirectory) {
      // `.volumes` is below the guest's root, whose own ".." is the host.
      this.#fillDirectory(parent, out);
    } else this.#fillParent(parent.place, parent.covered, out);
  }

  #fillDirectory(directory: CloudDirectory, out: Entry): void {
    const { attributes } = out;
    out.high = 0;
    out.low = directory.id;
    out.generation = 0;
    out.inoHigh = 0;
    out.timeout = DIRECTORY_TIMEOUT;
    attributes.ino = directory.id;
    attributes.generation = 0;
    attributes.mode = FileType.DIRECTORY | 0o555;
    attributes.nlink = 2 + directory.children.size;
    attributes.uid = 0;
    attributes.gid = 0;
    attributes.major = 0;
    attributes.minor = 0;
    attributes.size = 0;
    attributes.blocks = 0;
    attributes.blksize = 4096;
    const seconds = Math.floor(this.#started);
    attributes.atime = attributes.mtime = attributes.ctime = attributes.btime = seconds;
    attributes.atimeNsec = attributes.mtimeNsec = attributes.ctimeNsec = attributes.btimeNsec = 0;
  }

  /** Returns whether the visitor took them all. */
  #listDirectory(directory: CloudDirectory, position: number, visitor: TreeVisitor): boolean {
    let at = 0;
    const above = directory.parent ?? directory;
    if (position <= at++ && !visitor.entry(DOT, 0, 1, 0, directory.id, EntryType.DIRECTORY, at)) return false;
    if (position <= at++ && !visitEntry(visitor, DOT_DOT, above, at)) return false;
    for (const [name, child] of directory.children) {
      if (isHidden(child)) {
        at++;
        continue;
      }
      if (position <= at++ && !visitEntry(visitor, Buffer.from(name, "latin1"), child, at)) return false;
    }
    return true;
  }

  #listEvents(owner: Place | CloudDirectory, ino: number, position: number, visitor: TreeVisitor): void {
    if (!this.#eventsAreListed || this.#events === undefined) return;
    const entry = this.#eventsEntry;
    for (const [index, name] of EVENTS_LISTED.entries()) {
      const segment = index === 0 ? "current" : "previous";
      if (position > EVENTS_POSITION + index || !this.#events.lookup(owner, ino, segment, entry)) continue;
      const next = EVENTS_POSITION + index + 1;
      if (!visitor.entry(name, 0, name.length, entry.inoHigh, ino, EntryType.REGULAR, next)) return;
    }
  }

  #eventFiles(): EventFiles {
    if (this.#events === undefined) throw new FileSystemError(Errno.ESTALE, "events are not shown");
    return this.#events;
  }

  /** A file of events has no holes. */
  #seekEvents(high: number, low: number, position: number, hole: boolean): number {
    this.#eventFiles().stat(high, low, this.#eventsEntry);
    const { size } = this.#eventsEntry.attributes;
    return position >= size ? -1 : hole ? size : position;
  }
}

function emptyEntry(): Entry {
  return { high: 0, low: 0, generation: 0, inoHigh: 0, attributes: new Attributes(), timeout: 0 };
}

/** Where it lies counts for what links say: those in a directory, or the link itself. */
function needsParent({ attributes }: Entry): boolean {
  const type = attributes.mode & FileType.MASK;
  return type === FileType.DIRECTORY || type === FileType.LINK;
}

function isLink({ attributes }: Entry): boolean {
  return (attributes.mode & FileType.MASK) === FileType.LINK;
}

/** A link is as long as the text that is shown (POSIX, st_size): who reads it by that length would get a part. */
function setLinkSize(place: Place, ino: number, out: Entry): void {
  try {
    out.attributes.size = linkTarget(place, ino).length;
  } catch (error) {
    if (!(error instanceof IoError)) throw error;
    // Reading it gives the error; where it lies may become known.
    out.timeout = 0;
  }
}

function isHidden(child: Place | CloudDirectory): boolean {
  return child instanceof Place && child.access?.isHidden === true;
}

function visitEntry(
  visitor: TreeVisitor,
  name: Buffer,
  shown: Place | CloudDirectory,
  next: number,
): boolean {
  const isPlace = shown instanceof Place;
  const ino = isPlace ? shown.fileSystem.rootInode : shown.id;
  return visitor.entry(name, 0, name.length, isPlace ? shown.id : 0, ino, EntryType.DIRECTORY, next);
}

/** Hands a file system's entries on, with what covers them in their stead. */
class PlaceEntries implements EntryVisitor {
  place!: Place;
  directory = 0;
  visitor!: TreeVisitor;
  isRoot = false;
  /** Whether the visitor wanted no more. */
  isStopped = false;
  /** What the visitor had filled last, while it was told of an entry. */
  filled: Place | undefined;
  filledInode = 0;
  readonly #attributes = new Attributes();

  entry(
    name: Buffer,
    nameOffset: number,
    nameLength: number,
    ino: number,
    type: number,
    next: number,
  ): boolean {
    this.filledInode = 0;
    const isTaken = this.#tell(name, nameOffset, nameLength, ino, type, next);
    // Only what was taken has become known in this directory.
    this.isStopped = !isTaken;
    if (isTaken && this.filledInode !== 0 && this.filled !== undefined) {
      this.filled.noteParent(this.filledInode, this.directory);
    }
    return isTaken;
  }

  #tell(
    name: Buffer,
    nameOffset: number,
    nameLength: number,
    ino: number,
    type: number,
    next: number,
  ): boolean {
    const { place, visitor } = this;
    if (this.isRoot && nameLength === 2 && name[nameOffset] === 0x2e && name[nameOffset + 1] === 0x2e) {
      const { parent } = place;
      if (parent instanceof CloudDirectory) return visitEntry(visitor, DOT_DOT, parent, next);
      const above = parent.place;
      return visitor.entry(
        name,
        nameOffset,
        nameLength,
        above.id,
        above.fileSystem.parent(parent.covered),
        type,
        next,
      );
    }
    const isDot =
      nameLength <= 2 && name[nameOffset] === 0x2e && (nameLength === 1 || name[nameOffset + 1] === 0x2e);
    if (place.covers.size !== 0) {
      const cover = place.covers.get(ino);
      if (cover !== undefined && !isDot) {
        if (isHidden(cover)) return true;
        const root = cover.fileSystem.rootInode;
        return visitor.entry(name, nameOffset, nameLength, cover.id, root, EntryType.DIRECTORY, next);
      }
    }
    if (place.access !== undefined && !isDot && !this.#isShown(name, nameOffset, nameLength, ino))
      return true;
    return visitor.entry(name, nameOffset, nameLength, place.id, ino, type, next);
  }

  #isShown(name: Buffer, nameOffset: number, nameLength: number, ino: number): boolean {
    const { place, directory } = this;
    try {
      place.fileSystem.stat(ino, this.#attributes);
    } catch (error) {
      // What cannot be read cannot be judged.
      if (error instanceof FileSystemError) return false;
      throw error;
    }
    const bytes = name.subarray(nameOffset, nameOffset + nameLength);
    return place.access?.ofName(directory, bytes, ino, this.#attributes, true) !== Grant.HIDE;
  }
}

/** Throws ESTALE unless the inode is still the file that the node was made for. */
function requireGeneration(place: Place, high: number, ino: number, generation: number): void {
  if (!place.told.isOf(ino, digestOf(high), generation)) throw stale(ino);
}

function stale(ino: number): FileSystemError {
  return new FileSystemError(Errno.ESTALE, `inode ${ino} is another file now`);
}
