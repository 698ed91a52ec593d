/**
 * Reads a log while another thread writes it, by scope: the lines of a directory, one after the other, as the bytes of a
 * file.
 */
import { closeSync, openSync, readSync } from "node:fs";
import type { Scope } from "./event.js";
import { type LineIndex, LineIndexes } from "./line-index.js";
import { everythingFolder, guestFolder, segmentPath } from "./log-files.js";
import { Position, type SegmentEnd } from "./log-position.js";

/** The segment that is being written, or the one before it. */
type Which = "current" | "previous";

export class LogReader {
  readonly #folder: string;
  readonly #position: Position;
  readonly #indexes: LineIndexes;
  /** Open files by segment. */
  readonly #files = new Map<number, number>();

  /** `shared`: what the log's writer tells. */
  constructor(folder: string, shared: SharedArrayBuffer, indexes: LineIndexes) {
    this.#folder = folder;
    this.#position = new Position(shared);
    this.#indexes = indexes;
  }

  /** The number of a segment; 0: there is none. Takes in what was written: what else is asked is answered as of now. */
  segment(which: Which): number {
    const position = this.#position;
    if (position.refresh()) {
      for (const segment of this.#files.keys()) {
        if (segment !== position.current.segment && segment !== position.previous.segment)
          this.#close(segment);
      }
    }
    return position[which].segment;
  }

  /** Bytes of a scope's lines; of all, without a scope. Throws a system error if they cannot be read. */
  size(scope: Scope | undefined, which: Which): number {
    return this.#index(scope, this.#position[which])?.size ?? 0;
  }

  /** When a scope's last line was written: ms since 1970; 0: there is none. */
  mtime(scope: Scope | undefined, which: Which): number {
    return this.#index(scope, this.#position[which])?.written ?? 0;
  }

  /** Reads of a scope's lines; returns how many bytes there were. Throws a system error if they cannot be read. */
  read(
    scope: Scope | undefined,
    which: Which,
    position: number,
    length: number,
    target: Buffer,
    targetOffset: number,
  ): number {
    const end = this.#position[which];
    const index = this.#index(scope, end);
    if (index === undefined) return 0;
    const file = this.#open(end.segment);
    return index.read(position, length, target, targetOffset, (into, offset, bytes, from) =>
      file < 0 ? 0 : readSync(file, into, offset, bytes, from),
    );
  }

  close(): void {
    for (const segment of this.#files.keys()) this.#close(segment);
  }

  #index(scope: Scope | undefined, { segment, size }: SegmentEnd): LineIndex | undefined {
    if (segment === 0) return undefined;
    return this.#indexes.use(`${this.#folder}/${segment} ${scope ?? ""}`, scope, (index) => {
      if (index.scanned === size) return;
      const file = this.#open(segment);
      if (file >= 0)
        index.grow(size, (into, offset, bytes, from) => readSync(file, into, offset, bytes, from));
    });
  }

  /** -1: the segment has been removed since. */
  #open(segment: number): number {
    const known = this.#files.get(segment);
    if (known !== undefined) return known;
    try {
      const file = openSync(segmentPath(this.#folder, segment), "r");
      this.#files.set(segment, file);
      return file;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return -1;
      throw error;
    }
  }

  #close(segment: number): void {
    closeSync(this.#files.get(segment) as number);
    this.#files.delete(segment);
  }
}

/** The logs of a host, as another thread needs them to read along. */
export interface SharedLogs {
  /** The folder of all logs. */
  readonly folder: string;
  readonly guests: ReadonlyMap<string, SharedArrayBuffer>;
  readonly everything: SharedArrayBuffer;
}

/** Readers of all logs of a host, for one thread. */
export class LogReaders {
  readonly all: LogReader;
  readonly #guests = new Map<string, LogReader>();

  constructor({ folder, guests, everything }: SharedLogs) {
    const indexes = new LineIndexes();
    this.all = new LogReader(everythingFolder(folder), everything, indexes);
    for (const [guest, shared] of guests)
      this.#guests.set(guest, new LogReader(guestFolder(folder, guest), shared, indexes));
  }

  guest(name: string): LogReader | undefined {
    return this.#guests.get(name);
  }
}
