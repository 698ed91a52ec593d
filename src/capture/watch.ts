/**
 * Watching images for what their guests write. Looks at each at an interval that follows how much happens: a few
 * milliseconds while a guest is busy, a fraction of a second while it is not. Where the image's writer triggers inotify,
 * that wakes the watch earlier; not all do.
 */
import { type FSWatcher, watch } from "node:fs";

/** What can be looked at. */
export interface Watched {
  /** The image's path; undefined: it is no file of this host's. */
  readonly path: string | undefined;
  /** Looks once; returns whether there was anything new. Must not throw. */
  look(): boolean;
}

/** ms between looks: after something was found, and when nothing has been for long. */
const SHORTEST = 5;
const LONGEST = 200;
/** How much longer each wait in vain makes the next. */
const GROWTH = 1.5;
/** ms from a wake-up to the look: a transaction comes in several writes. */
const WAKE = 1;
/** ms that a timer may fire early, as its clock is coarser. */
const EARLY = 1;

/** One thing that is watched. */
interface Patrol {
  readonly watched: Watched;
  readonly watcher: FSWatcher | undefined;
  /** ms from the last look to the next. */
  interval: number;
  /** When it is looked at next, by performance.now(). */
  due: number;
}

/** All that is watched. */
export class Watch {
  readonly #patrols: Patrol[] = [];
  /** One for all: to wake up costs more than to look. */
  #timer: NodeJS.Timeout | undefined;
  #wakesAt = Number.POSITIVE_INFINITY;

  add(watched: Watched): void {
    const { path } = watched;
    const watcher = path === undefined ? undefined : wakeUp(path, () => this.#lookIn(patrol, WAKE));
    const patrol: Patrol = { watched, watcher, interval: SHORTEST, due: Number.POSITIVE_INFINITY };
    this.#patrols.push(patrol);
    this.#lookIn(patrol, SHORTEST);
  }

  stop(): void {
    clearTimeout(this.#timer);
    for (const { watcher } of this.#patrols) watcher?.close();
    this.#patrols.length = 0;
  }

  #lookIn(patrol: Patrol, wait: number): void {
    patrol.due = Math.min(patrol.due, performance.now() + wait);
    this.#wakeFor(patrol);
  }

  #wakeFor({ due }: Patrol): void {
    if (due >= this.#wakesAt) return;
    clearTimeout(this.#timer);
    this.#wakesAt = due;
    this.#timer = setTimeout(() => this.#round(), Math.max(0, due - performance.now()));
  }

  /** Looks at all that is due. */
  #round(): void {
    this.#wakesAt = Number.POSITIVE_INFINITY;
    const now = performance.now();
    for (const patrol of this.#patrols) {
      if (patrol.due <= now + EARLY) this.#look(patrol);
    }
    for (const patrol of this.#patrols) this.#wakeFor(patrol);
  }

  #look(patrol: Patrol): void {
    patrol.interval = patrol.watched.look() ? SHORTEST : Math.min(LONGEST, patrol.interval * GROWTH);
    const now = performance.now();
    // Those at rest are all looked at in the same round.
    patrol.due =
      patrol.interval < LONGEST ? now + patrol.interval : (Math.floor(now / LONGEST) + 1) * LONGEST;
  }
}

/** Calls `wake` when a file is written to, if its writer triggers inotify. Undefined: it cannot be watched. */
function wakeUp(path: string, wake: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(path, { persistent: false }, wake);
    // A watch that ends is only a wake-up less.
    watcher.on("error", () => {});
    return watcher;
  } catch {
    return undefined;
  }
}
