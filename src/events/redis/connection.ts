/** The connection to a Redis: made again whenever it is lost, by ioredis; and what is sent over it. */
import { Cluster, Redis } from "ioredis";
import type { RedisAddress } from "./address.js";

/** ms between two tries to connect: at first, and at most. */
const FIRST_PAUSE = 100;
const LONGEST_PAUSE = 5000;
/** ms without an answer after which a connection counts as lost. */
const PATIENCE = 10_000;

/** An entry of a stream, and the channels on which it is published. */
export interface Entry {
  readonly id: string;
  readonly channels: readonly Buffer[];
  readonly fields: readonly (string | Buffer | Uint8Array)[];
}

export interface ConnectionOptions {
  readonly address: RedisAddress;
  /** Entries that a stream keeps, about. */
  readonly mostEntries: number;
  readonly isReady: () => void;
  readonly log: (line: string) => void;
}

/** ms before try `times`, from 1. */
export function pause(times: number): number {
  return Math.min(FIRST_PAUSE * 2 ** Math.min(times - 1, 10), LONGEST_PAUSE);
}

export class Connection {
  readonly #client: Redis | Cluster;
  readonly #mostEntries: number;
  readonly #shown: string;
  readonly #log: (line: string) => void;
  #since: Date | undefined;
  #problem: string | undefined;
  /** Whether it is known why the connection was lost. */
  #isExplained = false;
  #isTold = false;
  /** Streams for which something could not be done. */
  readonly #failing = new Set<string>();

  /** Begins to connect. */
  constructor({ address, mostEntries, isReady, log }: ConnectionOptions) {
    this.#mostEntries = mostEntries;
    this.#shown = address.shown;
    this.#log = log;
    const client = clientFor(address);
    this.#client = client;
    client.on("ready", () => {
      this.#since = new Date();
      this.#isExplained = false;
      isReady();
    });
    client.on("close", () => this.#lost("the connection was closed"));
    client.on("error", (error: Error & { lastNodeError?: Error }) => {
      this.#isExplained = true;
      this.fail(error.lastNodeError ?? error);
    });
    client.connect().catch(() => {
      // It has been told as an error event, and is tried again.
    });
  }

  get isReady(): boolean {
    return this.#client.status === "ready";
  }

  /** Since when it is connected; undefined: it is not. */
  get since(): Date | undefined {
    return this.isReady ? this.#since : undefined;
  }

  /** What is wrong, or was last. */
  get lastError(): string | undefined {
    return this.#problem;
  }

  /** The id that a stream gave last; undefined: there is no such stream. Rejects if it cannot be known. */
  async lastId(key: string): Promise<string | undefined> {
    let told: unknown[];
    try {
      told = (await this.#client.xinfo("STREAM", key)) as unknown[];
    } catch (error) {
      if (/no such key/.test((error as Error).message)) return undefined;
      throw error;
    }
    return String(told[told.indexOf("last-generated-id") + 1]);
  }

  /**
   * Publishes and appends to a stream: all or nothing, as a transaction of Redis; a stream refuses ids that it has had.
   * Rejects if it is not known to have been done.
   */
  async send(key: string, entries: readonly Entry[]): Promise<void> {
    const transaction = this.#client.multi();
    for (const { id, channels, fields } of entries) {
      for (const channel of channels)
        transaction.publish(channel as Buffer & string, fields.at(-1) as Buffer);
      transaction.xadd(key, "MAXLEN", "~", this.#mostEntries, id, ...(fields as (string | Buffer)[]));
    }
    const results = await transaction.exec();
    if (results === null) throw new Error("the transaction was given up");
    for (const [error] of results) if (error !== null) throw error;
  }

  /** What was asked, as for a stream, could not be done. The log is told once, until all is done again. */
  fail({ message }: Error, key = ""): void {
    this.#problem = message;
    if (key !== "") this.#failing.add(key);
    this.#tell(message);
  }

  /** What was asked for a stream has been done. */
  succeed(key: string): void {
    this.#failing.delete(key);
    if (!this.#isTold || this.#failing.size > 0) return;
    this.#log(`${this.#shown}: events are published again`);
    this.#isTold = false;
  }

  close(): void {
    this.#isTold = true;
    this.#client.disconnect();
  }

  #lost(why: string): void {
    if (!this.#isExplained) this.#problem = why;
    this.#tell(this.#problem ?? why);
  }

  #tell(why: string): void {
    if (this.#isTold) return;
    this.#isTold = true;
    this.#log(`${this.#shown}: events are not published until this is mended: ${why}`);
  }
}

function clientFor({
  kind,
  endpoints,
  path,
  master,
  database,
  username,
  password,
  sentinelPassword,
  tls,
}: RedisAddress): Redis | Cluster {
  const common = {
    connectionName: "slashcloud",
    lazyConnect: true,
    // With a connection goes what was asked over it: what has arrived is to be asked first, and what waits is counted.
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    socketTimeout: PATIENCE,
    retryStrategy: pause,
    // Known by all versions.
    protocol: 2 as const,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls }),
  };
  if (kind === "cluster") {
    const { lazyConnect: _, retryStrategy: __, enableOfflineQueue: ___, ...redisOptions } = common;
    return new Cluster([...endpoints], {
      lazyConnect: true,
      enableOfflineQueue: false,
      clusterRetryStrategy: pause,
      redisOptions,
    });
  }
  if (kind === "sentinel") {
    return new Redis({
      ...common,
      db: database,
      sentinels: [...endpoints],
      name: master as string,
      sentinelRetryStrategy: pause,
      ...(sentinelPassword === undefined ? {} : { sentinelPassword }),
      ...(tls === undefined ? {} : { enableTLSForSentinelMode: true, sentinelTLS: tls }),
    });
  }
  const [{ host, port } = { host: "localhost", port: 0 }] = endpoints;
  return new Redis({ ...common, db: database, ...(path === undefined ? { host, port } : { path }) });
}
