/**
 * Maps of names, kept on disk: a server that is started again goes on from there by the guest's journal, so that it knows
 * what was there before each change. A file is written as a whole or not at all.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { deserialize, serialize } from "node:v8";
import type { Log } from "../images/image.js";
import { InodeIndex, type InodeIndexParts } from "../inference/inode-index.js";

/** Changes with what an index consists of. */
const FORMAT = 1;

interface Stored {
  readonly format: number;
  readonly uuid: string;
  readonly sequence: number;
  readonly parts: InodeIndexParts;
}

/** A map as a transaction left it. */
export interface SavedMap {
  readonly sequence: number;
  readonly index: InodeIndex;
}

export class MapFiles {
  readonly #folder: string;
  readonly #log: Log;

  constructor(folder: string, log: Log) {
    this.#folder = folder;
    this.#log = log;
  }

  /** Keeps a volume's map, by `volumeKey`; `uuid` is the file system's. What cannot be kept is a line in the log. */
  save(key: string, uuid: string, { sequence, index }: SavedMap): void {
    const path = this.#path(key);
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      const { parts } = index.toParts();
      const bytes = serialize({ format: FORMAT, uuid, sequence, parts } satisfies Stored);
      writeFileSync(`${path}.new`, bytes, { mode: 0o600 });
      renameSync(`${path}.new`, path);
    } catch (error) {
      this.#log(`${path}: the map of names is not kept: ${(error as Error).message}`);
    }
  }

  /** The map of a volume; undefined if there is none, or it is another file system's. */
  load(key: string, uuid: string): SavedMap | undefined {
    const path = this.#path(key);
    let bytes: Buffer;
    try {
      bytes = readFileSync(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT")
        this.#log(`${path}: the map of names cannot be read: ${(error as Error).message}`);
      return undefined;
    }
    try {
      const stored = deserialize(bytes) as Stored;
      if (stored.format !== FORMAT || stored.uuid !== uuid) return undefined;
      return { sequence: stored.sequence, index: InodeIndex.from(stored.parts) };
    } catch (error) {
      this.#log(`${path}: the map of names makes no sense: ${(error as Error).message}`);
      return undefined;
    }
  }

  /** Forgets a volume's map. */
  remove(key: string): void {
    rmSync(this.#path(key), { force: true });
  }

  #path(key: string): string {
    return join(this.#folder, encodeURIComponent(key));
  }
}
