/** What guests write, as the process of the tap tells it, handed to whoever follows the guest. */
import { FeedClient } from "../capture/feed/feed-client.js";
import type { FeedDisk } from "../capture/feed/frames.js";
import type { Log } from "../images/image.js";
import type { WriteRecord } from "../queue/write-record.js";
import type { StreamTaker } from "./stream-taker.js";

export interface StreamsOptions {
  /** The socket that writes are told on. */
  readonly path: string;
  /** Who follows a guest; undefined: nobody. */
  readonly takerOf: (guest: string) => StreamTaker | undefined;
  readonly log: Log;
}

export class Streams {
  readonly #client: FeedClient;
  readonly #takerOf: StreamsOptions["takerOf"];
  /** Those that have told of a write: a disk that is only offered may be written to by another way. */
  readonly #begun = new Map<number, FeedDisk>();

  /** Begins to listen. */
  constructor({ path, takerOf, log }: StreamsOptions) {
    this.#takerOf = takerOf;
    this.#client = new FeedClient({
      path,
      log,
      disks: (disks) => this.#setDisks(disks),
      written: (disk, records) => this.#written(disk, records),
    });
  }

  /** Where the metadata of a guest's disk is: pairs of a first byte and the byte after the last, in order. */
  tellMetadata(guest: string, disk: number, ranges: Float64Array): void {
    this.#client.tellMetadata(guest, disk, ranges);
  }

  stop(): void {
    this.#client.stop();
  }

  #setDisks(disks: readonly FeedDisk[]): void {
    const numbers = new Set(disks.map(({ number }) => number));
    for (const [number, { guest, disk }] of this.#begun) {
      if (numbers.has(number)) continue;
      this.#begun.delete(number);
      if (!this.#isBegun(guest, disk)) this.#takerOf(guest)?.streamEnded(guest, disk);
    }
  }

  #written(told: FeedDisk, records: readonly WriteRecord[]): void {
    const { number, guest, disk } = told;
    const taker = this.#takerOf(guest);
    if (taker === undefined) return;
    if (!this.#begun.has(number)) {
      if (records.every(({ kind }) => kind === "gap")) return;
      const isNew = !this.#isBegun(guest, disk);
      this.#begun.set(number, told);
      if (isNew) taker.streamBegins(guest, disk);
    }
    taker.written(guest, disk, records);
  }

  #isBegun(guest: string, disk: number): boolean {
    return [...this.#begun.values()].some((other) => other.guest === guest && other.disk === disk);
  }
}
