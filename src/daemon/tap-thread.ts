/**
 * The thread that the tap lives in: it does nothing but pass on requests and acknowledge them, so whatever its owner is
 * busy with, no guest waits. What the owner has not yet taken is in the queues, whose policy decides when they are full.
 */
import { type MessagePort, parentPort } from "node:worker_threads";
import { AccessLog } from "../capture/access-log.js";
import { LOG_SIZE, LogSink } from "../capture/log-sink.js";
import { Export, type Store } from "../capture/nbd/export.js";
import { openImageStore } from "../capture/nbd/image-store.js";
import { MirrorStore } from "../capture/nbd/mirror-store.js";
import { NbdServer } from "../capture/nbd/server.js";
import { WatchdogKeeper } from "../capture/qmp/watchdog-keeper.js";
import { overlaps } from "../queue/ranges.js";
import { type QueueCounters, type QueueLimits, WriteQueue } from "../queue/write-queue.js";
import type { WriteRecord, WriteSink } from "../queue/write-record.js";
import {
  type FromTap,
  packRecords,
  type TapAnswers,
  type TapDisk,
  type TapRequest,
  type ToTap,
} from "./tap-messages.js";

/** Takes what nobody wants. */
const NOBODY: WriteSink = { take: () => undefined };

/** A disk that is offered. */
interface Tapped {
  readonly store: Store;
  readonly queue: WriteQueue;
  readonly accesses: AccessLog | undefined;
  metadata: Float64Array;
  clients: number;
}

class TapThread {
  readonly #port: MessagePort;
  readonly #server: NbdServer;
  readonly #disks = new Map<string, Tapped>();
  /** Batches that the owner works on, by number. */
  readonly #batches = new Map<number, () => void>();
  #lastBatch = 0;
  /** This thread's heartbeat is what counts, as guests wait for it. */
  #watchdog: WatchdogKeeper | undefined;

  constructor(port: MessagePort) {
    this.#port = port;
    this.#server = new NbdServer({
      log: (line) => this.#log(line),
      used: (name, change) => void this.#used(name, change),
    });
    port.on("message", (message: ToTap) => {
      if (message.kind === "done") this.#done(message.batch);
      else if (message.kind === "traced") this.#disks.get(message.disk)?.accesses?.taken();
      else void this.#serve(message.id, message.request);
    });
  }

  async #serve(id: number, request: TapRequest): Promise<void> {
    try {
      const value = await this.#answer(request);
      this.#post({ kind: "answer", id, value });
      if (request.kind === "stop") this.#port.close();
    } catch (error) {
      const { message, code = "" } = error as NodeJS.ErrnoException;
      this.#post({ kind: "refusal", id, message, code });
    }
  }

  async #answer(request: TapRequest): Promise<unknown> {
    switch (request.kind) {
      case "listen":
        return this.#server.listen(request.address, request.prefix);
      case "add":
        return this.#add(request.disk, request.limits);
      case "remove":
        return this.#remove(request.name);
      case "metadata": {
        const tapped = this.#disks.get(request.name);
        if (tapped !== undefined) tapped.metadata = request.ranges;
        return undefined;
      }
      case "counters": {
        const tapped = this.#disks.get(request.name);
        return tapped && { ...tapped.queue.counters };
      }
      case "guard":
        this.#watchdog ??= new WatchdogKeeper({ log: (line) => this.#log(line) });
        return this.#watchdog.guard(request.guest);
      case "release":
        return this.#watchdog?.release(request.socket);
      case "stop":
        return this.#stop();
    }
  }

  async #stop(): Promise<TapAnswers["stop"]> {
    await this.#server.stop();
    await this.#watchdog?.stop();
    const counters = new Map<string, QueueCounters>();
    for (const name of [...this.#disks.keys()]) counters.set(name, (await this.#remove(name))!);
    return counters;
  }

  async #add(disk: TapDisk, limits: Partial<QueueLimits>): Promise<number> {
    const { name } = disk;
    if (this.#disks.has(name)) throw new RangeError(`there is a disk ${name} already`);
    const store = await openStore(disk);
    const queue = new WriteQueue({
      ...limits,
      consume: (batch) => this.#hand(name, batch),
      isMetadata: (record) => overlaps(tapped.metadata, record.offset, record.offset + record.length),
    });
    const accesses = disk.kind === "image" && disk.isTraced ? this.#accessesOf(name) : undefined;
    const tapped: Tapped = { store, queue, accesses, metadata: new Float64Array(), clients: 0 };
    this.#disks.set(name, tapped);
    this.#server.add(
      new Export(name, disk.kind === "image" ? disk.path : disk.kind, store, this.#sinkOf(disk, queue), {
        tellsData: disk.kind === "log" || disk.tellsData !== false,
        accesses,
      }),
    );
    return disk.kind === "image" ? store.size : disk.size;
  }

  #accessesOf(disk: string): AccessLog {
    return new AccessLog((accesses) => this.#post({ kind: "accesses", disk, accesses }, [accesses.buffer]));
  }

  #sinkOf(disk: TapDisk, queue: WriteQueue): WriteSink {
    if (disk.kind === "image") return disk.isCaptured ? queue : NOBODY;
    if (disk.kind === "mirror") return queue;
    const log = (line: string) => this.#log(`${disk.name}: ${line}`);
    return new LogSink({ sectorSize: disk.sectorSize, diskSize: disk.size, sink: queue, log });
  }

  async #remove(name: string): Promise<QueueCounters | undefined> {
    await this.#server.remove(name);
    const tapped = this.#disks.get(name);
    this.#disks.delete(name);
    tapped?.accesses?.flush();
    await tapped?.queue.flush();
    await tapped?.store.close();
    return tapped && { ...tapped.queue.counters };
  }

  async #used(disk: string, change: number): Promise<void> {
    const tapped = this.#disks.get(disk);
    if (tapped === undefined) return;
    tapped.clients += change;
    if (change > 0 && tapped.clients === 1) this.#post({ kind: "used", disk, isUsed: true });
    if (tapped.clients > 0) return;
    await tapped.queue.flush();
    if (tapped.clients === 0) this.#post({ kind: "used", disk, isUsed: false });
  }

  #hand(disk: string, batch: readonly WriteRecord[]): Promise<void> {
    const number = ++this.#lastBatch;
    const records = packRecords(batch);
    this.#post({ kind: "batch", batch: number, disk, records }, records.data);
    return new Promise((resolve) => this.#batches.set(number, resolve));
  }

  #done(batch: number): void {
    this.#batches.get(batch)?.();
    this.#batches.delete(batch);
  }

  #log(line: string): void {
    this.#post({ kind: "log", line });
  }

  #post(message: FromTap, transfers: ArrayBuffer[] = []): void {
    this.#port.postMessage(message, transfers);
  }
}

async function openStore(disk: TapDisk): Promise<Store> {
  if (disk.kind === "image") return openImageStore(disk.path, disk.isReadOnly);
  return new MirrorStore(disk.kind === "log" ? LOG_SIZE : disk.size);
}

if (parentPort !== null) new TapThread(parentPort);
