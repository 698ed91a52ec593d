/**
 * Listing a directory in one version, however many requests that takes. Names move from block to block as others come and
 * go, so that a position in a later version can be after names that were not told yet, or before names that were: so what
 * is left of a listing when a request ends is remembered, by the position at which the next one goes on.
 */
import { IoError } from "../../../images/io-error.js";
import type { EntryVisitor } from "../../filesystem.js";

/** Names that are remembered of one listing: what comes after them is read when it is asked for. */
const MOST_NAMES = 4096;
/** Positions that are remembered. */
const MOST_POSITIONS = 128;

type List = (directory: number, position: number, visitor: EntryVisitor) => void;

/** What was left of a listing. */
class Rest implements EntryVisitor {
  readonly #names: Buffer[] = [];
  readonly #inos: number[] = [];
  readonly #types: number[] = [];
  readonly #nexts: number[] = [];
  /** Whether there is more after what is here. */
  hasMore = false;
  problem: IoError | undefined;

  get count(): number {
    return this.#inos.length;
  }

  entry(name: Buffer, at: number, length: number, ino: number, type: number, next: number): boolean {
    if (this.count === MOST_NAMES) {
      this.hasMore = true;
      return false;
    }
    this.#names.push(Buffer.from(name.subarray(at, at + length)));
    this.#inos.push(ino);
    this.#types.push(type);
    this.#nexts.push(next);
    return true;
  }

  tell(index: number, visitor: EntryVisitor): boolean {
    const name = this.#names[index] as Buffer;
    const ino = this.#inos[index] as number;
    return visitor.entry(name, 0, name.length, ino, this.#types[index] as number, this.next(index));
  }

  next(index: number): number {
    return this.#nexts[index] as number;
  }
}

const NOTHING_LEFT = new Rest();

/** Passes names on, and notes how far it got. */
class Relay implements EntryVisitor {
  position = 0;
  hasStopped = false;
  #visitor: EntryVisitor | undefined;

  /** Passes them to `visitor` from now on. */
  enter(visitor: EntryVisitor, position: number): void {
    this.#visitor = visitor;
    this.position = position;
    this.hasStopped = false;
  }

  entry(name: Buffer, at: number, length: number, ino: number, type: number, next: number): boolean {
    this.hasStopped = this.#visitor?.entry(name, at, length, ino, type, next) !== true;
    if (!this.hasStopped) this.position = next;
    return !this.hasStopped;
  }
}

export class Listings {
  readonly #list: List;
  readonly #relay = new Relay();
  /** Of each position that is remembered: its directory, what comes there, and from which of that on. */
  readonly #directories = new Float64Array(MOST_POSITIONS);
  readonly #positions = new Float64Array(MOST_POSITIONS);
  readonly #rests: Rest[] = [];
  readonly #indexes = new Int32Array(MOST_POSITIONS);
  #next = 0;

  /** `list` lists the version that there is. */
  constructor(list: List) {
    this.#list = list;
  }

  /** See FileSystem.list. */
  list(directory: number, position: number, visitor: EntryVisitor): void {
    const at = position === 0 ? -1 : this.#find(directory, position);
    if (at < 0) this.#begin(directory, position, visitor);
    else this.#goOn(directory, position, this.#rests[at] as Rest, this.#indexes[at] as number, visitor);
  }

  #begin(directory: number, position: number, visitor: EntryVisitor): void {
    const relay = this.#relay;
    relay.enter(visitor, position);
    let rest = NOTHING_LEFT;
    try {
      this.#list(directory, position, relay);
      if (relay.hasStopped) {
        rest = new Rest();
        this.#list(directory, relay.position, rest);
      }
    } catch (error) {
      if (!(error instanceof IoError) || rest === NOTHING_LEFT) throw error;
      rest.problem = error;
    }
    this.#note(directory, relay.position, rest, 0);
  }

  #goOn(directory: number, from: number, rest: Rest, first: number, visitor: EntryVisitor): void {
    let position = from;
    for (let index = first; index < rest.count; index++) {
      if (!rest.tell(index, visitor)) {
        this.#note(directory, position, rest, index);
        return;
      }
      position = rest.next(index);
    }
    if (rest.hasMore) {
      this.#begin(directory, position, visitor);
      return;
    }
    this.#note(directory, position, rest.problem === undefined ? NOTHING_LEFT : rest, rest.count);
    if (rest.problem !== undefined) throw rest.problem;
  }

  #find(directory: number, position: number): number {
    for (let at = 0; at < this.#rests.length; at++)
      if (this.#positions[at] === position && this.#directories[at] === directory) return at;
    return -1;
  }

  #note(directory: number, position: number, rest: Rest, index: number): void {
    if (position === 0) return;
    let at = this.#find(directory, position);
    if (at < 0) {
      at = this.#next;
      this.#next = (this.#next + 1) % MOST_POSITIONS;
    }
    this.#directories[at] = directory;
    this.#positions[at] = position;
    this.#rests[at] = rest;
    this.#indexes[at] = index;
  }
}
