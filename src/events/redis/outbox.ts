/** Events of one guest that wait for Redis; and how much may wait of all guests. */
import type { GuestEvent } from "../event.js";
import type { EventData } from "./changed-bytes.js";

/** Bounds of what waits. */
export class Budget {
  readonly #mostEvents: number;
  readonly #mostBytes: number;
  #events = 0;
  #bytes = 0;

  constructor(mostEvents: number, mostBytes: number) {
    this.#mostEvents = mostEvents;
    this.#mostBytes = mostBytes;
  }

  take(bytes: number): boolean {
    if (this.#events >= this.#mostEvents || this.#bytes + bytes > this.#mostBytes) return false;
    this.#events++;
    this.#bytes += bytes;
    return true;
  }

  give(events: number, bytes: number): void {
    this.#events -= events;
    this.#bytes -= bytes;
  }
}

/** An event, with the bytes of its file that it brings along. */
type WaitingEvent = GuestEvent & Partial<EventData>;

interface Waiting {
  readonly event: WaitingEvent;
  readonly bytes: number;
}

/** A queue of events whose numbers follow each other. */
export class Outbox {
  readonly #budget: Budget;
  #waiting: Waiting[] = [];

  constructor(budget: Budget) {
    this.#budget = budget;
  }

  get length(): number {
    return this.#waiting.length;
  }

  /** The number of the first one; undefined: nothing waits. */
  get firstId(): number | undefined {
    return this.#waiting[0]?.event.id;
  }

  /** False: there is no room. */
  push(event: WaitingEvent): boolean {
    const bytes = bytesOf(event);
    if (!this.#budget.take(bytes)) return false;
    this.#waiting.push({ event, bytes });
    return true;
  }

  /** The first ones, which stay. At least one, if there is one. */
  first(most: number, mostBytes: number): WaitingEvent[] {
    const events: WaitingEvent[] = [];
    let sum = 0;
    for (const { event, bytes } of this.#waiting) {
      sum += bytes;
      if (events.length > 0 && (sum > mostBytes || events.length === most)) break;
      events.push(event);
    }
    return events;
  }

  /** Drops those up to a number. */
  dropTo(id: number): void {
    let count = 0;
    let sum = 0;
    for (const { event, bytes } of this.#waiting) {
      if (event.id > id) break;
      count++;
      sum += bytes;
    }
    this.#waiting.splice(0, count);
    this.#budget.give(count, sum);
  }

  clear(): void {
    this.dropTo(Number.POSITIVE_INFINITY);
  }
}

/** What an event is counted for besides its texts of any length. */
const FIXED_BYTES = 1024;

/** Bytes of memory, about; at least those of the document. */
export function bytesOf({ path, pathBytes, from, fromBytes, old, new: now, data }: WaitingEvent): number {
  let bytes = FIXED_BYTES + (data?.length ?? 0);
  for (const text of [path, pathBytes, from, fromBytes, old?.target, now?.target])
    bytes += 3 * (text?.length ?? 0);
  for (const xattrs of [old?.xattrs, now?.xattrs]) {
    for (const name in xattrs) bytes += 64 + 3 * (name.length + (xattrs[name] as string).length);
  }
  return bytes;
}
