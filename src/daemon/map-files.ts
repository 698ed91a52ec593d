/**
 * Maps of names, kept on disk: a server that is started again goes on from there by the guest's journal, so that it knows
 * what was there before each change. A file is written as a whole or not at all.
 */
import { closeSync, mkdirSync, openSync, readFileSync, readSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { deserialize, serialize } from "node:v8";
import type { Log } from "../images/image.js";
import { InodeIndex, type InodeIndexParts } from "../inference/inode-index.js";
import type { Position } from "../versions/commit.js";
import { stateFileName } from "./state-directory.js";

/** Changes with what an index consists of. */
const FORMAT = 2;

/** The first line of a file, as JSON; what the map consists of follows. */
interface Head {
  readonly format: number;
  /** The file system's. */
  readonly uuid: string;
  /** The transaction that left the map so, or that part of it. */
  readonly sequence: number;
  readonly part?: number | undefined;
}

/** Bytes of a head, with its end. */
const LONGEST_HEAD = 4096;
const NEWLINE = 0x0a;

/** A map as a transaction left it, or a part of one. */
export interface SavedMap {
  readonly at: Position;
  readonly index: InodeIndex;
}

export class MapFiles {
  readonly #folder: string;
  readonly #log: Log;
  /** Why a map could not be kept; "" if it could. */
  #problem = "";

  constructor(folder: string, log: Log) {
    this.#folder = folder;
    this.#log = log;
  }

  /** Keeps a volume's map, by `volumeKey`; `uuid` is the file system's. What cannot be kept is a line in the log. */
  save(key: string, uuid: string, { at: { sequence, part }, index }: SavedMap): void {
    const path = this.#path(key);
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      const { parts } = index.toParts();
      const head = JSON.stringify({ format: FORMAT, uuid, sequence, part } satisfies Head);
      writeFileSync(`${path}.new`, Buffer.concat([Buffer.from(`${head}\n`), serialize(parts)]), {
        mode: 0o600,
      });
      renameSync(`${path}.new`, path);
      this.#problem = "";
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#problem) this.#log(`${path}: the map of names is not kept: ${message}`);
      this.#problem = message;
    }
  }

  /** What is said of a volume's map before it; undefined if there is none. */
  head(key: string): Head | undefined {
    const bytes = Buffer.alloc(LONGEST_HEAD);
    const got = this.#reading(key, (path) => {
      const file = openSync(path, "r");
      try {
        return readSync(file, bytes, 0, bytes.length, 0);
      } finally {
        closeSync(file);
      }
    });
    return got === undefined ? undefined : headOf(bytes.subarray(0, got));
  }

  /** The map of a volume; undefined if there is none, or it is another file system's. */
  load(key: string, uuid: string): SavedMap | undefined {
    const bytes = this.#reading(key, (path) => readFileSync(path));
    if (bytes === undefined) return undefined;
    const head = headOf(bytes.subarray(0, LONGEST_HEAD));
    if (head?.uuid !== uuid) return undefined;
    try {
      const parts = deserialize(bytes.subarray(bytes.indexOf(NEWLINE) + 1)) as InodeIndexParts;
      return { at: { sequence: head.sequence, part: head.part }, index: InodeIndex.from(parts) };
    } catch (error) {
      this.#log(`${this.#path(key)}: the map of names makes no sense: ${(error as Error).message}`);
      return undefined;
    }
  }

  #reading<T>(key: string, read: (path: string) => T): T | undefined {
    const path = this.#path(key);
    try {
      return read(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT")
        this.#log(`${path}: the map of names cannot be read: ${(error as Error).message}`);
      return undefined;
    }
  }

  #path(key: string): string {
    return join(this.#folder, stateFileName(key));
  }
}

/** Undefined: it is none, or of another format. */
function headOf(bytes: Buffer): Head | undefined {
  try {
    const head = JSON.parse(bytes.toString("utf8", 0, bytes.indexOf(NEWLINE))) as Head;
    return head.format === FORMAT ? head : undefined;
  } catch {
    return undefined;
  }
}
