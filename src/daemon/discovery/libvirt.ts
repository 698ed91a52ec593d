/**
 * Guests that libvirt has, running or not. What changes is told by libvirt's events, at once; an external snapshot is none
 * of them, so all is looked at by interval, too. For the process that may start programs, which no server does.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Domain } from "./libvirt-domain.js";
import { guestsOf } from "./libvirt-guests.js";
import { LibvirtInventory } from "./libvirt-inventory.js";
import type { LibvirtSettings } from "./libvirt-settings.js";
import type { FoundGuest, GuestSource } from "./source.js";
import { Virsh } from "./virsh.js";

/** ms between looks, unless the options say otherwise. */
const INTERVAL = 10_000;
/** ms that virsh may take. */
const DEADLINE = 10_000;
/** ms for which events are gathered: they come in groups. */
const SETTLE = 100;
/** ms between looks at least, whatever a guest makes happen. */
const LEAST = 500;
/** ms after which events surely come: what happened before is looked for once more. */
const SOON = 1_000;
/** ms until events are asked for again where libvirt has none. */
const EVENTS_RETRY = 300_000;

/** Events after which a domain may be another one, or have other images. */
const TELLING = new Set([
  "lifecycle",
  "block-job-2",
  "disk-change",
  "device-added",
  "device-removed",
  "job-completed",
]);

export interface LibvirtOptions {
  /** ms between looks. */
  readonly interval?: number;
  /** ms that a call of virsh may take. */
  readonly deadline?: number;
}

export class LibvirtSource implements GuestSource {
  readonly name = "libvirt";
  readonly #settings: LibvirtSettings;
  readonly #interval: number;
  readonly #virsh: Virsh;
  #running: Promise<unknown> = Promise.resolve();
  #events: Promise<void> | undefined;
  /** When they may be asked for again. */
  #eventsFrom = 0;
  #isStopped = false;
  /** When the last look began, when the next one is due, and what to call when that changes. */
  #begun = 0;
  #due = 0;
  #wake: () => void = () => {};
  /** Whether it could not be asked when it was last tried, which the log was told of. */
  #isAway = false;
  #toldOfEvents = false;
  /** What was found last. */
  #found = "";

  constructor(settings: LibvirtSettings, { interval = INTERVAL, deadline = DEADLINE }: LibvirtOptions = {}) {
    this.#settings = settings;
    this.#interval = interval;
    this.#virsh = new Virsh(settings.uri, deadline);
  }

  start(found: (guests: readonly FoundGuest[]) => void, log: (line: string) => void): void {
    const say = (line: string) => log(`libvirt (${this.#settings.uri}): ${line}`);
    const inventory = new LibvirtInventory(this.#virsh, say);
    this.#running = this.#run(inventory, found, say);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#wake();
    this.#virsh.stop();
    await this.#running;
    await this.#events;
  }

  async #run(
    inventory: LibvirtInventory,
    found: (guests: readonly FoundGuest[]) => void,
    say: (line: string) => void,
  ): Promise<void> {
    while (!this.#isStopped) {
      this.#begun = performance.now();
      this.#due = this.#begun + this.#interval;
      try {
        const domains = await inventory.domains();
        if (this.#isStopped) return;
        if (this.#isAway) say("answers again");
        this.#isAway = false;
        this.#listen(say);
        this.#tell(domains, inventory, found);
      } catch (error) {
        const { message } = error as Error;
        if (this.#isStopped) return;
        if (!this.#isAway) say(`${message}; guests that were found stay as they were, and it is tried again`);
        this.#isAway = true;
      }
      await this.#untilDue();
    }
  }

  #tell(
    domains: readonly Domain[],
    inventory: LibvirtInventory,
    found: (guests: readonly FoundGuest[]) => void,
  ): void {
    const guests = guestsOf(domains, this.#settings, (pool, volume) => inventory.volumePath(pool, volume));
    const text = JSON.stringify(guests);
    if (text === this.#found) return;
    this.#found = text;
    found(guests);
  }

  /** Has events wake it, where libvirt tells them. */
  #listen(say: (line: string) => void): void {
    if (this.#events !== undefined || performance.now() < this.#eventsFrom) return;
    const begun = performance.now();
    this.#events = this.#virsh
      .events((kind) => {
        if (TELLING.has(kind)) this.#lookWithin(SETTLE);
      })
      .then((why) => {
        this.#events = undefined;
        if (this.#isStopped) return;
        // One that was restarted has ended its connections, and the next look finds it again.
        if (performance.now() - begun > SOON) return this.#lookWithin(SOON);
        this.#eventsFrom = performance.now() + EVENTS_RETRY;
        if (!this.#toldOfEvents)
          say(`it tells no events (${why}): changes are seen every ${this.#interval / 1000} s`);
        this.#toldOfEvents = true;
      });
    this.#lookWithin(SOON);
  }

  /** Has the next look be in so many ms, if not before. */
  #lookWithin(wait: number): void {
    this.#due = Math.min(this.#due, Math.max(performance.now() + wait, this.#begun + LEAST));
    this.#wake();
  }

  async #untilDue(): Promise<void> {
    for (;;) {
      const left = this.#due - performance.now();
      if (left <= 0 || this.#isStopped) return;
      const ended = new AbortController();
      this.#wake = () => ended.abort();
      await sleep(left, undefined, { signal: ended.signal, ref: false }).catch(() => {});
    }
  }
}
