/** What guests write, as the process of the tap tells it, handed to whoever follows the guest. */
import { FeedClient } from "../capture/feed/feed-client.js";
import type { FeedDisk } from "../capture/feed/frames.js";
import type { Log } from "../images/image.js";
import type { WriteRecord } from "../queue/write-record.js";
import type { StreamTaker } from "./stream-taker.js";

export interface StreamsOptions {
  /** The sockets that writes are told on. */
  readonly paths: readonly string[];
  /** Who follows a guest; undefined: nobody. */
  readonly takerOf: (guest: string) => StreamTaker | undefined;
  readonly log: Log;
}

/** A socket, and those of its disks of which a write has been told: one that is only offered may be written to otherwise. */
interface Feed {
  readonly client: FeedClient;
  readonly begun: Map<number, FeedDisk>;
}

export class Streams {
  readonly #feeds: readonly Feed[];
  readonly #takerOf: StreamsOptions["takerOf"];

  /** Begins to listen. */
  constructor({ paths, takerOf, log }: StreamsOptions) {
    this.#takerOf = takerOf;
    this.#feeds = paths.map((path) => {
      const begun = new Map<number, FeedDisk>();
      const client = new FeedClient({
        path,
        log,
        disks: (disks) => this.#setDisks(begun, disks),
        written: (disk, records) => this.#written(begun, disk, records),
      });
      return { client, begun };
    });
  }

  /** Where the metadata of a guest's disk is: pairs of a first byte and the byte after the last, in order. */
  tellMetadata(guest: string, disk: number, ranges: Float64Array): void {
    for (const { client } of this.#feeds) client.tellMetadata(guest, disk, ranges);
  }

  stop(): void {
    for (const { client } of this.#feeds) client.stop();
  }

  #setDisks(begun: Map<number, FeedDisk>, disks: readonly FeedDisk[]): void {
    const numbers = new Set(disks.map(({ number }) => number));
    for (const [number, { guest, disk }] of begun) {
      if (numbers.has(number)) continue;
      begun.delete(number);
      if (!this.#isBegun(guest, disk)) this.#takerOf(guest)?.streamEnded(guest, disk);
    }
  }

  #written(begun: Map<number, FeedDisk>, told: FeedDisk, records: readonly WriteRecord[]): void {
    const { number, guest, disk } = told;
    const taker = this.#takerOf(guest);
    if (taker === undefined) return;
    if (!begun.has(number)) {
      if (records.every(({ kind }) => kind === "gap")) return;
      const isNew = !this.#isBegun(guest, disk);
      begun.set(number, told);
      if (isNew) taker.streamBegins(guest, disk);
    }
    taker.written(guest, disk, records);
  }

  #isBegun(guest: string, disk: number): boolean {
    return this.#feeds.some(({ begun }) =>
      [...begun.values()].some((other) => other.guest === guest && other.disk === disk),
    );
  }
}
