/**
 * The requests that wait for the answer of a guest's own thread, in memory that three threads share: the one that reads
 * requests adds them, the guest's takes them off, and the main thread gives up those that wait for too long.
 */

/** Words of the header: how often the main thread has looked, the guest's thread has shown itself, and whether it stalls. */
const Header = { LOOKS: 0, SIGNS: 1, IS_STALLED: 2, SIZE: 4 } as const;
/** Words of a slot: its state, the two halves of the request's `unique`, and the look at which it was added. */
const Slot = { STATE: 0, UNIQUE: 1, ADDED: 3, SIZE: 4 } as const;
/** Requests that can wait for one guest. */
const SLOTS = 1024;

/**
 * `WAITING`: for an answer, and so does one that is `UNWANTED`, as somebody has sent its process a signal. `ANSWERING`:
 * the guest's thread has the answer. `LATE`, `DROPPED`: it was given up, and the guest's thread does not know yet.
 */
const State = { FREE: 0, WAITING: 1, UNWANTED: 2, ANSWERING: 3, LATE: 4, DROPPED: 5 } as const;

/** ms between looks of the main thread. */
export const LOOK_EVERY = 250;
/** ms that a request may wait. */
export const DEADLINE = 10_000;
/** ms that a request waits whose process has got a signal. */
const UNWANTED_DEADLINE = 1000;

export class Waiting {
  /** For another thread. */
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array;
  /** Where a free slot is looked for first. */
  #next = 0;
  /** Of the last look: the guest's signs of life, and at which look there was another one. */
  #signs = 0;
  #signedAt = 0;

  constructor(
    shared = new SharedArrayBuffer((Header.SIZE + SLOTS * Slot.SIZE) * Int32Array.BYTES_PER_ELEMENT),
  ) {
    this.shared = shared;
    this.#words = new Int32Array(shared);
  }

  /** Whether requests are not to be added, as the guest's thread makes no progress. */
  get isStalled(): boolean {
    return Atomics.load(this.#words, Header.IS_STALLED) !== 0;
  }

  /** Adds a request, by the halves of its `unique`; returns its slot, -1 if too many wait. */
  add(uniqueLow: number, uniqueHigh: number): number {
    const words = this.#words;
    for (let tried = 0; tried < SLOTS; tried++) {
      const slot = (this.#next + tried) % SLOTS;
      const at = Header.SIZE + slot * Slot.SIZE;
      if (Atomics.load(words, at + Slot.STATE) !== State.FREE) continue;
      words[at + Slot.UNIQUE] = uniqueLow;
      words[at + Slot.UNIQUE + 1] = uniqueHigh;
      words[at + Slot.ADDED] = Atomics.load(words, Header.LOOKS);
      Atomics.store(words, at + Slot.STATE, State.WAITING);
      this.#next = (slot + 1) % SLOTS;
      return slot;
    }
    return -1;
  }

  /** Has a request wait less long, if it is one of these. */
  hurry(uniqueLow: number, uniqueHigh: number): void {
    const words = this.#words;
    for (let at = Header.SIZE; at < words.length; at += Slot.SIZE) {
      if (words[at + Slot.UNIQUE] !== (uniqueLow | 0) || words[at + Slot.UNIQUE + 1] !== (uniqueHigh | 0))
        continue;
      Atomics.compareExchange(words, at + Slot.STATE, State.WAITING, State.UNWANTED);
    }
  }

  /** Whether a request still waits. */
  isWaiting(slot: number): boolean {
    const state = Atomics.load(this.#words, Header.SIZE + slot * Slot.SIZE + Slot.STATE);
    return state === State.WAITING || state === State.UNWANTED;
  }

  /** The guest's thread has an answer; whether it is still waited for. From then on nobody else answers. */
  claim(slot: number): boolean {
    return this.#exchange(Header.SIZE + slot * Slot.SIZE, State.ANSWERING);
  }

  /** The guest's thread is done with a request. */
  free(slot: number): void {
    Atomics.store(this.#words, Header.SIZE + slot * Slot.SIZE + Slot.STATE, State.FREE);
  }

  /** The guest's thread is not held up: to be called about each LOOK_EVERY. */
  sign(): void {
    Atomics.add(this.#words, Header.SIGNS, 1);
  }

  /**
   * The main thread's look: `giveUp` is called with each request, by the halves of its `unique`, that has waited for too
   * long. Returns whether the guest's thread makes no progress.
   */
  look(giveUp: (uniqueLow: number, uniqueHigh: number, isUnwanted: boolean) => void): boolean {
    const words = this.#words;
    const now = (Atomics.add(words, Header.LOOKS, 1) + 1) | 0;
    const signs = Atomics.load(words, Header.SIGNS);
    if (signs !== this.#signs) {
      this.#signs = signs;
      this.#signedAt = now;
    }
    let isStalled = ((now - this.#signedAt) | 0) * LOOK_EVERY > DEADLINE;
    for (let at = Header.SIZE; at < words.length; at += Slot.SIZE) {
      const state = Atomics.load(words, at + Slot.STATE);
      if (state === State.LATE) isStalled = true;
      if (state !== State.WAITING && state !== State.UNWANTED) continue;
      const isUnwanted = state === State.UNWANTED;
      const waited = ((now - (words[at + Slot.ADDED] as number)) | 0) * LOOK_EVERY;
      if (waited <= (isUnwanted ? UNWANTED_DEADLINE : DEADLINE)) continue;
      // Once it is given up, the slot may become another request's.
      const low = words[at + Slot.UNIQUE] as number;
      const high = words[at + Slot.UNIQUE + 1] as number;
      if (!this.#exchange(at, isUnwanted ? State.DROPPED : State.LATE)) continue;
      isStalled ||= !isUnwanted;
      giveUp(low, high, isUnwanted);
    }
    Atomics.store(words, Header.IS_STALLED, isStalled ? 1 : 0);
    return isStalled;
  }

  /** Whether a slot was waiting, and is in another state now. */
  #exchange(at: number, state: number): boolean {
    for (const waiting of [State.WAITING, State.UNWANTED]) {
      if (Atomics.compareExchange(this.#words, at + Slot.STATE, waiting, state) === waiting) return true;
    }
    return false;
  }
}
