/**
 * What a reader is granted of the files of one volume, by their inodes: on whatever road one comes to a file, all its names
 * count, and the strictest of them. A map of names says where an inode has names; it is believed only as far as the file
 * system, asked for each of them in the version that is being shown, says the same. So a map that is behind, or made of a
 * guest at work, can hide too much, and never show too much: a file is shown when as many names as it has links are known,
 * and none of them is restricted.
 */
import {
  Attributes,
  Errno,
  type FileSystem,
  FileSystemError,
  FileType,
} from "../../filesystems/filesystem.js";
import { Grant, stricter } from "./grant.js";
import { HIDDEN, type PathState } from "./path-state.js";

/** A name of an inode. */
export interface NameOf {
  readonly directory: number;
  readonly name: Buffer;
}

/** A map of names, current or not. */
export interface NameHints {
  names(ino: number): readonly NameOf[];
  link(directory: number, name: Buffer, ino: number): void;
  unlink(directory: number, name: Buffer, ino: number): void;
}

/** A name that may have come to stand for another inode: from `ino` to `now`; 0: none. */
export interface ChangedName extends NameOf {
  readonly ino: number;
  readonly now: number;
}

/** What a change of names means for those who hold what they were told before. */
export interface Crossed {
  /** A directory has come under other rules, with all that is in it. */
  readonly isAll: boolean;
  /** Inodes of files that may have, and of the directories that list them. */
  readonly inodes: ReadonlySet<number>;
}

/** Files whose last grant is remembered, for those who have them open when the guest deletes them. */
const MOST_GRANTED = 100_000;
/** Files whose grants are kept until the volume changes. */
const MOST_KEPT = 100_000;
/** Directories whose states are remembered. */
const MOST_ANSWERED = 1_000_000;
/** Names that are remembered while a map of all is made. */
const MOST_SINCE = 1_000_000;
/** Directories above each other; more are a loop on a bad disk. */
const DEEPEST = 4096;
/** Links of one file whose names are looked up; one with more stays hidden. */
const MOST_LINKS = 4096;

interface Granted {
  readonly generation: number;
  readonly grant: Grant;
}

export class VolumeAccess {
  readonly #root: PathState;
  readonly #fileSystem: () => FileSystem;
  #hints: NameHints;
  /** Of the version that is being shown. */
  readonly #directories = new Map<number, PathState>();
  readonly #files = new Map<number, Grant>();
  /** By inode, what was answered last. */
  readonly #granted = new Map<number, Granted>();
  readonly #attributes = new Attributes();
  /** The states that directories were found to have last, in whatever version. */
  readonly #answered = new Map<number, PathState>();
  /** Whether one of them has come under other rules, with all that is in it. */
  #hasCrossed = false;
  /** What has become known since a map of all names was begun; undefined: none is being made. */
  #since: ChangedName[] | undefined;

  /** `root`: the state of the volume's root directory. */
  constructor(root: PathState, fileSystem: () => FileSystem, hints: NameHints) {
    this.#root = root;
    this.#fileSystem = fileSystem;
    this.#hints = hints;
  }

  /** Whether the volume itself is hidden. */
  get isHidden(): boolean {
    return this.#root === HIDDEN;
  }

  /** A map of all names is being made: what becomes known meanwhile is not to be lost. */
  expectHints(): void {
    this.#since = [];
  }

  /** Another map of names, of all that there are. */
  setHints(hints: NameHints): void {
    for (const { directory, name, now } of this.#since ?? []) hints.link(directory, name, now);
    this.#since = undefined;
    this.#hints = hints;
    this.changed();
  }

  #link(directory: number, name: Buffer, ino: number): void {
    this.#hints.link(directory, name, ino);
    if (this.#since !== undefined && this.#since.length < MOST_SINCE)
      this.#since.push({ directory, name: Buffer.from(name), ino: 0, now: ino });
  }

  /** What is shown may be of another version from now on. */
  changed(): void {
    this.#directories.clear();
    this.#files.clear();
  }

  /** What is granted of an inode that somebody knows by its number alone. `attributes` are the inode's. */
  ofInode(ino: number, attributes: Attributes): Grant {
    if (isDirectory(attributes)) return this.#stateOf(ino, 0).grant;
    const kept = this.#files.get(ino);
    if (kept !== undefined) return kept;
    if (attributes.nlink === 0) return this.#ofDeleted(ino, attributes.generation);
    return this.#keep(ino, attributes.generation, this.#byNames(ino, attributes.nlink));
  }

  /** As `ofInode`; throws ESTALE for what is hidden. */
  require(ino: number, attributes: Attributes): Grant {
    const grant = this.ofInode(ino, attributes);
    if (grant === Grant.HIDE) throw new FileSystemError(Errno.ESTALE, `inode ${ino} is not shown`);
    return grant;
  }

  /**
   * What is granted of a file by a name in a directory, where the file system has it. `isListed`: the name's bytes are
   * those of the directory, and not another spelling that leads to the same file.
   */
  ofName(directory: number, name: Buffer, ino: number, attributes: Attributes, isListed: boolean): Grant {
    if (!isListed && this.#isOtherSpelling(directory, name, ino))
      return this.#asListed(directory, ino, attributes);
    const state = child(this.#stateOf(directory, 0), name);
    if (state.grant === Grant.HIDE) return Grant.HIDE;
    if (isDirectory(attributes)) {
      const known = this.#stateOf(ino, 0);
      if (known !== HIDDEN || this.#namesOf(ino).length > 0) return known.grant;
      this.#link(directory, name, ino);
      this.#directories.set(ino, state);
      this.#answer(ino, state);
      return state.grant;
    }
    const kept = this.#files.get(ino);
    if (kept === undefined || kept === Grant.HIDE) {
      if (isListed && attributes.nlink === 1) {
        // The one name that it has.
        this.#link(directory, name, ino);
        return this.#keep(ino, attributes.generation, state.grant);
      }
      // What is hidden for want of names is looked at again.
      if (isListed || (attributes.nlink === 1 && this.#namesOf(ino).length === 0)) {
        this.#link(directory, name, ino);
        this.#files.delete(ino);
      }
    }
    return stricter(state.grant, this.ofInode(ino, attributes));
  }

  /**
   * Takes in names that have changed, in the version that is shown now. Tells whose copies of what they were told are to
   * be dropped, as they are granted less or more now; undefined: nobody's.
   */
  take(names: readonly ChangedName[]): Crossed | undefined {
    this.changed();
    /** The states of the names that went; undefined: nobody knows any more. */
    const gone = new Map<number, PathState | undefined>();
    for (const { directory, name, ino } of names) {
      if (ino === 0) continue;
      this.#hints.unlink(directory, name, ino);
      const above = this.#stateOf(directory, 0);
      const state = above === HIDDEN && !this.#isKnown(directory) ? undefined : child(above, name);
      const other = gone.get(ino);
      // Of several names of one file, the strictest counts.
      if (!gone.has(ino) || (other !== undefined && (state === undefined || state.grant > other.grant)))
        gone.set(ino, state);
    }
    const crossed = { isAll: false, inodes: new Set<number>() };
    for (const { directory, name, now } of names) {
      if (now === 0) continue;
      this.#link(directory, name, now);
    }
    this.changed();
    for (const { directory, name, now } of names) {
      if (now === 0) continue;
      const state = child(this.#stateOf(directory, 0), name);
      const hasMoved = gone.has(now);
      const former = gone.get(now);
      gone.delete(now);
      if (this.#answered.has(now)) this.#stateOf(now, 0);
      const isLess = state.grant !== Grant.SHOW || (hasMoved && former?.grant !== Grant.SHOW);
      if (isLess && !this.#isDirectory(now)) this.#cross(now, crossed.inodes);
    }
    // With a restricted name gone, a file may be shown again by its others.
    for (const [ino, state] of gone) {
      if (state?.grant !== Grant.SHOW && this.#namesOf(ino).length > 0) this.#cross(ino, crossed.inodes);
    }
    crossed.isAll = this.#hasCrossed;
    this.#hasCrossed = false;
    return crossed.isAll || crossed.inodes.size > 0 ? crossed : undefined;
  }

  #cross(ino: number, inodes: Set<number>): void {
    this.#granted.delete(ino);
    inodes.add(ino);
    for (const { directory } of this.#namesOf(ino)) inodes.add(directory);
  }

  #isDirectory(ino: number): boolean {
    try {
      this.#fileSystem().stat(ino, this.#attributes);
      return isDirectory(this.#attributes);
    } catch (error) {
      if (error instanceof FileSystemError) return false;
      throw error;
    }
  }

  #isKnown(directory: number): boolean {
    return directory === this.#fileSystem().rootInode || this.#namesOf(directory).length > 0;
  }

  /** Whether a name that leads to an inode is another than the directory lists. */
  #isOtherSpelling(directory: number, name: Buffer, ino: number): boolean {
    const fileSystem = this.#fileSystem();
    return fileSystem.foldsNames(directory) && fileSystem.lookup(directory, name, true) !== ino;
  }

  /** By the names by which a directory lists a file; hidden if it does not. */
  #asListed(directory: number, ino: number, attributes: Attributes): Grant {
    const names: Buffer[] = [];
    this.#fileSystem().list(directory, 0, {
      entry: (name, offset, length, found) => {
        if (found === ino) names.push(Buffer.from(name.subarray(offset, offset + length)));
        return names.length < MOST_LINKS;
      },
    });
    let grant: Grant = names.length === 0 ? Grant.HIDE : Grant.SHOW;
    for (const name of names) grant = stricter(grant, this.ofName(directory, name, ino, attributes, true));
    return grant;
  }

  /** Somebody may have had it open when it was deleted. */
  #ofDeleted(ino: number, generation: number): Grant {
    const granted = this.#granted.get(ino);
    return granted?.generation === generation ? granted.grant : Grant.HIDE;
  }

  #keep(ino: number, generation: number, grant: Grant): Grant {
    if (this.#files.size >= MOST_KEPT) this.#files.clear();
    this.#files.set(ino, grant);
    this.#granted.delete(ino);
    if (grant === Grant.HIDE) return grant;
    if (this.#granted.size >= MOST_GRANTED) {
      const [oldest] = this.#granted.keys();
      this.#granted.delete(oldest as number);
    }
    this.#granted.set(ino, { generation, grant });
    return grant;
  }

  /** By all names that a file has; hidden if not all of them are known. */
  #byNames(ino: number, links: number): Grant {
    if (links > MOST_LINKS) return Grant.HIDE;
    const names = this.#namesOf(ino);
    if (names.length < links) return Grant.HIDE;
    let grant: Grant = Grant.SHOW;
    for (const { directory, name } of names)
      grant = stricter(grant, child(this.#stateOf(directory, 0), name).grant);
    return grant;
  }

  /** The state of a directory, by the one that it is in. */
  #stateOf(directory: number, depth: number): PathState {
    if (directory === this.#fileSystem().rootInode) return this.#root;
    const known = this.#directories.get(directory);
    if (known !== undefined) return known;
    if (depth >= DEEPEST) return HIDDEN;
    // In a circle nothing is shown.
    this.#directories.set(directory, HIDDEN);
    let state: PathState | undefined;
    for (const { directory: above, name } of this.#namesOf(directory)) {
      const next = child(this.#stateOf(above, depth + 1), name);
      if (state === undefined || next.grant > state.grant) state = next;
    }
    this.#directories.set(directory, state ?? HIDDEN);
    if (state !== undefined) this.#answer(directory, state);
    return state ?? HIDDEN;
  }

  /** Nobody is told of anything in a directory whose state has not been found out here. */
  #answer(directory: number, state: PathState): void {
    const before = this.#answered.get(directory);
    if (before === state) return;
    const isAlike = before?.isFinal === true && state.isFinal && before.grant === state.grant;
    if (before !== undefined && !isAlike) this.#hasCrossed = true;
    if (this.#answered.size >= MOST_ANSWERED) {
      this.#answered.clear();
      this.#hasCrossed = true;
    }
    this.#answered.set(directory, state);
  }

  /** The names of the map that the file system has, too, in that spelling: each is to count once, and as it is listed. */
  #namesOf(ino: number): NameOf[] {
    const fileSystem = this.#fileSystem();
    return this.#hints.names(ino).filter(({ directory, name }) => {
      try {
        return fileSystem.lookup(directory, name, true) === ino;
      } catch (error) {
        // A directory that is none any more, or cannot be read: nothing is known by it.
        if (error instanceof FileSystemError) return false;
        throw error;
      }
    });
  }
}

/** The state of a name in a directory with this state. */
function child(state: PathState, name: Buffer): PathState {
  return state.isFinal ? state : state.next(name.toString());
}

function isDirectory({ mode }: Attributes): boolean {
  return (mode & FileType.MASK) === FileType.DIRECTORY;
}
