/** What finds guests by itself, while the configuration of that changes. */
import type { Log } from "../../images/image.js";
import type { FoundGuest, GuestSource } from "../discovery/source.js";
import type { HandedGuests } from "../succession/handed-over.js";
import type { GuestList } from "./merge.js";
import { atMost } from "./patience.js";

/** A source that is wanted. */
export interface SourcePlan {
  /** All that it depends on: with the same key it goes on as it is. */
  readonly key: string;
  make(): GuestSource;
}

interface Running {
  readonly key: string;
  readonly source: GuestSource;
  guests: readonly FoundGuest[];
  /** Settles when it has found something for the first time. */
  readonly first: Promise<void>;
  isStopped: boolean;
}

export class Sources {
  readonly #changed: () => void;
  readonly #log: Log;
  #running: readonly Running[] = [];
  /** What another daemon's had found. */
  #handed: HandedGuests["found"] = [];
  #stopping: Promise<unknown> = Promise.resolve();

  constructor(changed: () => void, log: Log) {
    this.#changed = changed;
    this.#log = log;
  }

  /** Before anything is found: what another daemon's sources have found already. */
  begin(handed: HandedGuests["found"]): void {
    this.#handed = handed;
  }

  /** Has these find guests, and no others. What takes the place of another begins with what that has found. */
  set(plans: readonly SourcePlan[]): void {
    const before = this.#running;
    const keys = new Set(plans.map(({ key }) => key));
    for (const running of before) if (!keys.has(running.key)) this.#stop(running);
    this.#running = plans.map(
      (plan) => before.find(({ key }) => key === plan.key) ?? this.#start(plan, before),
    );
  }

  /** What has been found, in the order of the plans. */
  get lists(): readonly GuestList[] {
    return this.#running.map(({ source, guests }) => ({ origin: source.name, guests, isDiscovered: true }));
  }

  /** Resolves when each has found something, or after some ms. */
  async found(patience: number): Promise<void> {
    await atMost(patience, Promise.all(this.#running.map(({ first }) => first)));
  }

  async stop(): Promise<void> {
    for (const running of this.#running) this.#stop(running);
    this.#running = [];
    await this.#stopping;
  }

  #start({ key, make }: SourcePlan, before: readonly Running[]): Running {
    const source = make();
    let isFound: () => void = () => {};
    const first = new Promise<void>((resolve) => {
      isFound = resolve;
    });
    const earlier = before.find((other) => other.source.name === source.name && other.isStopped);
    const handed = this.#handed.find((other) => other.source === source.name);
    const guests = earlier?.guests ?? handed?.guests ?? [];
    const running: Running = { key, source, guests, first, isStopped: false };
    source.start((guests) => {
      if (running.isStopped) return;
      isFound();
      if (JSON.stringify(guests) === JSON.stringify(running.guests)) return;
      running.guests = [...guests];
      this.#changed();
    }, this.#log);
    return running;
  }

  #stop(running: Running): void {
    running.isStopped = true;
    const stopped = running.source.stop().catch(({ message }: Error) => {
      this.#log(`${running.source.name}: ${message}`);
    });
    this.#stopping = Promise.all([this.#stopping, stopped]);
  }
}
