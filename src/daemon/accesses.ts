/** Accesses to what lies on a disk, those that go on from each other as one. */
import type { Place } from "./disk-map.js";

/** What was done. */
export type Operation = "read" | "write" | "zeroes" | "discard";

/** One access, or several that went on from each other. */
export interface PlaceAccess {
  /** When it began: the host's clock, ms since 1970. */
  readonly time: number;
  readonly operation: Operation;
  readonly place: Place;
  /** Bytes from the beginning of the file, or of the device for what is no file's contents. */
  readonly offset: number;
  readonly length: number;
}

/** ms after which an access does not go on from one before. */
const APART = 250;
/** Accesses that may still go on. */
const MOST_OPEN = 64;

interface Open {
  readonly time: number;
  readonly operation: Operation;
  readonly place: Place;
  readonly offset: number;
  length: number;
  last: number;
}

export class Accesses {
  readonly #tell: (access: PlaceAccess) => void;
  /** By operation and place: in the order in which they were added to. */
  readonly #open = new Map<string, Open>();

  constructor(tell: (access: PlaceAccess) => void) {
    this.#tell = tell;
  }

  add(time: number, operation: Operation, place: Place, offset: number, length: number): void {
    const key = `${operation} ${place.kind} ${place.device} ${place.what} ${place.inode} ${place.path?.toString("latin1")}`;
    const open = this.#open.get(key);
    this.#open.delete(key);
    if (open !== undefined && open.offset + open.length === offset && time - open.last <= APART) {
      open.length += length;
      open.last = time;
      this.#open.set(key, open);
      return;
    }
    if (open !== undefined) this.#tell(open);
    this.#open.set(key, { time, operation, place, offset, length, last: time });
    if (this.#open.size > MOST_OPEN) this.#end((one) => one === this.#open.values().next().value);
  }

  /** Tells those that nothing goes on from any more. */
  settle(now: number): void {
    this.#end(({ last }) => now - last > APART);
  }

  /** Tells all. */
  flush(): void {
    this.#end(() => true);
  }

  #end(isOver: (open: Open) => boolean): void {
    const over = [...this.#open].filter(([, open]) => isOver(open));
    for (const [key] of over) this.#open.delete(key);
    for (const [, open] of over.sort(([, a], [, b]) => a.time - b.time)) this.#tell(open);
  }
}
