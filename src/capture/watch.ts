/**
 * Watching images for what their guests write. Looks at each at an interval that follows how much happens: a few
 * milliseconds while a guest is busy, a fraction of a second while it is not. Where the image's writer triggers inotify,
 * that wakes the watch earlier; not all do.
 */
import { type FSWatcher, watch } from "node:fs";
import type { Spot } from "../images/image.js";
import { Glance } from "./glance.js";

/** What can be looked at. */
export interface Watched {
  /** Files of this host's that change when it is written to. */
  readonly paths: readonly string[];
  /** Whether other programs read it for a look, one of which may be the writer itself. Default: no. */
  readonly isServed?: boolean;
  /**
   * Looks once; returns whether there was anything new. `quietAt`: when its spots were last seen to be as they had been
   * (ms of performance.now()), which can be later than the last look. Must not throw.
   */
  look(quietAt?: number): boolean;
  /** As long as these are as they were, a look would find nothing. Undefined: there is no telling without a look. */
  spots(): readonly Spot[] | undefined;
}

/** How watching something goes. */
export interface Watching {
  /** When it was last seen, without a look, that nothing has been written (ms of performance.now()); 0: never. */
  readonly glancedAt: number;
}

/** ms between looks: after something was found, and when nothing has been for long. */
const SHORTEST = 5;
const LONGEST = 240;
/** How much longer each wait in vain makes the next. */
const GROWTH = 1.5;
/** ms from a wake-up to the look: a transaction comes in several writes. */
const WAKE = 1;
/**
 * The same where the image is served: the least between the last look and one for a wake-up. The write that wakes comes
 * before the server takes it for done, so it is looked at again soon after.
 */
const SERVED_WAKE = 20;
/** ms that a timer may fire early, as its clock is coarser. */
const EARLY = 1;

/** One thing that is watched. */
interface Patrol {
  readonly watched: Watched;
  readonly watchers: readonly FSWatcher[];
  /** ms from the last look to the next. */
  interval: number;
  /** When it is looked at next, by performance.now(). */
  due: number;
  /** While it rests: what tells whether it still does, and when it last did. */
  glance: Glance | undefined;
  quietAt: number;
  glancedAt: number;
}

/** All that is watched. */
export class Watch {
  readonly #patrols: Patrol[] = [];
  /** One for all: to wake up costs more than to look. */
  #timer: NodeJS.Timeout | undefined;
  #wakesAt = Number.POSITIVE_INFINITY;

  add(watched: Watched): Watching {
    const patrol: Patrol = {
      watched,
      watchers: watched.paths.flatMap((path) => wakeUp(path, () => this.#wake(patrol)) ?? []),
      interval: SHORTEST,
      due: Number.POSITIVE_INFINITY,
      glance: undefined,
      quietAt: 0,
      glancedAt: 0,
    };
    this.#patrols.push(patrol);
    this.#lookIn(patrol, SHORTEST);
    return patrol;
  }

  stop(): void {
    clearTimeout(this.#timer);
    for (const { watchers } of this.#patrols) for (const watcher of watchers) watcher.close();
    this.#patrols.length = 0;
  }

  #wake(patrol: Patrol): void {
    if (patrol.watched.isServed !== true) {
      this.#lookIn(patrol, WAKE);
      return;
    }
    patrol.interval = Math.min(patrol.interval, SERVED_WAKE);
    this.#lookIn(patrol, Math.max(WAKE, patrol.quietAt + SERVED_WAKE - performance.now()));
  }

  #lookIn(patrol: Patrol, wait: number): void {
    patrol.due = Math.min(patrol.due, performance.now() + wait);
    this.#wakeAt(patrol.due);
  }

  #wakeAt(due: number): void {
    if (due >= this.#wakesAt) return;
    clearTimeout(this.#timer);
    this.#wakesAt = due;
    this.#timer = setTimeout(() => this.#round(), Math.max(0, due - performance.now()));
  }

  /** Looks at all that is due. */
  #round(): void {
    this.#wakesAt = Number.POSITIVE_INFINITY;
    const now = performance.now();
    let next = Number.POSITIVE_INFINITY;
    for (const patrol of this.#patrols) {
      if (patrol.due <= now + EARLY) {
        if (patrol.glance?.isSame() === true) {
          patrol.quietAt = now;
          patrol.glancedAt = now;
          patrol.due = nextRound(now);
        } else this.#look(patrol);
      }
      if (patrol.due < next) next = patrol.due;
    }
    this.#wakeAt(next);
  }

  #look(patrol: Patrol): void {
    const { watched } = patrol;
    const quietAt = patrol.glance && patrol.quietAt;
    const spots = patrol.interval < LONGEST ? undefined : watched.spots();
    // Before the look: what is written after it is to be seen by the next.
    const glance = spots && new Glance(spots);
    const isNew = watched.look(quietAt);
    const now = performance.now();
    patrol.interval = isNew ? SHORTEST : Math.min(LONGEST, patrol.interval * GROWTH);
    patrol.due = patrol.interval < LONGEST ? now + patrol.interval : nextRound(now);
    const rests = !isNew && glance?.isOf(watched.spots());
    patrol.glance = rests ? glance : undefined;
    patrol.quietAt = now;
  }
}

/** When those at rest are looked at after `now` (ms): all in the same round, which may have begun early. */
function nextRound(now: number): number {
  return (Math.floor((now + EARLY) / LONGEST) + 1) * LONGEST;
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
