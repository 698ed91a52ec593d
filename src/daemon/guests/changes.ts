/** Changes that come soon after one another, made together, and one after another. */

import { UserError } from "../user-error.js";

/** ms for which others are waited for. */
const TOGETHER = 300;

interface Waiting<Result> {
  resolve(result: Result): void;
  reject(error: Error): void;
}

export interface ChangesOptions<Result> {
  /** Makes what has changed so. Calls `sure` once it is certain; then what asked for it is told. */
  readonly apply: (sure: (result: Result) => void) => Promise<void>;
  /** It could not be made so, and nobody waits to be told. */
  readonly failed: (error: Error) => void;
}

export class Changes<Result> {
  readonly #options: ChangesOptions<Result>;
  #waiting: Waiting<Result>[] = [];
  #timer: NodeJS.Timeout | undefined;
  #applying: Promise<void> = Promise.resolve();
  #isHeld = true;
  #isWanted = false;

  /** Nothing is applied before `release`. */
  constructor(options: ChangesOptions<Result>) {
    this.#options = options;
  }

  /** From now on changes are made as they come. */
  release(): void {
    this.#isHeld = false;
    if (this.#isWanted) this.later();
  }

  /** Something has changed. */
  later(delay = TOGETHER): void {
    this.#isWanted = true;
    if (this.#isHeld) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#applying = this.#applying.then(() => this.#apply());
    }, delay);
  }

  /** Something has changed; resolves when it is certain to become so. Rejects with what is in the way. */
  ask(delay = TOGETHER): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.later(delay);
    });
  }

  /** Makes no more changes; resolves when none is being made. */
  async stop(): Promise<void> {
    this.#isHeld = true;
    clearTimeout(this.#timer);
    await this.#applying;
  }

  async #apply(): Promise<void> {
    if (this.#isHeld) return;
    this.#isWanted = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    try {
      await this.#options.apply((result) => {
        for (const { resolve } of waiting) resolve(result);
      });
      for (const { reject } of waiting) reject(new UserError("the daemon is ending"));
    } catch (error) {
      for (const { reject } of waiting) reject(error as Error);
      if (waiting.length === 0) this.#options.failed(error as Error);
    }
  }
}
