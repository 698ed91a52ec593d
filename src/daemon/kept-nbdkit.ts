/** An nbdkit that is kept running while a tree is served. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../images/image.js";
import { NbdProgram, type NotServingError } from "./nbd-program.js";
import { NBDKIT, nbdkitArguments, nbdkitRefusal, type ServingPlace } from "./nbdkit.js";

/** ms until it is started again: at first and at most; each time twice as long. */
const RETRY = 500;
const LONGEST_RETRY = 30_000;
/** ms for which it has to run to be one that runs. */
const STEADY = 10_000;

export class KeptNbdkit {
  readonly #image: string;
  readonly #words: readonly string[];
  readonly #place: ServingPlace;
  readonly #log: Log;
  #program: NbdProgram | undefined;
  #isStopped = false;

  /** `image`: as the user named it. */
  constructor(image: string, words: readonly string[], place: ServingPlace, log: Log) {
    this.#image = image;
    this.#words = words;
    this.#place = place;
    this.#log = log;
  }

  /** Starts it; done when it serves. Throws ImageError. */
  async start(): Promise<void> {
    const program = await this.#spawn();
    void this.#keep(program);
  }

  stop(): void {
    this.#isStopped = true;
    this.#program?.kill();
  }

  async #spawn(): Promise<NbdProgram> {
    try {
      const program = await NbdProgram.start(NBDKIT, nbdkitArguments(this.#words, this.#place), this.#place);
      this.#program = program;
      if (this.#isStopped) program.kill();
      return program;
    } catch (error) {
      const { code, said } = error as NotServingError;
      throw nbdkitRefusal(this.#image, code, said);
    }
  }

  async #keep(first: NbdProgram): Promise<void> {
    let program: NbdProgram | undefined = first;
    let told = "";
    for (let wait = RETRY; ; wait = Math.min(LONGEST_RETRY, wait * 2)) {
      const begun = performance.now();
      const how = await program?.ended;
      if (this.#isStopped) return;
      if (how !== undefined) this.#log(`${this.#image}: ${NBDKIT} died (${how}) and is started again`);
      if (how !== undefined && performance.now() - begun > STEADY) wait = RETRY;
      await sleep(wait, undefined, { ref: false });
      if (this.#isStopped) return;
      program = await this.#spawn().catch(({ message }: Error) => {
        if (message !== told) this.#log(message);
        told = message;
        return undefined;
      });
    }
  }
}
