/** Disks whose guests' QEMU tells their writes through pipes: each is a disk of the feed while somebody writes. */
import { statSync } from "node:fs";
import type { FeedDisk } from "../capture/feed/frames.js";
import { PipeCapture } from "../capture/pipe/pipe-capture.js";
import type { Log } from "../images/image.js";
import { openRawImage } from "../images/raw.js";
import { overlaps } from "../queue/ranges.js";
import { type QueueCounters, type QueueLimits, WriteQueue } from "../queue/write-queue.js";
import type { WriteRecord } from "../queue/write-record.js";
import type { PipedDisk } from "./tap-process-messages.js";

export interface PipedDisksOptions {
  readonly limits: Partial<QueueLimits>;
  /** The writes of a disk are told from now on. */
  readonly offer: (name: string, disk: Omit<FeedDisk, "number" | "unknownLife">) => void;
  /** Or no longer. */
  readonly withdraw: (name: string) => void;
  /** Works on a batch; must not reject. */
  readonly consume: (name: string, records: readonly WriteRecord[]) => Promise<void> | undefined;
  readonly log: Log;
}

export class PipedDisks {
  readonly #options: PipedDisksOptions;
  readonly #captures: PipeCapture[] = [];
  readonly #queues = new Map<string, WriteQueue>();
  /** Where the metadata of each is, as Tapping.setMetadata takes it. */
  readonly #metadata = new Map<string, Float64Array>();

  constructor(options: PipedDisksOptions) {
    this.#options = options;
  }

  /** Throws errors of one line. */
  async start(disks: readonly PipedDisk[]): Promise<void> {
    for (const disk of disks) this.#captures.push(await this.#start(disk));
  }

  setMetadata(name: string, ranges: Float64Array): void {
    this.#metadata.set(name, ranges);
  }

  /** Undefined for a disk that is not offered. */
  counters(name: string): QueueCounters | undefined {
    const queue = this.#queues.get(name);
    return queue && { ...queue.counters };
  }

  stop(): void {
    for (const capture of this.#captures) capture.stop();
  }

  #start({ name, guest, disk, path, place, form }: PipedDisk): Promise<PipeCapture> {
    const { limits, offer, withdraw, consume, log } = this.#options;
    const image = openRawImage(path);
    const { size } = image;
    image.close();
    const queue = new WriteQueue({
      ...limits,
      consume: (batch) => consume(name, batch),
      isMetadata: ({ offset, length }) => {
        const ranges = this.#metadata.get(name);
        return ranges !== undefined && overlaps(ranges, offset, offset + length);
      },
    });
    this.#queues.set(name, queue);
    let isTold = false;
    return PipeCapture.start({
      place,
      form,
      diskSize: size,
      // Those who are told look at the disk itself.
      tellsData: false,
      owner: statSync(path),
      sink: queue,
      begins: () => {
        isTold = true;
        offer(name, { guest, disk, size, capture: "pipe" });
      },
      ends: () => {
        isTold = false;
        // What came last is worked on first.
        void queue.flush().then(() => {
          if (!isTold) withdraw(name);
        });
      },
      log,
    });
  }
}
