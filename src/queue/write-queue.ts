/**
 * The bounded queue between a disk's writer and whoever works on its writes. Double-buffered: one buffer fills while the
 * other is worked on. What happens when both are full is a matter of policy.
 */
import type { WriteRecord, WriteSink } from "./write-record.js";

/**
 * What gives way when the queue is full: `data-drop` loses writes, those of files' data before those of metadata, and
 * tells the ranges as gaps; `block` loses nothing and has the guest wait.
 */
export type Pressure = "data-drop" | "block";

export interface QueueLimits {
  /** ms from a write to its delivery, at most, unless the consumer is busy. */
  readonly flushTimeout: number;
  /** Bytes of data that wait or are worked on. */
  readonly sizeLimit: number;
  /** Records that wait or are worked on. */
  readonly outstandingWrites: number;
  readonly pressure: Pressure;
}

/** The flush time-out is far below Gamma-Ray's 5 s; the other numbers are its own. */
export const DEFAULT_LIMITS: QueueLimits = {
  flushTimeout: 20,
  sizeLimit: 262_144_000,
  outstandingWrites: 16_384,
  pressure: "data-drop",
};

export interface QueueOptions extends Partial<QueueLimits> {
  /** Works on a batch, in order; the next follows when it is done. Must not reject. The queue forgets the batch then. */
  readonly consume: (batch: readonly WriteRecord[]) => Promise<void> | void;
  /** Tells metadata from data, under pressure only. Must not throw. By default all is data. */
  readonly isMetadata?: (record: WriteRecord) => boolean;
}

/** All that a queue counts; from its beginning on, but for what waits. */
export interface QueueCounters {
  /** Taken, dropped ones included. */
  writes: number;
  /** Of data, dropped ones included. */
  bytes: number;
  batches: number;
  /** Batches that were delivered because their time was up. */
  timedOut: number;
  /** Batches that were delivered because a buffer was full. */
  filledUp: number;
  droppedWrites: number;
  droppedBytes: number;
  /** Those of the dropped ones that were metadata. */
  droppedMetadata: number;
  /** How often a writer was asked to wait. */
  blocked: number;
  /** Waiting or worked on, now and at most. */
  waitingWrites: number;
  waitingBytes: number;
  mostWrites: number;
  mostBytes: number;
}

const bytesOf = (record: WriteRecord): number => record.data?.length ?? 0;

const gapFor = (record: WriteRecord): WriteRecord => ({
  ...record,
  kind: "gap",
  data: undefined,
  fua: false,
});

export class WriteQueue implements WriteSink {
  readonly limits: QueueLimits;
  readonly #consume: QueueOptions["consume"];
  readonly #isMetadata: (record: WriteRecord) => boolean;
  readonly #counters: QueueCounters = {
    writes: 0,
    bytes: 0,
    batches: 0,
    timedOut: 0,
    filledUp: 0,
    droppedWrites: 0,
    droppedBytes: 0,
    droppedMetadata: 0,
    blocked: 0,
    waitingWrites: 0,
    waitingBytes: 0,
    mostWrites: 0,
    mostBytes: 0,
  };
  #filling: WriteRecord[] = [];
  #fillingWrites = 0;
  #fillingBytes = 0;
  /** When the oldest of the filling buffer came, by performance.now(). */
  #fillingSince = 0;
  /** What lies before it in the filling buffer is metadata or a gap. */
  #evictFrom = 0;
  #isBusy = false;
  #timer: NodeJS.Timeout | undefined;
  /** A writer that waits for room, and what ends its wait. */
  #room: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;
  #idle: Array<() => void> = [];

  /** Throws RangeError for limits that nothing fits in. */
  constructor({ consume, isMetadata = () => false, ...limits }: QueueOptions) {
    this.limits = { ...DEFAULT_LIMITS, ...limits };
    if (!(this.limits.sizeLimit > 0 && this.limits.outstandingWrites >= 2 && this.limits.flushTimeout >= 0))
      throw new RangeError("a queue needs room for two writes and a time-out that is not negative");
    this.#consume = consume;
    this.#isMetadata = isMetadata;
  }

  get counters(): Readonly<QueueCounters> {
    return this.#counters;
  }

  take(record: WriteRecord): Promise<void> | undefined {
    const counters = this.#counters;
    const bytes = bytesOf(record);
    if (record.kind !== "gap") counters.writes++;
    counters.bytes += bytes;
    if (this.limits.pressure === "data-drop" && !this.#fits(bytes) && !this.#makeRoom(record, bytes)) {
      this.#drop(record);
      this.#append(gapFor(record), 0, 0);
    } else {
      this.#append(record, record.kind === "gap" ? 0 : 1, bytes);
    }
    this.#schedule();
    if (this.limits.pressure === "data-drop" || this.#fits(0)) return undefined;
    counters.blocked++;
    if (this.#room === undefined) {
      let resolve = () => {};
      const promise = new Promise<void>((settle) => {
        resolve = settle;
      });
      this.#room = { promise, resolve };
    }
    return this.#room.promise;
  }

  /** Delivers what waits; resolves when all that was taken until now has been worked on. */
  flush(): Promise<void> {
    if (!this.#isBusy && this.#filling.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idle.push(resolve);
      if (!this.#isBusy) this.#deliver();
    });
  }

  #fits(bytes: number): boolean {
    const { waitingWrites, waitingBytes } = this.#counters;
    // One that is larger than the whole queue is let in if it has the queue to itself.
    return (
      waitingWrites < this.limits.outstandingWrites &&
      (waitingBytes === 0 || waitingBytes + bytes <= this.limits.sizeLimit)
    );
  }

  /** Drops waiting data for metadata. Returns whether there is room now. */
  #makeRoom(record: WriteRecord, bytes: number): boolean {
    if (record.kind === "flush" || record.kind === "gap" || !this.#isMetadata(record)) return false;
    const filling = this.#filling;
    for (; this.#evictFrom < filling.length && !this.#fits(bytes); this.#evictFrom++) {
      const waiting = filling[this.#evictFrom]!;
      if (waiting.kind === "gap" || this.#isMetadata(waiting)) continue;
      this.#drop(waiting);
      filling[this.#evictFrom] = gapFor(waiting);
      this.#account(-1, -bytesOf(waiting));
    }
    return this.#fits(bytes);
  }

  #drop(record: WriteRecord): void {
    if (record.kind === "gap") return;
    const counters = this.#counters;
    counters.droppedWrites++;
    counters.droppedBytes += bytesOf(record);
    if (record.kind !== "flush" && this.#isMetadata(record)) counters.droppedMetadata++;
  }

  #account(writes: number, bytes: number): void {
    const counters = this.#counters;
    this.#fillingWrites += writes;
    this.#fillingBytes += bytes;
    counters.waitingWrites += writes;
    counters.waitingBytes += bytes;
    counters.mostWrites = Math.max(counters.mostWrites, counters.waitingWrites);
    counters.mostBytes = Math.max(counters.mostBytes, counters.waitingBytes);
  }

  #append(record: WriteRecord, writes: number, bytes: number): void {
    const filling = this.#filling;
    if (record.kind === "gap") {
      // A lost flush is counted; it has no range to be told.
      if (record.length === 0) return;
      const last = filling[filling.length - 1];
      if (last?.kind === "gap") {
        const joins =
          last.offset <= record.offset + record.length && record.offset <= last.offset + last.length;
        // With too many gaps one grows over what lies between: more is read from the disk than need be, nothing is lost.
        if (joins || filling.length >= 2 * this.limits.outstandingWrites) {
          const offset = Math.min(last.offset, record.offset);
          const end = Math.max(last.offset + last.length, record.offset + record.length);
          filling[filling.length - 1] = { ...record, offset, length: end - offset };
          return;
        }
      }
    }
    if (filling.length === 0) this.#fillingSince = performance.now();
    filling.push(record);
    this.#account(writes, bytes);
  }

  /** Whether the filling buffer has had its share of the queue. */
  get #isFilled(): boolean {
    const { sizeLimit, outstandingWrites } = this.limits;
    return this.#fillingBytes >= sizeLimit / 2 || this.#fillingWrites >= outstandingWrites / 2;
  }

  #schedule(): void {
    if (this.#isBusy || this.#filling.length === 0) return;
    if (this.#isFilled) {
      this.#counters.filledUp++;
      this.#deliver();
    } else if (this.#timer === undefined) {
      const waited = performance.now() - this.#fillingSince;
      this.#timer = setTimeout(
        () => {
          this.#counters.timedOut++;
          this.#deliver();
        },
        Math.max(0, this.limits.flushTimeout - waited),
      );
    }
  }

  #deliver(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const batch = this.#filling;
    const writes = this.#fillingWrites;
    const bytes = this.#fillingBytes;
    const waiters = this.#idle;
    this.#filling = [];
    this.#fillingWrites = 0;
    this.#fillingBytes = 0;
    this.#evictFrom = 0;
    this.#idle = [];
    this.#isBusy = true;
    this.#counters.batches++;
    void this.#work(batch).then(() => {
      this.#isBusy = false;
      this.#counters.waitingWrites -= writes;
      this.#counters.waitingBytes -= bytes;
      if (this.#room !== undefined && this.#fits(0)) {
        this.#room.resolve();
        this.#room = undefined;
      }
      for (const resolve of waiters) resolve();
      if (this.#idle.length === 0) this.#schedule();
      else if (this.#filling.length > 0) this.#deliver();
      else for (const resolve of this.#idle.splice(0)) resolve();
    });
  }

  async #work(batch: readonly WriteRecord[]): Promise<void> {
    await this.#consume(batch);
  }
}
