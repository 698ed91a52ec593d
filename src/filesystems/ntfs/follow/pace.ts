/** When metadata is to be compared again: after the image has been written to, and not all the time. */
import type { Source } from "../../../images/image.js";

/**
 * ms for which an image counts as being written to after it was: its times move on in ticks of the host's clock, so that
 * two writes may have the same.
 */
const SETTLES = 100;
/** ms between the beginnings of comparisons; how many times as long as one took none follows, and for how long at most. */
const EVERY = 20;
const REST = 9;
const LONGEST_REST = 300;
/** After what took longer still (a hostile guest's structures), so many times as long. */
const LEAST_REST = 2;
/** ms between passes through all of it, at least, where nothing tells of writes. */
const ROUND = 500;

export class Pace {
  readonly #source: Source;
  #revision: number | undefined;
  #written = 0;
  /** When the last pass through everything that has ended began. */
  #passBegan = Number.NEGATIVE_INFINITY;
  #notBefore = 0;
  #nextPass = 0;

  constructor(source: Source) {
    this.#source = source;
  }

  /** Whether to compare now (ms of performance.now()). */
  isDue(now: number): boolean {
    if (now < this.#notBefore) return false;
    const { revision } = this.#source;
    if (revision === undefined) return now >= this.#nextPass;
    if (revision !== this.#revision) {
      this.#revision = revision;
      this.#written = now;
    }
    return this.#passBegan < this.#written + SETTLES;
  }

  /** A comparison began and ended; `passBegan`: with it a pass through everything, that began then. */
  done(began: number, ended: number, passBegan: number | undefined): void {
    if (passBegan !== undefined) {
      this.#passBegan = passBegan;
      this.#nextPass = passBegan + Math.max(ROUND, (ended - passBegan) * 2);
    }
    const took = ended - began;
    const rest = Math.max(LEAST_REST * took, Math.min(LONGEST_REST, REST * took));
    this.#notBefore = Math.max(began + EVERY, ended + rest);
  }
}
