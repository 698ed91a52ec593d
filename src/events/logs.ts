/** The logs of a host: one of each guest, and one of all; and who listens to them. */
import type { GuestEvent, ScopedEvent } from "./event.js";
import { everythingFolder, guestFolder } from "./log-files.js";
import type { SharedLogs } from "./log-reader.js";
import { LogReplay } from "./log-replay.js";
import { LogWriter } from "./log-writer.js";
import { Subscribers } from "./subscribers.js";

export interface LogsOptions {
  /** The folder of all logs; made if need be. */
  readonly folder: string;
  readonly guests: readonly string[];
  /** Bytes of a segment of each log. */
  readonly limit?: number;
  readonly log: (line: string) => void;
}

/** Where events go. */
export interface Sink {
  readonly lastId: number;
  append(events: readonly ScopedEvent[]): void;
}

/** Events that are copied at a time. */
const BATCH = 1000;

export class Logs {
  readonly subscribers = new Subscribers();
  /** The log of all; who listens is told what comes here. */
  readonly everything: Sink;
  readonly #folder: string;
  readonly #guests = new Map<string, LogWriter>();
  readonly #all: LogWriter;

  /** Opens the logs, or begins them. Throws a system error if what is there cannot be read. */
  constructor({ folder, guests, limit, log }: LogsOptions) {
    const options = { log, ...(limit === undefined ? {} : { limit }) };
    this.#folder = folder;
    const all = new LogWriter({ ...options, folder: everythingFolder(folder), keepsScopes: false });
    this.#all = all;
    for (const guest of guests) {
      this.#guests.set(guest, new LogWriter({ ...options, folder: guestFolder(folder, guest) }));
      this.#catchUp(guest);
    }
    this.everything = {
      get lastId() {
        return all.lastId;
      },
      append: (events) => {
        all.append(events);
        this.subscribers.publish(events);
      },
    };
  }

  /** A guest's log. Throws RangeError for a guest that was not named at the start. */
  guest(name: string): LogWriter {
    const writer = this.#guests.get(name);
    if (writer === undefined) throw new RangeError(`no log of the guest ${name}`);
    return writer;
  }

  /** The number of each guest's last event, for `after` of a Selection. */
  lastIds(): Record<string, number> {
    return Object.fromEntries([...this.#guests].map(([guest, { lastId }]) => [guest, lastId]));
  }

  /** For LogReaders in another thread. */
  get shared(): SharedLogs {
    return {
      folder: this.#folder,
      guests: new Map([...this.#guests].map(([guest, { shared }]) => [guest, shared])),
      everything: this.#all.shared,
    };
  }

  /** The stored events: of a guest that has a log of its own, else of all. The caller closes it. */
  replay(guest: string | undefined): LogReplay {
    const writer = guest === undefined ? undefined : this.#guests.get(guest);
    return guest === undefined || writer === undefined
      ? new LogReplay(everythingFolder(this.#folder), this.#all.end)
      : new LogReplay(guestFolder(this.#folder, guest), writer.end);
  }

  close(): void {
    for (const writer of this.#guests.values()) writer.close();
    this.#all.close();
  }

  /** A kill may have come between a transaction's way into the guest's log and into that of all. */
  #catchUp(guest: string): void {
    const known = this.#all.lastIdOf(guest);
    if (known >= this.guest(guest).lastId) return;
    const replay = this.replay(guest);
    try {
      let batch: ScopedEvent[] = [];
      for (const { json, isLast } of replay.lines()) {
        const event = parsed(json);
        if (event === undefined || event.id <= known) continue;
        batch.push({ event, scopes: [], isLast });
        if (!isLast || batch.length < BATCH) continue;
        this.#all.append(batch);
        batch = [];
      }
      this.#all.append(batch);
    } finally {
      replay.close();
    }
  }
}

/** `undefined`: the line was damaged, as by a power failure. */
function parsed(json: string): GuestEvent | undefined {
  try {
    return JSON.parse(json) as GuestEvent;
  } catch {
    return undefined;
  }
}
