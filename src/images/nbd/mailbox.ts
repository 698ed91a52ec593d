/**
 * The memory through which a thread that reads an NBD disk and the thread that has the connection work together: one read
 * at a time, its bytes, and how it stands with the server.
 */

/**
 * ms that a read, a handshake may take. A little less than what a user's request may (daemon/waiting.ts), so that it is
 * this that ends.
 */
export const DEADLINE = 9500;

/** What is wrong with a server that has taken longer. */
export const LATE = `the NBD server has not answered for ${Math.round(DEADLINE / 1000)} s`;

/** Words: reads asked for and answered (as numbers of reads), what is asked, the answer, and the state. */
const Word = { ASKED: 0, ANSWERED: 1, LENGTH: 2, RESULT: 3, STATE: 4, OUTAGES: 5, TEXT: 6 } as const;
const WORDS = 16;
/** Doubles that follow the words. */
const Double = { POSITION: 0, SIZE: 1 } as const;
const DOUBLES = 2;
/** Bytes of the last trouble's description. */
const TEXT = 1024;
const TEXT_AT = WORDS * 4 + DOUBLES * 8;
/** Where what is read begins: with a page. */
const WINDOW_AT = 4096;
/** Bytes of one read. */
export const LARGEST_READ = 1 << 20;
/** A read begins and ends with whole blocks of the server's, which are not larger than this. */
const MARGIN = 2 * (1 << 16);

/**
 * `OPENING`: nothing is known of the server yet. `FAILED`: it cannot be used, and the text says why. `SILENT`: it did not
 * answer in time; until it does, all reads fail.
 */
export const State = { OPENING: 0, ANSWERING: 1, SILENT: 2, FAILED: 3 } as const;

/** Answers to a read that are no number of bytes; `LATE`: there is none, not even from the thread. */
export const Result = { UNANSWERED: -1, REFUSED: -2, LATE: -3 } as const;

/** TypeScript has it from ES2024 on; Node has it since 16. */
const { waitAsync } = Atomics as unknown as {
  waitAsync(
    words: Int32Array,
    index: number,
    value: number,
  ): { async: false; value: string } | { async: true; value: Promise<string> };
};

export class Mailbox {
  /** For the other thread. */
  readonly shared: SharedArrayBuffer;
  /** What is read comes here. */
  readonly window: Buffer;
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  readonly #text: Buffer;
  /** The read that was asked for last, by its number. */
  #number = 0;

  constructor(shared = new SharedArrayBuffer(WINDOW_AT + LARGEST_READ + MARGIN)) {
    this.shared = shared;
    this.#words = new Int32Array(shared, 0, WORDS);
    this.#doubles = new Float64Array(shared, WORDS * 4, DOUBLES);
    this.#text = Buffer.from(shared, TEXT_AT, TEXT);
    this.window = Buffer.from(shared, WINDOW_AT);
  }

  /** A `State`. */
  get state(): number {
    return Atomics.load(this.#words, Word.STATE);
  }

  setState(state: number): void {
    Atomics.store(this.#words, Word.STATE, state);
    Atomics.notify(this.#words, Word.STATE);
  }

  /** Waits until the server is known, or `limit` ms have passed. */
  waitForOpening(limit: number): void {
    Atomics.wait(this.#words, Word.STATE, State.OPENING, limit);
  }

  /** How often the server did not answer in time. */
  get outages(): number {
    return Atomics.load(this.#words, Word.OUTAGES);
  }

  addOutage(): void {
    Atomics.add(this.#words, Word.OUTAGES, 1);
  }

  /** Bytes of the disk. */
  get size(): number {
    return this.#doubles[Double.SIZE] as number;
  }

  set size(size: number) {
    this.#doubles[Double.SIZE] = size;
  }

  /** What the last trouble was. */
  get text(): string {
    return this.#text.toString("utf8", 0, Atomics.load(this.#words, Word.TEXT));
  }

  set text(text: string) {
    Atomics.store(this.#words, Word.TEXT, this.#text.write(text));
  }

  /** Asks for bytes, and waits for them at most `limit` ms. Returns how many came, or a `Result`. */
  ask(position: number, length: number, limit: number): number {
    const words = this.#words;
    this.#number = (this.#number + 1) | 0;
    words[Word.LENGTH] = length;
    this.#doubles[Double.POSITION] = position;
    Atomics.store(words, Word.ASKED, this.#number);
    Atomics.notify(words, Word.ASKED);
    const until = performance.now() + limit;
    for (;;) {
      const answered = Atomics.load(words, Word.ANSWERED);
      if (answered === this.#number) return words[Word.RESULT] as number;
      const left = until - performance.now();
      if (left <= 0) return Result.LATE;
      Atomics.wait(words, Word.ANSWERED, answered, left);
    }
  }

  /** For the thread that has the connection: the read that was asked for last, and its range. */
  get asked(): number {
    return Atomics.load(this.#words, Word.ASKED);
  }

  get position(): number {
    return this.#doubles[Double.POSITION] as number;
  }

  get length(): number {
    return this.#words[Word.LENGTH] as number;
  }

  /** `result`: a number of bytes, which lie at the window's beginning, or a `Result`. */
  answer(number: number, result: number): void {
    this.#words[Word.RESULT] = result;
    Atomics.store(this.#words, Word.ANSWERED, number);
    Atomics.notify(this.#words, Word.ANSWERED);
  }

  /** Calls `taken` for each new read, now and later. */
  listen(taken: (number: number) => void): void {
    const look = (): void => {
      for (;;) {
        const asked = this.asked;
        if (asked !== this.#number) {
          this.#number = asked;
          taken(asked);
        }
        const waiting = waitAsync(this.#words, Word.ASKED, asked);
        if (!waiting.async) continue;
        void waiting.value.then(look);
        return;
      }
    };
    look();
  }
}
