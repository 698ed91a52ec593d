/**
 * Watching images for what their guests write. Looks at each at an interval that follows how much happens: a few
 * milliseconds while a guest is busy, a fraction of a second while it is not. Where the image's writer triggers inotify,
 * that wakes the watch earlier; not all do.
 */
import { type FSWatcher, watch } from "node:fs";

/** What can be looked at. */
export interface Watched {
  /** The image's path. */
  readonly path: string;
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

/** One watch of one thing. */
class Patrol {
  readonly #watched: Watched;
  #interval = SHORTEST;
  #timer: NodeJS.Timeout | undefined;
  #due = Number.POSITIVE_INFINITY;
  #watcher: FSWatcher | undefined;

  constructor(watched: Watched) {
    this.#watched = watched;
    try {
      this.#watcher = watch(watched.path, { persistent: false }, () => this.#schedule(WAKE));
      // A watch that ends is only a wake-up less.
      this.#watcher.on("error", () => {});
    } catch {
      this.#watcher = undefined;
    }
    this.#schedule(SHORTEST);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#watcher?.close();
    this.#due = 0;
  }

  #schedule(wait: number): void {
    const due = performance.now() + wait;
    if (due >= this.#due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => this.#look(), wait);
  }

  #look(): void {
    this.#due = Number.POSITIVE_INFINITY;
    this.#interval = this.#watched.look() ? SHORTEST : Math.min(LONGEST, this.#interval * GROWTH);
    this.#schedule(this.#interval);
  }
}

/** All that is watched. */
export class Watch {
  readonly #patrols: Patrol[] = [];

  add(watched: Watched): void {
    this.#patrols.push(new Patrol(watched));
  }

  stop(): void {
    for (const patrol of this.#patrols) patrol.stop();
    this.#patrols.length = 0;
  }
}
