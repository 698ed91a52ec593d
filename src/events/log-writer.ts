/**
 * Writes a log of events. Each call to `append` is one write, so that what a kill leaves half written is at the end, where
 * the next opening cuts it off. Events are not synchronised with the disk one by one: after a power failure the last
 * seconds may be missing, and a restart tells them again where the journal still has them.
 */
import { closeSync, fdatasync, ftruncateSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import type { GuestEvent, ScopedEvent } from "./event.js";
import { CHECKPOINT, lineText, wholeVolume } from "./line.js";
import { findLog, segmentPath, segmentsIn } from "./log-files.js";
import { newPosition, type SegmentEnd, setPosition } from "./log-position.js";
import type { LogState } from "./log-state.js";

export interface LogWriterOptions {
  /** Where its files are; made if need be. */
  readonly folder: string;
  /** Bytes of a segment: two of them are kept. */
  readonly limit?: number;
  /** Whether the lines of single directories can be read; else only all. */
  readonly keepsScopes?: boolean;
  /** Told when events cannot be stored, and when they can be again. */
  readonly log: (line: string) => void;
}

export const DEFAULT_LIMIT = 4 << 20;
/** Positions are 32 bits wide in shared memory. */
const MOST_LIMIT = 1 << 30;
/** Bytes between two checkpoints: what an opening has to read. */
const CHECKPOINT_EVERY = 256 << 10;
/** ms for which the log is told no second time: on a full disk a short event may fit, and the next one not. */
const QUIET = 60_000;
/** ms until the next try, when nothing is appended meanwhile. */
const RETRY = 1000;

/** Bytes for one segment. */
interface Piece {
  readonly segment: number;
  readonly position: number;
  readonly chunks: Buffer[];
  size: number;
}

/** Events of a volume that could not be stored. */
interface Lost {
  count: number;
  last: GuestEvent;
}

export class LogWriter {
  /** How far it is written, for a LogReader in any thread. */
  readonly shared = newPosition();
  readonly #folder: string;
  readonly #limit: number;
  readonly #keepsScopes: boolean;
  readonly #log: (line: string) => void;
  readonly #state: LogState;
  #current: SegmentEnd;
  #previous: SegmentEnd;
  #fd = -1;
  #checkpoint = 0;
  #isBetween = true;
  readonly #lost = new Map<string, Lost>();
  #problem = "";
  #toldAt = Number.NEGATIVE_INFINITY;
  #isTold = false;
  #retry: NodeJS.Timeout | undefined;

  /** Opens the log, or begins it. Throws a system error if what is there cannot be read. */
  constructor({ folder, limit = DEFAULT_LIMIT, keepsScopes = true, log }: LogWriterOptions) {
    this.#folder = folder;
    this.#limit = Math.min(limit, MOST_LIMIT);
    this.#keepsScopes = keepsScopes;
    this.#log = log;
    const { current, previous, state } = findLog(folder);
    this.#state = state;
    this.#current = current;
    this.#previous = previous;
    this.#checkpoint = current.size;
    setPosition(this.shared, current, previous);
    try {
      this.#open();
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  /** The number of its last event; 0: there is none. */
  get lastId(): number {
    return this.#state.lastId;
  }

  /** The number of a guest's last event; 0: there is none. */
  lastIdOf(guest: string): number {
    return this.#state.ids.get(guest) ?? 0;
  }

  /** The volumes of which a transaction is known. */
  get volumes(): Iterable<string> {
    return this.#state.transactions.keys();
  }

  /** The last transaction of a volume that had events and is there as a whole; undefined: none. */
  lastTransaction(volume: string): number | undefined {
    return this.#state.transactions.get(volume);
  }

  /** How many parts of that transaction had events, if it is there only in part. */
  lastPart(volume: string): number | undefined {
    return this.#state.parts.get(volume);
  }

  /** How far the log goes. */
  get end(): { readonly current: SegmentEnd; readonly previous: SegmentEnd } {
    return { current: this.#current, previous: this.#previous };
  }

  /** Appends events. What cannot be stored is left out, and becomes a gap event as soon as storing works again. */
  append(events: readonly ScopedEvent[]): void {
    if (events.length === 0) return;
    try {
      this.#store([...this.#gaps(), ...events]);
      this.#succeed();
    } catch (error) {
      for (const { event, isLast } of events) {
        this.#state.note(event, isLast);
        this.#lose(event);
      }
      this.#fail(error as Error);
    }
  }

  close(): void {
    clearTimeout(this.#retry);
    if (this.#lost.size > 0) this.#tryAgain();
    clearTimeout(this.#retry);
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  /** Makes the files what `current` and `previous` say. */
  #open(): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    this.#removeOthers();
    const { segment, size } = this.#current;
    if (segment === 0) {
      const piece = this.#newPiece(1, this.#state.checkpoint(true));
      this.#write([piece]);
      return;
    }
    this.#fd = openSync(segmentPath(this.#folder, segment), "r+");
    ftruncateSync(this.#fd, size);
  }

  #removeOthers(): void {
    for (const segment of segmentsIn(this.#folder)) {
      if (segment !== this.#current.segment && segment !== this.#previous.segment)
        rmSync(segmentPath(this.#folder, segment), { force: true });
    }
  }

  #store(events: readonly ScopedEvent[]): void {
    if (this.#fd < 0) this.#open();
    // A write that failed may have left a part of what it was given.
    if (this.#problem !== "") ftruncateSync(this.#fd, this.#current.size);
    this.#write(this.#pieces(events));
    for (const { event, isLast } of events) this.#state.note(event, isLast);
    this.#isBetween = (events[events.length - 1] as ScopedEvent).isLast;
  }

  /** Lays events out: a transaction stays in one segment, unless it is longer than one. */
  #pieces(events: readonly ScopedEvent[]): Piece[] {
    const written = Date.now();
    const lines = events.map((event) => Buffer.from(lineText(event, this.#keepsScopes, written)));
    const total = lines.reduce((sum, { length }) => sum + length, 0);
    const { segment, size } = this.#current;
    let piece: Piece = { segment, position: size, chunks: [], size: 0 };
    if (size + total > this.#limit) {
      piece = this.#newPiece(segment + 1, this.#state.checkpoint(this.#isBetween));
    } else if (this.#isBetween && size - this.#checkpoint > CHECKPOINT_EVERY) {
      addTo(piece, Buffer.from(this.#state.checkpoint(true)));
    }
    const pieces = [piece];
    const inner = this.#state.copy();
    let isBetween = this.#isBetween;
    let count = 0;
    for (const [index, line] of lines.entries()) {
      if (count > 0 && piece.position + piece.size + line.length > this.#limit) {
        piece = this.#newPiece(piece.segment + 1, inner.checkpoint(isBetween));
        pieces.push(piece);
        count = 0;
      }
      addTo(piece, line);
      count++;
      const { event, isLast } = events[index] as ScopedEvent;
      inner.note(event, isLast);
      isBetween = isLast;
    }
    return pieces;
  }

  #newPiece(segment: number, checkpoint: string): Piece {
    const piece: Piece = { segment, position: 0, chunks: [], size: 0 };
    addTo(piece, Buffer.from(checkpoint));
    return piece;
  }

  /** Writes all or nothing, then tells readers, and only then removes what is no longer kept. */
  #write(pieces: readonly Piece[]): void {
    const opened: { fd: number; segment: number }[] = [];
    let current = this.#current;
    let previous = this.#previous;
    let fd = this.#fd;
    try {
      for (const { segment, position, chunks, size } of pieces) {
        if (segment !== current.segment) {
          fd = openSync(segmentPath(this.#folder, segment), "w+", 0o600);
          opened.push({ fd, segment });
          previous = current;
        }
        writeWhole(fd, Buffer.concat(chunks, size), position);
        current = { segment, size: position + size, written: Date.now() };
      }
    } catch (error) {
      for (const { fd: half, segment } of opened) {
        closeSync(half);
        rmSync(segmentPath(this.#folder, segment), { force: true });
      }
      throw error;
    }
    for (const old of [this.#fd, ...opened.map((each) => each.fd)]) {
      if (old < 0 || old === fd) continue;
      // On the disk before much of the next segment is: then what is cut off there is at the end of all.
      fdatasync(old, () => closeSync(old));
    }
    const isNew = opened.length > 0;
    if (isNew || pieces[0]?.chunks[0]?.[0] === CHECKPOINT) this.#checkpoint = current.size;
    this.#fd = fd;
    this.#current = current;
    this.#previous = previous;
    setPosition(this.shared, current, previous);
    if (!isNew) return;
    try {
      this.#removeOthers();
    } catch (error) {
      this.#log(`${this.#folder}: old events stay: ${(error as Error).message}`);
    }
  }

  #lose(event: GuestEvent): void {
    const key = `${event.volume}/${event.guest}`;
    const lost = this.#lost.get(key);
    if (lost === undefined) this.#lost.set(key, { count: 1, last: event });
    else {
      lost.count++;
      lost.last = event;
    }
  }

  /** A gap for each volume, in the place and with the number of the last event that it lost. */
  #gaps(): ScopedEvent[] {
    return [...this.#lost.values()]
      .sort((a, b) => a.last.id - b.last.id)
      .map(({ count, last: { id, host, guest, volume, transaction, part } }) => ({
        event: {
          id,
          time: new Date().toISOString().replace("Z", "000000Z"),
          event: "gap",
          host,
          guest,
          volume,
          transaction,
          ...(part === undefined ? {} : { part }),
          reason: `${count} event${count === 1 ? "" : "s"} could not be stored: ${this.#problem}`,
        },
        scopes: [wholeVolume(volume)],
        isLast: true,
      }));
  }

  #fail({ message }: Error): void {
    const now = performance.now();
    if (!this.#isTold && now - this.#toldAt > QUIET) {
      this.#toldAt = now;
      this.#isTold = true;
      this.#log(`${this.#folder}: events are not stored until this is mended: ${message}`);
    }
    this.#problem = message;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#tryAgain(), RETRY);
    this.#retry.unref();
  }

  #succeed(): void {
    if (this.#problem === "") return;
    if (this.#isTold) this.#log(`${this.#folder}: events are stored again`);
    this.#isTold = false;
    this.#problem = "";
    this.#lost.clear();
    clearTimeout(this.#retry);
  }

  #tryAgain(): void {
    try {
      const gaps = this.#gaps();
      if (gaps.length > 0) this.#store(gaps);
      else if (this.#fd < 0) this.#open();
      this.#succeed();
    } catch (error) {
      this.#fail(error as Error);
    }
  }
}

function addTo(piece: Piece, chunk: Buffer): void {
  piece.chunks.push(chunk);
  piece.size += chunk.length;
}

function writeWhole(fd: number, bytes: Buffer, position: number): void {
  for (let done = 0; done < bytes.length; )
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}
