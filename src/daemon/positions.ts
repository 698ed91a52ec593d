/**
 * Up to where each volume's events have been told. The logs say so of transactions that had events; most of a quiet guest's
 * have none, and a restart is to go on after those too.
 */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import type { Log } from "../images/image.js";
import { isSamePosition, type Position } from "../versions/commit.js";
import { volumeKey } from "./updates.js";

/** ms between two writes. */
const WRITE_EVERY = 5000;

/** A transaction's number, and that of its part if it is not whole. */
type Stored = number | readonly [number, number];

export class Positions {
  readonly #path: string;
  readonly #log: Log;
  readonly #positions = new Map<string, Position>();
  readonly #timer: NodeJS.Timeout;
  #isChanged = false;
  /** Until first positions have been written. */
  #begun: NodeJS.Immediate | undefined;

  /** `path`: the file in which they are kept; what is wrong in it counts as unknown. */
  constructor(path: string, log: Log) {
    this.#path = path;
    this.#log = log;
    this.#read();
    this.#timer = setInterval(() => this.#write(), WRITE_EVERY);
    this.#timer.unref();
  }

  /** `key`: see volumeKey. */
  get(key: string): Position | undefined {
    return this.#positions.get(key);
  }

  /** The volumes of a guest whose position is known. */
  volumes(guest: string): string[] {
    const prefix = volumeKey(guest, "");
    return [...this.#positions.keys()].flatMap((key) =>
      key.startsWith(prefix) ? [key.slice(prefix.length)] : [],
    );
  }

  set(key: string, position: Position): void {
    if (isSamePosition(this.#positions.get(key), position)) return;
    this.#positions.set(key, position);
    this.#isChanged = true;
  }

  /** Notes the first position of a volume, at once. */
  begin(key: string, position: Position): void {
    this.set(key, position);
    this.#begun ??= setImmediate(() => {
      this.#begun = undefined;
      this.#write();
    });
  }

  close(): void {
    clearImmediate(this.#begun);
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
      for (const [key, stored] of Object.entries(JSON.parse(text) as Record<string, Stored>)) {
        const [sequence, part] = typeof stored === "number" ? [stored] : stored;
        if (typeof sequence === "number") this.#positions.set(key, { sequence, part });
      }
    } catch {
      this.#log(`${this.#path}: it makes no sense and is passed over`);
    }
  }

  #write(): void {
    if (!this.#isChanged) return;
    try {
      const stored = [...this.#positions].map(([key, { sequence, part }]): [string, Stored] => [
        key,
        part === undefined ? sequence : [sequence, part],
      ]);
      writeFileSync(`${this.#path}.new`, `${JSON.stringify(Object.fromEntries(stored))}\n`, { mode: 0o600 });
      renameSync(`${this.#path}.new`, this.#path);
      this.#isChanged = false;
    } catch (error) {
      this.#log(`${this.#path}: cannot be written: ${(error as Error).message}`);
    }
  }
}
