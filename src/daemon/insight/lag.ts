/** Times from one thing to another, counted by how long they are. */

/** Upper bounds, ms, each including its own value; what is longer than the last counts in the sum and count alone. */
export const LAG_BOUNDS: readonly number[] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000];

/** As it passes between threads. */
export interface LagCounts {
  /** ms; undefined: there was none yet. */
  readonly last: number | undefined;
  readonly count: number;
  /** ms. */
  readonly sum: number;
  /** As many as were at most as long as each of LAG_BOUNDS. */
  readonly upTo: readonly number[];
}

export class Lag {
  #last: number | undefined;
  #count = 0;
  #sum = 0;
  readonly #upTo = new Float64Array(LAG_BOUNDS.length);

  /** `lag`: ms. */
  note(lag: number): void {
    this.#last = lag;
    this.#count++;
    this.#sum += lag;
    for (let i = LAG_BOUNDS.length - 1; i >= 0 && lag <= (LAG_BOUNDS[i] as number); i--)
      this.#upTo[i] = (this.#upTo[i] as number) + 1;
  }

  get counts(): LagCounts {
    return { last: this.#last, count: this.#count, sum: this.#sum, upTo: [...this.#upTo] };
  }
}
