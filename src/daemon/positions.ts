/**
 * Up to which transaction each volume's events have been told. The logs say so of transactions that had events; most of
 * a quiet guest's have none, and a restart is to go on after those too.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import type { Log } from "../images/image.js";
import { volumeKey } from "./updates.js";

/** ms between two writes. */
const WRITE_EVERY = 5000;

export class Positions {
  readonly #path: string;
  readonly #log: Log;
  readonly #sequences = new Map<string, number>();
  readonly #timer: NodeJS.Timeout;
  #isChanged = false;

  /** `path`: the file in which they are kept; what is wrong in it counts as unknown. */
  constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
    this.#read();
    this.#timer = setInterval(() => this.#write(), WRITE_EVERY);
    this.#timer.unref();
  }

  /** `key`: see volumeKey. */
  get(key: string): number | undefined {
    return this.#sequences.get(key);
  }

  /** The volumes of a guest whose position is known. */
  volumes(guest: string): string[] {
    const prefix = volumeKey(guest, "");
    return [...this.#sequences.keys()].flatMap((key) =>
      key.startsWith(prefix) ? [key.slice(prefix.length)] : [],
    );
  }

  set(key: string, sequence: number): void {
    if (this.#sequences.get(key) === sequence) return;
    this.#sequences.set(key, sequence);
    this.#isChanged = true;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#write();
  }

  #read(): void {
    let text: string;
    try {
      text = readFileSync(this.#path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      throw error;
    }
    try {
      for (const [key, sequence] of Object.entries(JSON.parse(text) as object)) {
        if (typeof sequence === "number") this.#sequences.set(key, sequence);
      }
    } catch {
      this.#log(`${this.#path}: it makes no sense and is passed over`);
    }
  }

  #write(): void {
    if (!this.#isChanged) return;
    try {
      writeFileSync(`${this.#path}.new`, `${JSON.stringify(Object.fromEntries(this.#sequences))}\n`, {
        mode: 0o600,
      });
      renameSync(`${this.#path}.new`, this.#path);
      this.#isChanged = false;
    } catch (error) {
      this.#log(`${this.#path}: cannot be written: ${(error as Error).message}`);
    }
  }
}
