/** A cheaper look at an image that rests: whether what lies in a few spots of it is still the same. */
import type { Spot } from "../images/image.js";

/** What was read last, of any image. */
let words = new Int32Array(1024);
let bytes = Buffer.from(words.buffer);

export class Glance {
  readonly #spots: readonly Spot[];
  /** The bytes of all spots, each padded to whole words. */
  readonly #before: Int32Array;
  readonly #isWhole: boolean;

  /** Reads the spots. */
  constructor(spots: readonly Spot[]) {
    this.#spots = spots;
    const length = spots.reduce((sum, spot) => sum + wordsOf(spot), 0);
    if (length > words.length) {
      words = new Int32Array(length);
      bytes = Buffer.from(words.buffer);
    }
    this.#isWhole = this.#read();
    this.#before = words.slice(0, length);
  }

  /** Whether it is of these spots. */
  isOf(spots: readonly Spot[] | undefined): boolean {
    return (
      spots?.length === this.#spots.length &&
      spots.every(({ source, position, length }, index) => {
        const own = this.#spots[index];
        return source === own?.source && position === own.position && length === own.length;
      })
    );
  }

  /** Whether all that was there when it was made could be read, can be read again, and is the same. */
  isSame(): boolean {
    if (!this.#isWhole || !this.#read()) return false;
    const before = this.#before;
    for (let at = 0; at < before.length; at++) if (words[at] !== before[at]) return false;
    return true;
  }

  /** Whether all of it is there. */
  #read(): boolean {
    let at = 0;
    try {
      for (const spot of this.#spots) {
        const last = at + wordsOf(spot) - 1;
        words[last] = 0;
        if (spot.source.read(bytes, at * 4, spot.length, spot.position) < spot.length) return false;
        at = last + 1;
      }
    } catch {
      // Why, a proper look tells.
      return false;
    }
    return true;
  }
}

function wordsOf({ length }: Spot): number {
  return Math.ceil(length / 4);
}
