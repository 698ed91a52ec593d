/** How much there was of something: in all, and each second of late. */

/** Seconds that "of late" is. */
export const WINDOW = 10;

/** A place for each second of the window, and one for the second that goes on. */
const PLACES = WINDOW + 1;

/** As it is told. */
export interface Amount {
  /** Since the server's start. */
  readonly total: number;
  /** On average over the last 10 s. */
  readonly perSecond: number;
}

export const NOTHING: Amount = { total: 0, perSecond: 0 };

export class Rate {
  total = 0;
  readonly #seconds = new Float64Array(PLACES);
  /** The last second that has a place. */
  #second = 0;

  /** `now`: ms of performance.now(). */
  add(amount: number, now: number): void {
    this.#advance(now);
    const place = this.#second % PLACES;
    this.#seconds[place] = (this.#seconds[place] as number) + amount;
    this.total += amount;
  }

  amount(now: number): Amount {
    this.#advance(now);
    let sum = 0;
    for (const amount of this.#seconds) sum += amount;
    const seconds = WINDOW + (now / 1000 - this.#second);
    return { total: this.total, perSecond: sum / seconds };
  }

  #advance(now: number): void {
    const second = Math.floor(now / 1000);
    if (second - this.#second >= PLACES) this.#seconds.fill(0);
    else for (let next = this.#second + 1; next <= second; next++) this.#seconds[next % PLACES] = 0;
    if (second > this.#second) this.#second = second;
  }
}

/** Several amounts as one. */
export function sumOf(amounts: readonly Amount[]): Amount {
  return {
    total: amounts.reduce((sum, { total }) => sum + total, 0),
    perSecond: amounts.reduce((sum, { perSecond }) => sum + perSecond, 0),
  };
}
