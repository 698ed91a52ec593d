/** The events of all guests of a host, on Redis: on channels as they happen, and in a stream of each guest. */
import { setTimeout as sleep } from "node:timers/promises";
import type { ScopedEvent } from "../event.js";
import type { RedisAddress } from "./address.js";
import type { ChangedBytes } from "./changed-bytes.js";
import { Connection } from "./connection.js";
import { type GuestLog, GuestStream } from "./guest-stream.js";
import { Numbering } from "./numbering.js";
import { Budget } from "./outbox.js";

export interface PublisherOptions {
  readonly address: RedisAddress;
  readonly host: string;
  readonly guests: ReadonlyMap<string, GuestLog>;
  /** Entries that each guest's stream keeps, about. */
  readonly mostEntries: number;
  readonly changedBytes: ChangedBytes;
  /** The file with the numberings of the streams. */
  readonly numberings: string;
  readonly log: (line: string) => void;
}

/** For `/v1/status`. */
export interface PublisherStatus {
  /** Without user and password. */
  readonly server: string;
  readonly isConnected: boolean;
  /** ISO 8601. */
  readonly since?: string;
  readonly lastError?: string;
  /** Events: confirmed by Redis, not sent yet, and told as a gap, since the start. */
  readonly published: number;
  readonly waiting: number;
  readonly missed: number;
}

/** Events and bytes that may wait in memory. */
const MOST_WAITING = 20_000;
const MOST_BYTES = 32 << 20;
/** ms at the end for what waits, and between two looks. */
const FAREWELL = 1000;
const LOOK_EVERY = 10;

export class Publisher {
  readonly #connection: Connection;
  readonly #streams = new Map<string, GuestStream>();
  readonly #server: string;
  readonly #changedBytes: ChangedBytes;

  /** Begins to connect, and goes on trying. */
  constructor({ address, host, guests, mostEntries, changedBytes, numberings, log }: PublisherOptions) {
    this.#changedBytes = changedBytes;
    this.#server = address.shown;
    this.#connection = new Connection({
      address,
      mostEntries,
      isReady: () => {
        for (const stream of this.#streams.values()) stream.connected();
      },
      log,
    });
    const numbering = new Numbering(numberings, log);
    const budget = new Budget(MOST_WAITING, MOST_BYTES);
    for (const [guest, guestLog] of guests) {
      const stream = new GuestStream({
        host,
        guest,
        log: guestLog,
        connection: this.#connection,
        numbering,
        budget,
        changedBytes,
      });
      this.#streams.set(guest, stream);
    }
  }

  /** Events that have been logged. Never waits. */
  offer(events: readonly ScopedEvent[]): void {
    this.#changedBytes.begin();
    for (const { event } of events) this.#streams.get(event.guest)?.offer(event);
  }

  get status(): PublisherStatus {
    const { since, lastError } = this.#connection;
    const streams = [...this.#streams.values()];
    const sum = (of: (stream: GuestStream) => number): number =>
      streams.reduce((total, each) => total + of(each), 0);
    return {
      server: this.#server,
      isConnected: since !== undefined,
      ...(since === undefined ? {} : { since: since.toISOString() }),
      ...(lastError === undefined ? {} : { lastError }),
      published: sum(({ published }) => published),
      waiting: sum(({ waiting }) => waiting),
      missed: sum(({ missed }) => missed),
    };
  }

  /** Sends what waits, if that is soon done; the rest is sent at the next start. */
  async stop(): Promise<void> {
    const streams = [...this.#streams.values()];
    const end = performance.now() + FAREWELL;
    while (this.#connection.isReady && performance.now() < end && !streams.every(({ isIdle }) => isIdle))
      await sleep(LOOK_EVERY);
    const ended = Promise.all(streams.map((stream) => stream.stop()));
    this.#connection.close();
    // One that hangs does not let go of its connection.
    await Promise.race([ended, sleep(LOOK_EVERY * 10)]);
  }
}
