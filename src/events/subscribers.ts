/** Who listens to events as they happen. Nobody is waited for: who is too slow is told how much he missed. */
import type { ScopedEvent } from "./event.js";

/** Events that wait for one subscriber. */
const MOST_WAITING = 10_000;

/** So many events were passed over. */
export interface Missed {
  readonly missed: number;
}

/** One who listens. */
export class Subscription {
  #waiting: (ScopedEvent | Missed)[] = [];
  #missed = 0;
  #wake: (() => void) | undefined;
  readonly #leave: () => void;
  #isClosed = false;

  constructor(leave: () => void) {
    this.#leave = leave;
  }

  offer(events: readonly ScopedEvent[]): void {
    for (const event of events) {
      if (this.#waiting.length >= MOST_WAITING) this.#missed++;
      else {
        if (this.#missed > 0) this.#waiting.push({ missed: this.#missed });
        this.#missed = 0;
        this.#waiting.push(event);
      }
    }
    this.#wake?.();
  }

  /** What has come since, as soon as there is something; empty once it is closed. */
  async take(): Promise<readonly (ScopedEvent | Missed)[]> {
    if (this.#waiting.length === 0 && !this.#isClosed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    const taken = this.#waiting;
    this.#waiting = [];
    if (this.#missed > 0) taken.push({ missed: this.#missed });
    this.#missed = 0;
    return taken;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  close(): void {
    this.#isClosed = true;
    this.#leave();
    this.#wake?.();
  }
}

export class Subscribers {
  readonly #subscriptions = new Set<Subscription>();

  subscribe(): Subscription {
    const subscription: Subscription = new Subscription(() => this.#subscriptions.delete(subscription));
    this.#subscriptions.add(subscription);
    return subscription;
  }

  publish(events: readonly ScopedEvent[]): void {
    for (const subscription of this.#subscriptions) subscription.offer(events);
  }
}
