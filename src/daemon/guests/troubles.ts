/** Guests that could not be opened, or had nothing on their disks: why, and when they are to be tried again. */

/** ms until a guest is tried again whose images have changed: at first and at most, each time twice as long. */
const RETRY = 2500;
const LONGEST_RETRY = 600_000;
/** The same of one in another format, which is tried without another server. */
const LONGEST_UNREADABLE = 30_000;
/** So many times as long until it is tried though nothing about its images has changed. */
const UNCHANGED = 6;

/**
 * `missing`: there is no such image, which is seen at once when there is. `unreadable`: nobody can read the image's format,
 * or may now. `refused`: it cannot be opened, which may change though its files do not. `blank`: there is nothing on it.
 */
export type TroubleKind = "missing" | "unreadable" | "refused" | "blank";

interface Trouble {
  readonly reason: string;
  /** What its images were then. */
  readonly signature: string;
  readonly kind: TroubleKind;
  readonly since: number;
  readonly delay: number;
}

export class Troubles {
  readonly #troubles = new Map<string, Trouble>();

  /** Returns whether this is news. */
  set(guest: string, kind: TroubleKind, reason: string, signature: string): boolean {
    const before = this.#troubles.get(guest);
    const isFirst = kind === "missing" || before === undefined || before.kind === "missing";
    const longest = kind === "unreadable" ? LONGEST_UNREADABLE : LONGEST_RETRY;
    const delay = isFirst ? RETRY : Math.min(2 * before.delay, longest);
    this.#troubles.set(guest, { kind, reason, signature, delay, since: performance.now() });
    return before?.reason !== reason;
  }

  /** Returns whether there was any. */
  clear(guest: string): boolean {
    return this.#troubles.delete(guest);
  }

  /** Forgets all guests but these. */
  keep(guests: ReadonlyMap<string, unknown>): void {
    for (const guest of this.#troubles.keys()) if (!guests.has(guest)) this.#troubles.delete(guest);
  }

  reason(guest: string): string | undefined {
    return this.#troubles.get(guest)?.reason;
  }

  /**
   * Whether a guest is to be tried, whose images are as the signature says; `isQuiet`: nobody is writing to them. One that
   * has had no trouble always is.
   */
  isDue(guest: string, signature: string, isQuiet: boolean): boolean {
    const trouble = this.#troubles.get(guest);
    if (trouble === undefined) return true;
    const { kind, since, delay } = trouble;
    const waited = performance.now() - since;
    if (signature !== trouble.signature) return isQuiet && (kind === "missing" || waited >= delay);
    if (kind === "unreadable") return waited >= delay;
    return kind === "refused" && waited >= Math.min(UNCHANGED * delay, LONGEST_RETRY);
  }
}
