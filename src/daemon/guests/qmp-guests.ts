/** Guests that are attached to by their QEMU's monitor as soon as it is there, and again when it comes back. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../../images/image.js";
import type { FoundGuest } from "../discovery/source.js";
import type { TapKeeper } from "../tap-keeper.js";
import { lookAt } from "./image-looks.js";
import { atMost } from "./patience.js";

/** ms between looks whether a monitor is there. */
const LOOK_EVERY = 1000;
/** ms until one that refuses is asked again: at first and at most, each time twice as long. */
const RETRY = 2000;
const LONGEST_RETRY = 60_000;

interface QmpGuest {
  readonly found: FoundGuest;
  readonly key: string;
  /** Where its disks can be read while it is attached to. */
  images: readonly string[] | undefined;
  /** Why it is not. */
  reason: string;
  isWanted: boolean;
  hasBeenTried: boolean;
  /** Settles after the first try. */
  readonly tried: Promise<unknown>;
  /** Ends a pause. */
  readonly pause: AbortController;
}

export interface QmpGuestsOptions {
  readonly mirrors: Pick<TapKeeper, "attach" | "detach">;
  /** What can be read of a guest has changed. */
  readonly changed: () => void;
  readonly log: Log;
}

export class QmpGuests {
  readonly #options: QmpGuestsOptions;
  readonly #guests = new Map<string, QmpGuest>();

  constructor(options: QmpGuestsOptions) {
    this.#options = options;
  }

  /** Attaches to these from now on; returns those that are to be let go of, once they are no longer shown. */
  want(wanted: readonly FoundGuest[]): Iterable<string> {
    const keys = new Map(wanted.map((guest) => [guest.name, keyOf(guest)]));
    const left: string[] = [];
    for (const [name, guest] of this.#guests) {
      if (keys.get(name) === guest.key) continue;
      guest.isWanted = false;
      guest.pause.abort();
      if (guest.images !== undefined) left.push(name);
      this.#guests.delete(name);
    }
    for (const guest of wanted) if (!this.#guests.has(guest.name)) this.#begin(guest, left);
    return left;
  }

  /** Resolves when each was tried once, or after some ms. */
  async tried(patience: number): Promise<void> {
    await atMost(patience, Promise.all([...this.#guests.values()].map(({ tried }) => tried)));
  }

  /** Whether it is about to be attached to for the first time. */
  isBeingTried(name: string): boolean {
    return this.#guests.get(name)?.hasBeenTried === false;
  }

  /** Where a guest's disks can be read; undefined: it is not attached to. */
  images(name: string): readonly string[] | undefined {
    return this.#guests.get(name)?.images;
  }

  /** Why it is not attached to. */
  reason(name: string): string {
    return this.#guests.get(name)?.reason ?? "";
  }

  /** A guest that was attached to has gone by itself; false if it is none of these. */
  gone(name: string, reason: string): boolean {
    const guest = this.#guests.get(name);
    if (guest?.images === undefined) return false;
    guest.images = undefined;
    guest.reason = reason;
    void this.#keepAttached(guest, LOOK_EVERY);
    return true;
  }

  /** A guest's disks can be read elsewhere now; false if it is none of these. */
  moved(name: string, images: readonly string[]): boolean {
    const guest = this.#guests.get(name);
    if (guest?.images === undefined) return false;
    guest.images = images;
    return true;
  }

  stop(): void {
    for (const guest of this.#guests.values()) {
      guest.isWanted = false;
      guest.pause.abort();
    }
    this.#guests.clear();
  }

  #begin(found: FoundGuest, left: readonly string[]): void {
    let tried: () => void = () => {};
    const guest: QmpGuest = {
      found,
      key: keyOf(found),
      images: undefined,
      reason: `${found.qmp}: its QEMU has not been asked yet`,
      isWanted: true,
      hasBeenTried: false,
      tried: new Promise<void>((resolve) => {
        tried = () => {
          guest.hasBeenTried = true;
          resolve();
          this.#options.changed();
        };
      }),
      pause: new AbortController(),
    };
    this.#guests.set(found.name, guest);
    // By the same name, the former one is let go of first.
    const before = left.includes(found.name) ? LOOK_EVERY : 0;
    void this.#keepAttached(guest, before, () => tried());
  }

  async #keepAttached(guest: QmpGuest, before: number, tried = (): void => {}): Promise<void> {
    const { name, qmp: socket = "" } = guest.found;
    const { changed, log } = this.#options;
    await pause(before, guest);
    let wait = RETRY;
    let retryAt = 0;
    // A socket that was left by one that was killed is another file when there is a QEMU again.
    for (let file: string | undefined; guest.isWanted; await pause(LOOK_EVERY, guest)) {
      const found = await fileAt(socket);
      if (found === file && performance.now() < retryAt) continue;
      if (found !== file) wait = RETRY;
      file = found;
      const problem =
        file === "" ? `${socket}: is not there: the guest is not running` : await this.#attach(guest, socket);
      const isNew = problem !== guest.reason;
      guest.reason = problem;
      if (!guest.hasBeenTried) tried();
      if (problem === "") return;
      if (isNew && guest.isWanted) {
        if (file !== "") log(`${name}: is not attached to yet: ${problem}`, { guest: name });
        changed();
      }
      retryAt = performance.now() + wait;
      wait = Math.min(2 * wait, LONGEST_RETRY);
    }
  }

  /** Returns why it is not attached to; "" if it is. */
  async #attach(guest: QmpGuest, socket: string): Promise<string> {
    const { name, disks, capture } = guest.found;
    const { mirrors, changed, log } = this.#options;
    try {
      const images = await mirrors.attach({ guest: name, socket, disks, capture });
      if (guest.isWanted) {
        guest.images = images;
        log(`${name}: is attached to`, { guest: name, level: "info" });
        changed();
      } else await mirrors.detach(name);
      return "";
    } catch (error) {
      return (error as Error).message;
    }
  }
}

async function pause(ms: number, { pause: { signal } }: QmpGuest): Promise<void> {
  await sleep(ms, undefined, { ref: false, signal }).catch(() => {});
}

/** Which file is at a path; "": none. */
async function fileAt(path: string): Promise<string> {
  return (await lookAt(path)).id;
}

function keyOf({ qmp, disks, capture = "mirror" }: FoundGuest): string {
  return JSON.stringify([qmp, disks, capture]);
}
