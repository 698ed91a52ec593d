/** Several images that one server shows: a server for each would spend most of its time on its own start. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Served, serve } from "./images-serve.js";

/** What a test does with its image while it is served. */
export type Use<Made> = (made: Made, served: Served, guest: string) => Promise<void>;

/** Images by number; all are made and served when the first is asked for, and no longer when the last has been used. */
export class ServedTogether<Made extends { readonly image: string; remove(): Promise<void> }> {
  readonly #folder: string;
  readonly #makers: ReadonlyArray<() => Promise<Made>>;
  #left: number;
  #making: Promise<PromiseSettledResult<Made>[]> | undefined;
  #serving: Promise<Served> | undefined;

  constructor(folder: string, makers: ReadonlyArray<() => Promise<Made>>) {
    this.#folder = folder;
    this.#makers = makers;
    this.#left = makers.length;
  }

  /** To be called once for each image. Throws why the image could not be made; others are served without it. */
  async use(number: number, what: Use<Made>): Promise<void> {
    try {
      this.#making ??= Promise.allSettled(this.#makers.map((make) => make()));
      const all = await this.#making;
      const made = all[number]!;
      if (made.status === "rejected") throw made.reason;
      this.#serving ??= this.#serve(all);
      await what(made.value, await this.#serving, `guest${number}`);
    } finally {
      this.#left--;
      if (this.#left === 0) await this.#end();
    }
  }

  async #serve(all: ReadonlyArray<PromiseSettledResult<Made>>): Promise<Served> {
    const guests = all.flatMap((made, i) =>
      made.status === "fulfilled" ? [[`guest${i}`, made.value.image] as const] : [],
    );
    mkdirSync(this.#folder, { recursive: true });
    return await serve(join(this.#folder, "cloud"), Object.fromEntries(guests));
  }

  async #end(): Promise<void> {
    const served = await this.#serving?.catch(() => undefined);
    const code = await served?.stop();
    for (const made of (await this.#making) ?? []) if (made.status === "fulfilled") await made.value.remove();
    if (code !== undefined && code !== 0) throw new Error(`the server ended with ${code}: ${served?.log()}`);
  }
}
