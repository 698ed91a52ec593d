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

/** Passes names on, and notes how far it got. */
class Relay implements EntryVisitor {
  position: number;
  hasStopped = false;
  readonly #visitor: EntryVisitor;

  constructor(visitor: EntryVisitor, position: number) {
    this.#visitor = visitor;
    this.position = position;
  }

  entry(name: Buffer, at: number, length: number, ino: number, type: number, next: number): boolean {
    this.hasStopped = !this.#visitor.entry(name, at, length, ino, type, next);
    if (!this.hasStopped) this.position = next;
    return !this.hasStopped;
  }
}

export class Listings {
  readonly #list: List;
  /** By directory and position: what comes there, and from which name on. The one used last is at the end. */
  readonly #rests = new Map<string, { readonly rest: Rest; readonly index: number }>();

  /** `list` lists the version that there is. */
  constructor(list: List) {
    this.#list = list;
  }

  /** See FileSystem.list. */
  list(directory: number, position: number, visitor: EntryVisitor): void {
    const known = position === 0 ? undefined : this.#rests.get(`${directory}/${position}`);
    if (known === undefined) this.#begin(directory, position, visitor);
    else this.#goOn(directory, position, known.rest, known.index, visitor);
  }

  #begin(directory: number, position: number, visitor: EntryVisitor): void {
    const relay = new Relay(visitor, position);
    const rest = new Rest();
    try {
      this.#list(directory, position, relay);
      if (relay.hasStopped) this.#list(directory, relay.position, rest);
    } catch (error) {
      if (!(error instanceof IoError) || !relay.hasStopped) throw error;
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
    this.#note(directory, position, rest, rest.count);
    if (rest.problem !== undefined) throw rest.problem;
  }

  #note(directory: number, position: number, rest: Rest, index: number): void {
    if (position === 0) return;
    const key = `${directory}/${position}`;
    this.#rests.delete(key);
    this.#rests.set(key, { rest, index });
    const [oldest] = this.#rests.keys();
    if (this.#rests.size > MOST_POSITIONS && oldest !== undefined) this.#rests.delete(oldest);
  }
}
