/** When the metadata of a volume is to be compared again: after the image has been written to, and not all the time. */
import type { Source } from "../../images/image.js";

/**
 * ms for which an image counts as being written to after it was: its times move on in ticks of the host's clock, so that
 * two writes may have the same.
 */
const SETTLES = 100;
/** ms between the beginnings of comparisons; how many times as long as one took none follows, and for how long at most. */
const EVERY = 20;
const REST = 9;
const LONGEST_REST = 300;
/** The same where nothing tells of writes: ms after a comparison at least, and how many times as long as that took. */
const ROUND = 500;
const ROUND_REST = 20;

export class Trigger {
  readonly #source: Source;
  #revision: number | undefined;
  #written = 0;
  #began = Number.NEGATIVE_INFINITY;
  #notBefore = 0;
  #nextRound = 0;

  constructor(source: Source) {
    this.#source = source;
  }

  /** Whether to compare now (ms of performance.now()). */
  isDue(now: number): boolean {
    if (now < this.#notBefore) return false;
    const { revision } = this.#source;
    if (revision === undefined) return now >= this.#nextRound;
    if (revision !== this.#revision) {
      this.#revision = revision;
      this.#written = now;
    }
    return this.#began < this.#written + SETTLES;
  }

  /** A comparison began and ended. */
  done(began: number, ended: number): void {
    this.#began = began;
    this.#nextRound = ended + Math.max(ROUND, (ended - began) * ROUND_REST);
    this.#notBefore = Math.max(began + EVERY, ended + Math.min(LONGEST_REST, (ended - began) * REST));
  }
}
