/** The bytes that events bring along: those that were added to a file, or written, as they are when the event is told. */
import type { GuestEvent } from "../event.js";

/** Reads of an event's file; undefined: it cannot be read. Gives what is there, which may be less. */
export type ReadFile = (event: GuestEvent, position: number, length: number) => Buffer | undefined;

export interface EventData {
  readonly data: Buffer;
  /** Where they begin in the file. */
  readonly dataOffset: number;
}

/** ms that reading may take for the events of one transaction: what comes later goes without. */
const PATIENCE = 5;

export class ChangedBytes {
  readonly #most: number;
  readonly #read: ReadFile;
  #end = 0;

  /** `most`: bytes for one event; 0: none are read. */
  constructor(most: number, read: ReadFile) {
    this.#most = most;
    this.#read = read;
  }

  /** A transaction's events are going to be asked for. */
  begin(): void {
    if (this.#most > 0) this.#end = performance.now() + PATIENCE;
  }

  /** The first of the bytes that an event says were added or written; undefined: none, or they cannot be had now. */
  of(event: GuestEvent): EventData | undefined {
    if (this.#most === 0) return undefined;
    const [start, end] = added(event);
    if (end <= start || performance.now() > this.#end) return undefined;
    const data = this.#read(event, start, Math.min(end - start, this.#most));
    return data === undefined || data.length === 0 ? undefined : { data, dataOffset: start };
  }
}

function added({ event, type, range, ranges, new: now }: GuestEvent): readonly [number, number] {
  const size = now?.size ?? 0;
  if (event === "written") {
    const [offset, length] = ranges?.[0] ?? [0, 0];
    return [offset, offset + length];
  }
  if (event === "created" && type === "file") return [0, size];
  // One that ends after the size was cut off.
  return event === "content" && range !== undefined && range[1] === size ? range : [0, 0];
}
