/**
 * The memory that all clients together may have in use: for what they are sending and for answers they have not yet
 * taken. Who waits for memory is served in order; `onPressure` is called while somebody waits.
 */
export class Budget {
  readonly #limit: number;
  readonly #onPressure: () => void;
  readonly #waiting: Array<{ readonly bytes: number; readonly resolve: () => void }> = [];
  #used = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(limit: number, onPressure: () => void) {
    this.#limit = limit;
    this.#onPressure = onPressure;
  }

  get used(): number {
    return this.#used;
  }

  /** Undefined if the bytes are there; else a promise for them. To be given back in any case. */
  take(bytes: number): Promise<void> | undefined {
    if (this.#waiting.length === 0 && this.#fits(bytes)) {
      this.#used += bytes;
      return undefined;
    }
    this.#timer ??= setInterval(this.#onPressure, 250);
    return new Promise((resolve) => {
      this.#waiting.push({ bytes, resolve });
    });
  }

  give(bytes: number): void {
    this.#used -= bytes;
    for (let next = this.#waiting[0]; next !== undefined && this.#fits(next.bytes); next = this.#waiting[0]) {
      this.#waiting.shift();
      this.#used += next.bytes;
      next.resolve();
    }
    if (this.#waiting.length > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #fits(bytes: number): boolean {
    return this.#used === 0 || this.#used + bytes <= this.#limit;
  }
}
