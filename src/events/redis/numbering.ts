/**
 * The first part of the stream's ids, `<numbering>-<event>`, by guest: another one, and a greater one, when a guest's events
 * are counted from 1 again because the daemon's state was lost. Kept with that state.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";

export class Numbering {
  readonly #path: string;
  readonly #log: (line: string) => void;
  readonly #numbers = new Map<string, number>();

  /** `path`: the file in which they are kept; what is wrong in it counts as unknown. */
  constructor(path: string, log: (line: string) => void) {
    this.#path = path;
    this.#log = log;
    try {
      for (const [guest, number] of Object.entries(JSON.parse(readFileSync(path, "utf8")) as object))
        if (Number.isSafeInteger(number)) this.#numbers.set(guest, number);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT")
        log(`${path}: it cannot be read, and is begun again: ${(error as Error).message}`);
    }
  }

  /** Undefined: it has none. */
  get(guest: string): number | undefined {
    return this.#numbers.get(guest);
  }

  /** A new one, greater than `after`: by the host's clock, in ms, if that is. */
  begin(guest: string, after: number): number {
    const number = Math.max(Date.now(), after + 1);
    this.#numbers.set(guest, number);
    try {
      const fd = openSync(`${this.#path}.new`, "w", 0o600);
      try {
        writeSync(fd, `${JSON.stringify(Object.fromEntries(this.#numbers))}\n`);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(`${this.#path}.new`, this.#path);
    } catch (error) {
      this.#log(`${this.#path}: cannot be written: ${(error as Error).message}`);
    }
    return number;
  }
}
