/** What a guest asks of its disk, reads among it, without the data: gathered, and handed over now and then. */

/** Kinds of accesses, as numbers. */
export const Access = {
  READ: 0,
  WRITE: 1,
  ZEROES: 2,
  DISCARD: 3,
  /** So many accesses are not told of, as their taker was too slow: the number is the length. */
  LOST: 4,
} as const;

/** Numbers of an access: its kind, when it was done (ms since 1970), its first byte on the disk, and how many bytes. */
export const ACCESS_NUMBERS = 4;

/** Accesses of one batch, and ms that the first of them waits for others. */
const BATCH = 4096;
const WAIT = 20;
/** Batches that are not taken yet, after which accesses are lost. */
const MOST_WAITING = 64;

export class AccessLog {
  readonly #hand: (accesses: Float64Array<ArrayBuffer>) => void;
  #batch = new Float64Array(BATCH * ACCESS_NUMBERS);
  #length = 0;
  #waiting = 0;
  #lost = 0;
  #timer: NodeJS.Timeout | undefined;

  /** `hand` is given each batch, whose memory is its own; the taker says with `taken` that it is done with it. */
  constructor(hand: (accesses: Float64Array<ArrayBuffer>) => void) {
    this.#hand = hand;
  }

  add(kind: number, offset: number, length: number): void {
    if (this.#waiting >= MOST_WAITING) {
      this.#lost++;
      return;
    }
    if (this.#lost > 0) this.#put(Access.LOST, 0, this.#lost);
    this.#lost = 0;
    this.#put(kind, offset, length);
    this.#timer ??= setTimeout(() => this.flush(), WAIT);
  }

  /** A batch has been worked on. */
  taken(): void {
    this.#waiting--;
  }

  /** Hands over what there is. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#length === 0) return;
    this.#waiting++;
    this.#hand(this.#batch.slice(0, this.#length * ACCESS_NUMBERS));
    this.#length = 0;
  }

  #put(kind: number, offset: number, length: number): void {
    if (this.#length === BATCH) this.flush();
    this.#batch.set([kind, Date.now(), offset, length], this.#length++ * ACCESS_NUMBERS);
  }
}
