/** The tap in a thread of its own: disks offered by NBD, and what is written to them. */
import { Worker } from "node:worker_threads";
import type { Address } from "../capture/nbd/server.js";
import type { GuardedGuest } from "../capture/qmp/attachment.js";
import type { Log } from "../images/image.js";
import type { QueueCounters, QueueLimits } from "../queue/write-queue.js";
import type { WriteRecord } from "../queue/write-record.js";
import {
  type FromTap,
  type TapAnswers,
  type TapDisk,
  type TapRequest,
  type ToTap,
  unpackRecords,
} from "./tap-messages.js";

export interface TappingOptions {
  /** The queue of each disk; what is not given is as the queue has it. */
  readonly limits?: Partial<QueueLimits>;
  readonly log: Log;
  /** Works on a disk's writes, a batch at a time, in order. Must not reject. However long it takes, no guest waits. */
  readonly consume: (disk: string, records: readonly WriteRecord[]) => Promise<void> | void;
  /** A disk has its first client, or no longer any; what was written by then has been worked on. */
  readonly used?: (disk: string, isUsed: boolean) => void;
  /** Takes what is asked of a disk that is traced; see AccessLog. */
  readonly onAccesses?: (disk: string, accesses: Float64Array) => void;
  /** The thread ended by itself: no disk is offered any more. */
  readonly onDeath: (why: Error) => void;
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class Tapping {
  readonly #options: TappingOptions;
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;
  #isStopping = false;

  constructor(options: TappingOptions) {
    this.#options = options;
    this.#worker = new Worker(new URL("./tap-thread.js", import.meta.url));
    this.#worker.on("message", (message: FromTap) => this.#take(message));
    this.#worker.on("error", (error) => this.#die(error));
    this.#worker.on("exit", () => this.#die(new Error("the tap's thread has ended")));
  }

  /**
   * Listens at one more place, for disks whose names begin with `prefix`. Returns where. Rejects with one line that tells
   * why not.
   */
  listen(address: Address, prefix = ""): Promise<Address> {
    return this.#ask({ kind: "listen", address, prefix });
  }

  /** Offers a disk; returns its bytes. Rejects with one line that tells why not. */
  add(disk: TapDisk): Promise<number> {
    return this.#ask({ kind: "add", disk, limits: this.#options.limits ?? {} });
  }

  /** Ends a disk's connections at once; done when all its writes have been worked on. Returns what came of them. */
  remove(name: string): Promise<QueueCounters | undefined> {
    return this.#ask({ kind: "remove", name });
  }

  /** Tells where a disk's metadata is, which is kept longest: pairs of a first byte and the byte after the last, in order. */
  setMetadata(name: string, ranges: Float64Array): Promise<undefined> {
    return this.#ask({ kind: "metadata", name, ranges });
  }

  /** Has a watchdog see to it that a running guest never waits for the tap. Rejects if there is none. */
  guard(guest: GuardedGuest): Promise<undefined> {
    return this.#ask({ kind: "guard", guest });
  }

  release(socket: string): Promise<undefined> {
    return this.#ask({ kind: "release", socket });
  }

  /** Undefined for a disk that is not offered. */
  counters(name: string): Promise<QueueCounters | undefined> {
    return this.#ask({ kind: "counters", name });
  }

  /** Lets requests that are under way end, then all; done when all writes have been worked on. Returns what came of them. */
  async stop(): Promise<TapAnswers["stop"]> {
    this.#isStopping = true;
    const counters = await this.#ask({ kind: "stop" });
    await this.#worker.terminate();
    return counters;
  }

  #ask<Kind extends TapRequest["kind"]>(request: TapRequest & { kind: Kind }): Promise<TapAnswers[Kind]> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve: (value) => resolve(value as TapAnswers[Kind]), reject });
      this.#post({ kind: "request", id, request });
    });
  }

  #take(message: FromTap): void {
    switch (message.kind) {
      case "log":
        this.#options.log(message.line);
        return;
      case "used":
        this.#options.used?.(message.disk, message.isUsed);
        return;
      case "accesses":
        this.#options.onAccesses?.(message.disk, message.accesses);
        this.#post({ kind: "traced", disk: message.disk });
        return;
      case "batch":
        void this.#consume(message.batch, message.disk, unpackRecords(message.records));
        return;
      default: {
        const pending = this.#pending.get(message.id);
        this.#pending.delete(message.id);
        if (message.kind === "answer") pending?.resolve(message.value);
        else pending?.reject(Object.assign(new Error(message.message), { code: message.code }));
      }
    }
  }

  async #consume(batch: number, disk: string, records: readonly WriteRecord[]): Promise<void> {
    await this.#options.consume(disk, records);
    this.#post({ kind: "done", batch });
  }

  #post(message: ToTap): void {
    this.#worker.postMessage(message);
  }

  #die(error: Error): void {
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
    if (!this.#isStopping) this.#options.onDeath(error);
    this.#isStopping = true;
  }
}
