/**
 * `HOST:VM:PATH-PATTERN`: which events somebody wants, as in `*:*:/var/log/auth.log`. The path is all after the second colon;
 * a colon of a guest's name is written `\:`, or within a set, `[:]`.
 */
import type { GuestEvent } from "./event.js";
import { Glob } from "./glob.js";

/** Where the next colon is that divides; -1: there is none. */
function colonIn(text: string, from: number): number {
  let isInSet = false;
  for (let at = from; at < text.length; at++) {
    const character = text[at];
    if (character === "\\") at++;
    else if (character === "[") isInSet = true;
    else if (character === "]") isInSet = false;
    else if (character === ":" && !isInSet) return at;
  }
  return -1;
}

export class EventPattern {
  readonly #host: Glob;
  readonly #guest: Glob;
  readonly #path: Glob;

  /** Throws SyntaxError, which says what is wrong. */
  constructor(text: string) {
    const first = colonIn(text, 0);
    const second = first < 0 ? -1 : colonIn(text, first + 1);
    const [host, guest, path] = [text.slice(0, first), text.slice(first + 1, second), text.slice(second + 1)];
    if (second < 0 || host === "" || guest === "" || path === "")
      throw new SyntaxError(`${text}: a pattern is HOST:VM:PATH, as in *:web:/var/log/*`);
    try {
      this.#host = new Glob(host);
      this.#guest = new Glob(guest);
      this.#path = new Glob(path);
    } catch (error) {
      throw new SyntaxError(`${text}: no pattern: ${(error as Error).message}`);
    }
  }

  /** The one guest whose events can match; undefined if it may be more. */
  get guest(): string | undefined {
    return this.#guest.literal;
  }

  /**
   * Whether an event is wanted: by its path, or by its former one. A gap concerns all paths of its guest; an event whose
   * path is not known yet is wanted by who wants all.
   */
  matches({ host, guest, event, path, from }: GuestEvent): boolean {
    if (!this.#host.matches(host) || !this.#guest.matches(guest)) return false;
    if (event === "gap") return true;
    if (path === undefined && from === undefined) return this.#path.matches("") || this.#path.matches("/");
    return (
      (path !== undefined && this.#path.matches(path)) || (from !== undefined && this.#path.matches(from))
    );
  }
}
