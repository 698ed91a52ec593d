/** Directories: their entries, names, and where the entry of each of them lies, which nothing on the disk tells. */
import { EIO, IoError } from "../../images/io-error.js";
import { Errno, FileSystemError } from "../filesystem.js";
import type { Blocks } from "./blocks.js";
import type { Chains } from "./chains.js";
import type { ClusterTable } from "./cluster-table.js";
import { DirectoryEntry } from "./entry.js";
import { type DirectoryPlace, type Layout, SLOT, type Slots } from "./layout.js";
import { DirectorySlots, SlotsFrom } from "./slots.js";

/** Names of one directory, and of all, that are remembered. */
const MOST_NAMES = 100_000;
const MOST_ALL_NAMES = 400_000;

/** A directory as it was when it was last read. */
interface Scanned {
  /**
   * Inodes by what names that mean the same have in common, negative ones where that is not how the directory lists the
   * name; undefined: there are too many.
   */
  readonly names: Map<string, number> | undefined;
  /** How it lists those, one character a byte. */
  readonly spellings: ReadonlySet<string>;
  readonly subdirectories: number;
}

/** Where a directory's own entry is. */
interface Home {
  readonly parent: number;
  /** In slots of the volume. */
  readonly place: number;
}

export class Directories {
  readonly #layout: Layout;
  readonly #blocks: Blocks;
  readonly #chains: Chains;
  readonly #homes = new Map<number, Home>();
  readonly #scanned = new Map<number, Scanned>();
  #names = 0;
  /** Whether the whole tree has been looked through since something may have changed. */
  #isWalked = false;
  readonly #entry = new DirectoryEntry();
  readonly #from: SlotsFrom;

  constructor(layout: Layout, blocks: Blocks, table: ClusterTable, chains: Chains) {
    this.#layout = layout;
    this.#blocks = blocks;
    this.#chains = chains;
    this.#from = new SlotsFrom(layout, blocks, table);
  }

  /** Something may have changed. (Where directories are is looked at each time.) */
  forget(): void {
    this.#scanned.clear();
    this.#names = 0;
    this.#isWalked = false;
  }

  /**
   * Reads the entry of a file, or of a directory other than the root. Its names are not filled in. Throws IoError, ESTALE
   * if there is none.
   */
  entry(ino: number, out: DirectoryEntry): void {
    const cluster = this.#layout.directoryCluster(ino, this.#blocks);
    if (cluster !== 0) {
      this.#directoryEntry(ino, out);
      return;
    }
    const first = this.#layout.firstPlace(ino);
    for (let n = 0; n < this.#layout.places; n++) if (this.entryAt(first + n, out) && out.ino === ino) return;
    throw new FileSystemError(Errno.ESTALE, `there is no file ${ino}`);
  }

  /** Whether a number is that of a directory, as far as numbers tell. Throws IoError. */
  isDirectory(ino: number): boolean {
    return ino === this.#layout.rootInode || this.#layout.directoryCluster(ino, this.#blocks) !== 0;
  }

  /** The slots of a directory. Throws IoError: ENOTDIR, ESTALE. */
  slots(ino: number): Slots {
    return new DirectorySlots(this.#layout, this.#blocks, this.#chains, this.place(ino));
  }

  /** Where a directory lies. Throws IoError: ENOTDIR, ESTALE. */
  place(ino: number): DirectoryPlace {
    if (ino === this.#layout.rootInode) return this.#layout.root;
    const entry = this.#entry;
    this.entry(ino, entry);
    if (!entry.isDirectory) throw new FileSystemError(Errno.ENOTDIR, `inode ${ino} is no directory`);
    if (entry.isBad) throw new IoError(EIO, `directory ${ino}: a bad entry`);
    return placeOf(entry);
  }

  /** Bytes that a directory takes. Throws IoError. */
  size(place: DirectoryPlace): number {
    if (place.size !== undefined || place.isContiguous) return place.size ?? 0;
    return this.#chains.length(place.firstCluster) * this.#layout.clusterSize;
  }

  /** The parent of a directory other than the root. Throws IoError. */
  parent(ino: number): number {
    this.#directoryEntry(ino, this.#entry);
    return this.#homes.get(ino)?.parent ?? this.#layout.rootInode;
  }

  /** The inode that has a name in a directory; 0 if there is none. Throws IoError. */
  lookup(directory: number, name: Buffer, asListed = false): number {
    const key = this.#layout.key(name);
    if (key === undefined) return 0;
    const { names, spellings } = this.#scan(directory);
    if (names !== undefined) {
      const found = names.get(key) ?? 0;
      if (!asListed) return Math.abs(found);
      const spelling = name.toString("latin1");
      if (found > 0) return spelling === key ? found : 0;
      return spellings.has(spelling) ? -found : 0;
    }
    const entry = this.#entry;
    const slots = this.slots(directory);
    for (let slot = 0; this.#layout.next(slots, slot, entry); slot = entry.nextSlot) {
      const listed = entry.name.subarray(0, entry.nameLength);
      if (asListed ? !listed.equals(name) : this.#layout.key(listed) !== key) {
        if (asListed || entry.aliasLength === 0) continue;
        if (this.#layout.key(entry.alias.subarray(0, entry.aliasLength)) !== key) continue;
      }
      this.note(directory, entry);
      return entry.ino;
    }
    return 0;
  }

  /** How many directories are in one. Throws IoError. */
  subdirectories(directory: number): number {
    return this.#scan(directory).subdirectories;
  }

  /** Remembers where a directory's entry is. */
  note(parent: number, entry: DirectoryEntry): void {
    if (!entry.isDirectory || entry.isBad) return;
    const home = this.#homes.get(entry.ino);
    if (home?.parent === parent && home.place === entry.place) return;
    this.#homes.set(entry.ino, { parent, place: entry.place });
  }

  #directoryEntry(ino: number, out: DirectoryEntry): void {
    if (this.#isAtHome(ino, out)) return;
    this.#walk();
    if (!this.#isAtHome(ino, out)) throw new FileSystemError(Errno.ESTALE, `there is no directory ${ino}`);
  }

  #isAtHome(ino: number, out: DirectoryEntry): boolean {
    const home = this.#homes.get(ino);
    return home !== undefined && this.entryAt(home.place, out) && out.isDirectory && out.ino === ino;
  }

  /** Reads the entry whose own slot lies at a place on the volume; false if there is none. Throws IoError. */
  entryAt(place: number, out: DirectoryEntry): boolean {
    const from = this.#from;
    from.move(place, false);
    if (!from.isThere) return false;
    const isOne = this.#layout.next(from, 0, out) && out.slot === 0;
    if (isOne && !out.isBad) return true;
    // What it goes on with in the next cluster: the directory may be one that has no chain.
    if (!from.reachesOver) return isOne;
    from.move(place, true);
    return this.#layout.next(from, 0, out) && out.slot === 0;
  }

  #scan(directory: number): Scanned {
    const known = this.#scanned.get(directory);
    if (known !== undefined) return known;
    const slots = this.slots(directory);
    const entry = this.#entry;
    let names: Map<string, number> | undefined = new Map();
    const spellings = new Set<string>();
    let subdirectories = 0;
    for (let slot = 0; this.#layout.next(slots, slot, entry); slot = entry.nextSlot) {
      if (entry.isDirectory) {
        subdirectories++;
        this.note(directory, entry);
      }
      if (names === undefined) continue;
      this.#enter(names, entry.name, entry.nameLength, entry.ino, spellings);
      if (entry.aliasLength > 0) this.#enter(names, entry.alias, entry.aliasLength, entry.ino, undefined);
      if (names.size > MOST_NAMES) {
        names = undefined;
        spellings.clear();
      }
    }
    const size = (names?.size ?? 0) + spellings.size;
    this.#names += size;
    if (this.#names > MOST_ALL_NAMES) {
      this.#scanned.clear();
      this.#names = size;
    }
    const scanned = { names, spellings, subdirectories };
    this.#scanned.set(directory, scanned);
    return scanned;
  }

  /** `spellings`: of names that are listed. */
  #enter(
    names: Map<string, number>,
    name: Buffer,
    length: number,
    ino: number,
    spellings: Set<string> | undefined,
  ): void {
    const key = this.#layout.key(name.subarray(0, length));
    if (key === undefined || names.has(key)) return;
    const spelling = name.toString("latin1", 0, length);
    const isKey = spellings !== undefined && spelling === key;
    if (!isKey) spellings?.add(spelling);
    names.set(key, isKey ? ino : -ino);
  }

  /** Looks through all directories, each once; no more slots than the volume can have. */
  #walk(): void {
    if (this.#isWalked) return;
    this.#isWalked = true;
    const slotsOf = (ino: number) => this.slots(ino);
    walkTree(this.#layout, slotsOf, (directory, entry) => this.note(directory, entry));
  }
}

/** Where a directory lies by its entry. */
export function placeOf(entry: DirectoryEntry): DirectoryPlace {
  return {
    firstCluster: entry.firstCluster,
    isContiguous: entry.isContiguous,
    size: entry.size === 0 ? undefined : entry.size,
  };
}

/**
 * Visits the entries of all directories, parents before what is in them, each directory once. `slotsOf` gives the slots of
 * a directory that has been visited as an entry; what it throws, and what reading throws, is told to `fail`.
 */
export function walkTree(
  layout: Layout,
  slotsOf: (ino: number) => Slots,
  visit: (directory: number, entry: DirectoryEntry) => void,
  fail: (directory: number, error: IoError) => void = () => {},
): void {
  const seen = new Set([layout.rootInode]);
  const directories = [layout.rootInode];
  const entry = new DirectoryEntry();
  // No slot is in two directories.
  let left = (layout.clusters * layout.clusterSize) / SLOT + layout.mostSlots;
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    let slot = 0;
    try {
      const slots = slotsOf(directory);
      for (; left > 0 && layout.next(slots, slot, entry); slot = entry.nextSlot) {
        left -= entry.nextSlot - slot;
        const { isDirectory, isBad, ino } = entry;
        visit(directory, entry);
        if (!isDirectory || isBad || seen.has(ino)) continue;
        seen.add(ino);
        directories.push(ino);
      }
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      fail(directory, error);
    }
    left -= layout.clusterSize / SLOT;
  }
}
