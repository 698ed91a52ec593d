/**
 * One guest's events on their way to Redis. What is in the stream there is what counts as sent: its last id is asked for
 * after each failure. Events wait in a bounded queue; when that is full, or Redis has less than was thought, they are read
 * from the log on disk.
 */
import { setImmediate as others } from "node:timers/promises";
import type { GuestEvent } from "../event.js";
import type { LogReplay } from "../log-replay.js";
import type { ChangedBytes } from "./changed-bytes.js";
import { type Connection, type Entry, pause } from "./connection.js";
import { channelsOf, documentOf, type PublishedEvent } from "./document.js";
import type { Numbering } from "./numbering.js";
import { type Budget, bytesOf, Outbox } from "./outbox.js";

/** The log of a guest. */
export interface GuestLog {
  /** The number of its last event; 0: there is none. */
  readonly lastId: number;
  replay(): LogReplay;
}

export interface GuestStreamOptions {
  readonly host: string;
  readonly guest: string;
  readonly log: GuestLog;
  readonly connection: Connection;
  readonly numbering: Numbering;
  readonly budget: Budget;
  readonly changedBytes: ChangedBytes;
}

/** Events and bytes of one transaction of Redis. */
const MOST_EVENTS = 200;
const MOST_BYTES = 512 << 10;
/** XADD's answer to an id that is not greater than all before. */
const REFUSED_ID = /equal or smaller than/;
/** Lines of a log that are passed over at a time. */
const LINES = 1000;

export class GuestStream {
  /** Events that Redis has confirmed since the start. */
  published = 0;
  /** Events since the start that could not be sent, as no log had them any longer. */
  missed = 0;
  readonly #options: GuestStreamOptions;
  readonly #key: string;
  readonly #outbox: Outbox;
  /** Whether there is more in the log than was sent and waits. */
  #isBehind = false;
  /** Whether it is known what the stream has. */
  #isSynced = false;
  /** Whether it was known before. */
  #wasSynced = false;
  #numbering = 0;
  /** The number of the last event that the stream has. */
  #sent = 0;
  /** Whether what the log has no longer is nothing that is missed. */
  #isNew = false;
  #failures = 0;
  #isStopped = false;
  #wake: () => void = () => {};
  readonly #ended: Promise<void>;

  constructor(options: GuestStreamOptions) {
    this.#options = options;
    this.#key = `slashcloud:${options.host}:${options.guest}`;
    this.#outbox = new Outbox(options.budget);
    this.#ended = this.#run();
  }

  /** Events that Redis does not have yet. */
  get waiting(): number {
    return this.#wasSynced ? Math.max(0, this.#options.log.lastId - this.#sent) : this.#outbox.length;
  }

  get isIdle(): boolean {
    return this.#isSynced && this.waiting === 0;
  }

  /** An event that has been logged. */
  offer(event: GuestEvent): void {
    if (!this.#isBehind && !this.#outbox.push({ ...event, ...this.#options.changedBytes.of(event) }))
      this.#fallBehind();
    this.#wake();
  }

  /** There is a new connection: what Redis has may be less than before. */
  connected(): void {
    this.#isSynced = false;
    this.#failures = 0;
    this.#wake();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#wake();
    await this.#ended;
  }

  #fallBehind(): void {
    this.#outbox.clear();
    this.#isBehind = true;
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      try {
        if (!this.#options.connection.isReady) await this.#sleep();
        else if (!this.#isSynced) await this.#sync();
        else if (this.#isBehind) await this.#catchUp();
        else if (this.#outbox.length > 0) await this.#send(this.#outbox.first(MOST_EVENTS, MOST_BYTES));
        else await this.#sleep();
      } catch (error) {
        const { connection } = this.#options;
        this.#isSynced = false;
        if (this.#isStopped) return;
        // The stream has more than was thought: what that is, is found out next.
        const isRefused = REFUSED_ID.test((error as Error).message);
        if (!isRefused && connection.isReady) connection.fail(error as Error, this.#key);
        await this.#sleep(pause(++this.#failures));
      }
    }
  }

  /** Until something happens, or for so many ms whatever is offered. */
  #sleep(time?: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.#isStopped) resolve();
      else if (time === undefined) this.#wake = resolve;
      else {
        const timer = setTimeout(resolve, time);
        this.#wake = () => {
          if (!this.#isStopped && this.#failures > 0) return;
          clearTimeout(timer);
          resolve();
        };
      }
    });
  }

  /** Learns from the stream what has been sent. */
  async #sync(): Promise<void> {
    const { guest, connection, log, numbering } = this.#options;
    this.#isSynced = true;
    const last = parseId(await connection.lastId(this.#key));
    // The connection was lost and made again meanwhile.
    if (!this.#isSynced) return;
    const own = numbering.get(guest);
    this.#isNew = false;
    if (last === undefined || (own !== undefined && own > last.numbering)) {
      this.#numbering = own ?? numbering.begin(guest, 0);
      this.#sent = 0;
      this.#isNew = true;
    } else if (own === last.numbering) {
      // After a power failure the log may have less than Redis: other events get those numbers.
      const isLogShort = last.id > log.lastId;
      this.#numbering = isLogShort ? numbering.begin(guest, own) : own;
      this.#sent = isLogShort ? log.lastId : last.id;
    } else {
      if (this.#wasSynced)
        throw new Error(`another slashcloud publishes ${this.#key} there: give one of them another --host`);
      this.#numbering = numbering.begin(guest, last.numbering);
      this.#sent = 0;
      this.#isNew = true;
    }
    this.#wasSynced = true;
    this.#outbox.dropTo(this.#sent);
    const next = this.#isBehind ? undefined : this.#outbox.firstId;
    if ((next ?? log.lastId + 1) > this.#sent + 1) this.#fallBehind();
    this.#succeed();
  }

  /** Sends what the log has up to now. What comes meanwhile waits. */
  async #catchUp(): Promise<void> {
    const { log } = this.#options;
    const { lastId } = log;
    const replay = log.replay();
    this.#isBehind = false;
    let batch: PublishedEvent[] = [];
    let bytes = 0;
    let last = this.#sent;
    let looked = 0;
    try {
      for (const { json } of replay.lines()) {
        if (++looked % LINES === 0) await others();
        if (!(idOf(json) > last)) continue;
        const event = parsed(json);
        if (event === undefined) continue;
        if (event.id > last + 1 && !this.#isNew) batch.push(this.#gap(last, event.id - 1));
        this.#isNew = false;
        batch.push(event);
        last = event.id;
        bytes += bytesOf(event);
        if (batch.length < MOST_EVENTS && bytes < MOST_BYTES) continue;
        await this.#send(batch);
        batch = [];
        bytes = 0;
        if (this.#isStopped || !this.#isSynced) break;
      }
      if (this.#isStopped || !this.#isSynced) {
        this.#fallBehind();
        return;
      }
      if (last < lastId) batch.push(this.#gap(last, lastId));
      await this.#send(batch);
    } catch (error) {
      this.#fallBehind();
      throw error;
    } finally {
      replay.close();
    }
  }

  /** In the place of the events after `first` up to `last`. */
  #gap(first: number, last: number): PublishedEvent {
    const { host, guest } = this.#options;
    const missed = last - first;
    const reason = `${missed} event${missed === 1 ? " was" : "s were"} not published, and no longer stored when Redis could be reached`;
    const time = new Date().toISOString().replace("Z", "000000Z");
    return { id: last, time, event: "gap", host, guest, reason, missed };
  }

  async #send(events: readonly PublishedEvent[]): Promise<void> {
    if (events.length === 0) return;
    const { connection } = this.#options;
    const entries = events.map((event) => this.#entry(event));
    await connection.send(this.#key, entries);
    const last = events.at(-1) as PublishedEvent;
    for (const event of events) {
      if ("missed" in event) this.missed += event.missed;
      else this.published++;
    }
    this.#sent = Math.max(this.#sent, last.id);
    this.#isNew = false;
    this.#outbox.dropTo(this.#sent);
    this.#succeed();
  }

  #entry(event: PublishedEvent): Entry {
    const channels = channelsOf(event);
    const [channel, former] = channels;
    const fields = ["id", String(event.id), "channel", channel];
    if (former !== undefined) fields.push("from", former);
    return {
      id: `${this.#numbering}-${event.id}`,
      channels,
      fields: [...fields, "event", documentOf(event)],
    };
  }

  #succeed(): void {
    this.#failures = 0;
    this.#options.connection.succeed(this.#key);
  }
}

function parseId(text: string | undefined): { numbering: number; id: number } | undefined {
  if (text === undefined) return undefined;
  const [numbering = "", id = ""] = text.split("-");
  return { numbering: Number(numbering), id: Number(id) };
}

/** NaN: it is not where it always is. */
function idOf(json: string): number {
  return Number.parseInt(json.slice('{"id":'.length, 32), 10);
}

/** `undefined`: the line was damaged, as by a power failure. */
function parsed(json: string): GuestEvent | undefined {
  try {
    return JSON.parse(json) as GuestEvent;
  } catch {
    return undefined;
  }
}
