/**
 * The map of a volume's inodes and names: what a crawl has found, kept current by what transactions change. It is made
 * for millions of files: typed arrays, some 48 bytes an inode and the bytes of its name (see inode-record.ts for what is
 * kept of a state), 12 and the name for each further one, and no object for either.
 */
import type { InodeState } from "../filesystems/changes.js";
import {
  clearState,
  DIRECTORY,
  fits,
  hasSameState,
  kindOf,
  kindValue,
  NAME,
  NO_STATE,
  RECORD_WORDS,
  readState,
  UNUSUAL,
  writeState,
} from "./inode-record.js";
import { NameHeap, type NameHeapParts } from "./name-heap.js";
import { NumberTable, type NumberTableParts } from "./number-table.js";
import { Records, type RecordsParts } from "./records.js";
import type { VolumeIndex } from "./volume-events.js";

/** A name: the directory that it is in, and its bytes. */
export interface IndexedName {
  readonly directory: number;
  readonly name: Buffer;
}

/** What an index consists of, to be handed to another thread; `transfers` is for postMessage. */
export interface InodeIndexParts {
  readonly rootInode: number;
  readonly pages: NumberTableParts;
  readonly firsts: RecordsParts;
  readonly inodes: RecordsParts;
  readonly heap: NameHeapParts;
  readonly further: NumberTableParts;
  readonly links: RecordsParts;
  readonly freeLink: number;
  readonly children: NumberTableParts;
  readonly kinds: readonly number[];
  readonly unusual: ReadonlyMap<number, InodeState>;
}

/** Inodes of a page: records are there for all of them or none. */
const PAGE = 64;
/** Inode numbers have 32 bits. */
const MOST_INODES = 2 ** 32;
/** Directories that a path may climb through; a hostile guest can have them in a circle. */
const MOST_LEVELS = 4096;
/** Words of a further name: its directory, where its bytes lie (0: free), and the next one's index + 1. */
const LINK_WORDS = 3;
const LINK_DIRECTORY = 0;
const LINK_NAME = 1;
const LINK_NEXT = 2;
/** About what an object of a state takes in a Map, bytes. */
const UNUSUAL_BYTES = 250;

export class InodeIndex implements VolumeIndex {
  readonly rootInode: number;
  /** Page numbers + 1, and which page of `#inodes` each is. */
  readonly #pages: NumberTable;
  /** The first inode of each page. */
  readonly #firsts: Records;
  readonly #inodes: Records;
  #heap: NameHeap;
  /** Of inodes with more than one name: the first of the further ones. */
  readonly #further: NumberTable;
  readonly #links: Records;
  /** The first free one + 1; 0: none. */
  #freeLink: number;
  readonly #children: NumberTable;
  /** What kinds stand for (see kindValue), from kind 1 on. */
  readonly #kinds: number[];
  readonly #unusual: Map<number, InodeState>;
  /** Of the inode that was found last: its record. */
  #words: Uint32Array = new Uint32Array(0);
  #at = 0;

  constructor(rootInode: number, parts?: InodeIndexParts) {
    this.rootInode = rootInode;
    this.#pages = new NumberTable(parts?.pages);
    this.#firsts = new Records(1, parts?.firsts);
    this.#inodes = new Records(RECORD_WORDS, parts?.inodes);
    this.#heap = new NameHeap(parts?.heap);
    this.#further = new NumberTable(parts?.further);
    this.#links = new Records(LINK_WORDS, parts?.links);
    this.#freeLink = parts?.freeLink ?? 0;
    this.#children = new NumberTable(parts?.children);
    this.#kinds = [...(parts?.kinds ?? [])];
    this.#unusual = new Map(parts?.unusual);
  }

  /** The index that these are the parts of. */
  static from(parts: InodeIndexParts): InodeIndex {
    return new InodeIndex(parts.rootInode, parts);
  }

  /** What the index consists of, no copies: it is of no use any more when they have been transferred. */
  toParts(): { parts: InodeIndexParts; transfers: ArrayBuffer[] } {
    const parts = {
      rootInode: this.rootInode,
      pages: this.#pages.toParts(),
      firsts: this.#firsts.toParts(),
      inodes: this.#inodes.toParts(),
      heap: this.#heap.toParts(),
      further: this.#further.toParts(),
      links: this.#links.toParts(),
      freeLink: this.#freeLink,
      children: this.#children.toParts(),
      kinds: this.#kinds,
      unusual: this.#unusual,
    };
    const tables = [parts.pages, parts.further, parts.children].map(({ slots }) => slots);
    const records = [parts.firsts, parts.inodes, parts.links].flatMap(({ slabs }) => slabs);
    const all: Uint32Array[] | Uint8Array[] = [...tables, ...records];
    const transfers = [...all, ...parts.heap.chunks].map(({ buffer }) => buffer as ArrayBuffer);
    return { parts, transfers };
  }

  /** Bytes of memory. */
  get bytes(): number {
    return (
      this.#pages.bytes +
      this.#firsts.bytes +
      this.#inodes.bytes +
      this.#heap.bytes +
      this.#further.bytes +
      this.#links.bytes +
      this.#children.bytes +
      this.#unusual.size * UNUSUAL_BYTES
    );
  }

  /** All inodes that have a state or a name. */
  *inodes(): Generator<number> {
    for (let index = 0; index < this.#inodes.length; index++) {
      const words = this.#inodes.words(index);
      const at = this.#inodes.at(index);
      if (kindOf(words, at) === NO_STATE && words[at + NAME] === 0) continue;
      yield this.#inodeAt(index);
    }
  }

  /** Whether an inode has a state or a name. */
  has(ino: number): boolean {
    if (!this.#find(ino)) return false;
    return kindOf(this.#words, this.#at) !== NO_STATE || this.#words[this.#at + NAME] !== 0;
  }

  /** What is known of an inode; its birth time is not. */
  state(ino: number): InodeState | undefined {
    if (!this.#find(ino)) return undefined;
    const kind = kindOf(this.#words, this.#at);
    if (kind === NO_STATE) return undefined;
    if (kind === UNUSUAL) return this.#unusual.get(ino);
    return readState(this.#words, this.#at, this.#kinds[kind - 1] as number);
  }

  setState(ino: number, state: InodeState): void {
    if (!isInode(ino)) return;
    this.#enter(ino);
    const words = this.#words;
    const at = this.#at;
    if (kindOf(words, at) === UNUSUAL) this.#unusual.delete(ino);
    const kind = fits(state) ? this.#kindFor(kindValue(state)) : UNUSUAL;
    if (kind === UNUSUAL) {
      clearState(words, at, UNUSUAL);
      this.#unusual.set(ino, { ...state, btime: 0, btimeNsec: 0 });
    } else {
      writeState(words, at, state, kind);
    }
  }

  /**
   * Forgets an inode that is not in use any more, with the names that it still has. A directory has none in it then, but
   * for those that a crawl took from blocks that were another file's by the time it came to them.
   */
  drop(ino: number): void {
    if (this.childCount(ino) > 0) {
      for (const [name, child] of this.children([ino]).get(ino) ?? [])
        this.unlink(ino, Buffer.from(name, "latin1"), child);
    }
    if (!this.#find(ino)) return;
    if (kindOf(this.#words, this.#at) === UNUSUAL) this.#unusual.delete(ino);
    clearState(this.#words, this.#at, NO_STATE);
    while (this.#words[this.#at + NAME] !== 0) this.#removeFirst(ino);
    this.#compact();
  }

  link(directory: number, name: Buffer, ino: number): void {
    if (!isInode(directory) || !isInode(ino)) return;
    if (this.#find(ino) && this.#hasName(ino, directory, name)) return;
    this.add(directory, name, 0, name.length, ino);
    this.#compact();
  }

  /** As link, of a name that is known not to be there yet: `length` bytes at `start`. */
  add(directory: number, name: Buffer, start: number, length: number, ino: number): void {
    if (!isInode(directory) || !isInode(ino)) return;
    const offset = this.#heap.add(name, start, length);
    this.#enter(ino);
    const words = this.#words;
    const at = this.#at;
    if (words[at + NAME] === 0) {
      words[at + DIRECTORY] = directory;
      words[at + NAME] = offset;
    } else {
      this.#addLink(ino, directory, offset);
    }
    this.#children.set(directory, this.childCount(directory) + 1);
  }

  unlink(directory: number, name: Buffer, ino: number): void {
    if (!this.#find(ino)) return;
    const words = this.#words;
    const at = this.#at;
    if (words[at + DIRECTORY] === directory && this.#isName(words[at + NAME] as number, name)) {
      this.#removeFirst(ino);
    } else {
      this.#removeLink(ino, directory, name);
    }
    this.#compact();
  }

  /** All names of an inode: the first one first. */
  names(ino: number): IndexedName[] {
    if (!this.#find(ino)) return [];
    const offset = this.#words[this.#at + NAME] as number;
    if (offset === 0) return [];
    const names = [
      { directory: this.#words[this.#at + DIRECTORY] as number, name: Buffer.from(this.#heap.at(offset)) },
    ];
    for (let link = this.#firstLink(ino); link !== 0; link = this.#link(link, LINK_NEXT)) {
      names.push({
        directory: this.#link(link, LINK_DIRECTORY),
        name: Buffer.from(this.#heap.at(this.#link(link, LINK_NAME))),
      });
    }
    return names;
  }

  /** The path of an inode by its first name; undefined if that does not come from the root. */
  path(ino: number): Buffer | undefined {
    return this.#climb(ino, []);
  }

  pathOf(directory: number, name: Buffer): Buffer | undefined {
    return this.#climb(directory, [name]);
  }

  ancestors(directory: number): number[] {
    const above: number[] = [];
    for (let ino = directory; above.length <= MOST_LEVELS; ) {
      above.push(ino);
      if (ino === this.rootInode) return above;
      if (!this.#find(ino) || this.#words[this.#at + NAME] === 0) return [];
      ino = this.#words[this.#at + DIRECTORY] as number;
    }
    return [];
  }

  childCount(directory: number): number {
    return this.#children.get(directory) ?? 0;
  }

  /** See VolumeIndex: all inodes are looked through, unless the directories have no names. */
  children(directories: Iterable<number>): Map<number, Map<string, number>> {
    const children = new Map<number, Map<string, number>>();
    let left = 0;
    for (const directory of directories) {
      if (children.has(directory)) continue;
      children.set(directory, new Map());
      left += this.childCount(directory);
    }
    const doubles: [directory: number, name: string, ino: number][] = [];
    const take = (directory: number, offset: number, ino: number): void => {
      const names = children.get(directory);
      if (names === undefined) return;
      const name = this.#heap.at(offset).toString("latin1");
      const other = names.get(name);
      if (other !== undefined && other !== ino) doubles.push([directory, name, other]);
      names.set(name, ino);
      left--;
    };
    for (let index = 0; left > 0 && index < this.#inodes.length; index++) {
      const words = this.#inodes.words(index);
      const at = this.#inodes.at(index);
      const offset = words[at + NAME] as number;
      if (offset === 0) continue;
      const directory = words[at + DIRECTORY] as number;
      if (children.has(directory)) take(directory, offset, this.#inodeAt(index));
    }
    for (const [ino, first] of this.#further.entries()) {
      if (left <= 0) break;
      for (let link = first; link !== 0; link = this.#link(link, LINK_NEXT))
        take(this.#link(link, LINK_DIRECTORY), this.#link(link, LINK_NAME), ino);
    }
    // A crawl that was ahead of what has been told since may have left two files by one name.
    for (const [directory, name, ino] of doubles) this.unlink(directory, Buffer.from(name, "latin1"), ino);
    return children;
  }

  /** Whether an inode has the same state and the same names in another index, as far as either knows it. */
  isSame(ino: number, other: InodeIndex): boolean {
    const isHere = this.has(ino);
    const isThere = other.has(ino);
    if (!isHere || !isThere) return isHere === isThere;
    return this.#hasSameState(ino, other) && this.#hasSameNames(ino, other);
  }

  /** Both have found the inode. */
  #hasSameState(ino: number, other: InodeIndex): boolean {
    const kind = kindOf(this.#words, this.#at);
    const otherKind = kindOf(other.#words, other.#at);
    if (kind === NO_STATE || otherKind === NO_STATE) return kind === otherKind;
    if (kind === UNUSUAL || otherKind === UNUSUAL) {
      const state = this.#unusual.get(ino);
      const otherState = other.#unusual.get(ino);
      if (state === undefined || otherState === undefined) return false;
      return (Object.keys(state) as (keyof InodeState)[]).every((key) => state[key] === otherState[key]);
    }
    if (this.#kinds[kind - 1] !== other.#kinds[otherKind - 1]) return false;
    return hasSameState(this.#words, this.#at, other.#words, other.#at);
  }

  #hasSameNames(ino: number, other: InodeIndex): boolean {
    if (this.#further.get(ino) !== undefined || other.#further.get(ino) !== undefined) {
      const names = new Set(this.names(ino).map(slot));
      const otherNames = other.names(ino).map(slot);
      return names.size === new Set(otherNames).size && otherNames.every((name) => names.has(name));
    }
    const offset = this.#words[this.#at + NAME] as number;
    const otherOffset = other.#words[other.#at + NAME] as number;
    if (offset === 0 || otherOffset === 0) return offset === otherOffset;
    return (
      this.#words[this.#at + DIRECTORY] === other.#words[other.#at + DIRECTORY] &&
      this.#isName(offset, other.#heap.at(otherOffset))
    );
  }

  /** Finds an inode's record; false if there is none. */
  #find(ino: number): boolean {
    const page = this.#pages.get(Math.floor(ino / PAGE) + 1);
    if (page === undefined) return false;
    const index = page * PAGE + (ino % PAGE);
    this.#words = this.#inodes.words(index);
    this.#at = this.#inodes.at(index);
    return true;
  }

  /** Finds an inode's record, or makes one. */
  #enter(ino: number): void {
    if (this.#find(ino)) return;
    const number = Math.floor(ino / PAGE);
    this.#pages.set(number + 1, this.#inodes.grow(PAGE) / PAGE);
    const first = this.#firsts.grow(1);
    this.#firsts.words(first)[this.#firsts.at(first)] = number * PAGE;
    this.#find(ino);
  }

  /** The inode whose record has this index. */
  #inodeAt(index: number): number {
    const page = Math.floor(index / PAGE);
    return (this.#firsts.words(page)[this.#firsts.at(page)] as number) + (index % PAGE);
  }

  #kindFor(value: number): number {
    const known = this.#kinds.indexOf(value);
    if (known >= 0) return known + 1;
    return this.#kinds.length + 1 < UNUSUAL ? this.#kinds.push(value) : UNUSUAL;
  }

  #isName(offset: number, name: Buffer): boolean {
    return offset !== 0 && this.#heap.at(offset).equals(name);
  }

  /** The inode has been found. */
  #hasName(ino: number, directory: number, name: Buffer): boolean {
    const words = this.#words;
    const at = this.#at;
    if (words[at + DIRECTORY] === directory && this.#isName(words[at + NAME] as number, name)) return true;
    for (let link = this.#firstLink(ino); link !== 0; link = this.#link(link, LINK_NEXT)) {
      if (this.#link(link, LINK_DIRECTORY) === directory && this.#isName(this.#link(link, LINK_NAME), name))
        return true;
    }
    return false;
  }

  /** The first further name of an inode + 1; 0 if there is none. */
  #firstLink(ino: number): number {
    return this.#further.get(ino) ?? 0;
  }

  /** A word of a further name, which is named by its index + 1. */
  #link(link: number, word: number): number {
    return this.#links.words(link - 1)[this.#links.at(link - 1) + word] as number;
  }

  #setLink(link: number, word: number, value: number): void {
    this.#links.words(link - 1)[this.#links.at(link - 1) + word] = value;
  }

  #addLink(ino: number, directory: number, offset: number): void {
    const link = this.#freeLink === 0 ? this.#links.grow(1) + 1 : this.#freeLink;
    if (link === this.#freeLink) this.#freeLink = this.#link(link, LINK_NEXT);
    this.#setLink(link, LINK_DIRECTORY, directory);
    this.#setLink(link, LINK_NAME, offset);
    this.#setLink(link, LINK_NEXT, this.#firstLink(ino));
    this.#further.set(ino, link);
  }

  /** Takes the first name of the inode that has been found; a further one takes its place. */
  #removeFirst(ino: number): void {
    const words = this.#words;
    const at = this.#at;
    this.#forgetName(words[at + DIRECTORY] as number, words[at + NAME] as number);
    const link = this.#firstLink(ino);
    words[at + DIRECTORY] = link === 0 ? 0 : this.#link(link, LINK_DIRECTORY);
    words[at + NAME] = link === 0 ? 0 : this.#link(link, LINK_NAME);
    if (link !== 0) this.#freeFurther(ino, 0, link);
  }

  #removeLink(ino: number, directory: number, name: Buffer): void {
    let before = 0;
    for (let link = this.#firstLink(ino); link !== 0; link = this.#link(link, LINK_NEXT)) {
      const offset = this.#link(link, LINK_NAME);
      if (this.#link(link, LINK_DIRECTORY) === directory && this.#isName(offset, name)) {
        this.#forgetName(directory, offset);
        this.#freeFurther(ino, before, link);
        return;
      }
      before = link;
    }
  }

  /** Takes a further name out of the inode's list, in which `before` (0: none) comes before it. */
  #freeFurther(ino: number, before: number, link: number): void {
    const next = this.#link(link, LINK_NEXT);
    if (before !== 0) this.#setLink(before, LINK_NEXT, next);
    else if (next !== 0) this.#further.set(ino, next);
    else this.#further.delete(ino);
    this.#setLink(link, LINK_NAME, 0);
    this.#setLink(link, LINK_NEXT, this.#freeLink);
    this.#freeLink = link;
  }

  #forgetName(directory: number, offset: number): void {
    this.#heap.release(offset);
    const left = this.childCount(directory) - 1;
    if (left > 0) this.#children.set(directory, left);
    else this.#children.delete(directory);
  }

  /** Puts the names into a new heap, if too much of the old one is no longer used. */
  #compact(): void {
    if (!this.#heap.isWasteful) return;
    const heap = new NameHeap();
    const move = (records: Records, word: number): void => {
      for (let index = 0; index < records.length; index++) {
        const words = records.words(index);
        const at = records.at(index) + word;
        if (words[at] === 0) continue;
        const name = this.#heap.at(words[at] as number);
        words[at] = heap.add(name, 0, name.length);
      }
    };
    move(this.#inodes, NAME);
    move(this.#links, LINK_NAME);
    this.#heap = heap;
  }

  /** The path of what is `below` an inode, last name first; undefined if the inode does not come from the root. */
  #climb(from: number, below: Buffer[]): Buffer | undefined {
    const names = below;
    let ino = from;
    for (let level = 0; ino !== this.rootInode; level++) {
      if (level === MOST_LEVELS || !this.#find(ino)) return undefined;
      const offset = this.#words[this.#at + NAME] as number;
      if (offset === 0) return undefined;
      names.push(this.#heap.at(offset));
      ino = this.#words[this.#at + DIRECTORY] as number;
    }
    return names.length === 0
      ? Buffer.from("/")
      : Buffer.concat(names.reverse().flatMap((name) => [SLASH, name]));
  }
}

const SLASH = Buffer.from("/");

function slot({ directory, name }: IndexedName): string {
  return `${directory}/${name.toString("latin1")}`;
}

function isInode(ino: number): boolean {
  return ino > 0 && ino < MOST_INODES;
}
