/**
 * The parts of transactions that are told before the whole, kept on disk until that has come: a server that is started
 * again cannot read them any more where the guest has gone on, and without them nobody knows what of the transaction was
 * told. A part is written before it is told.
 */
import { closeSync, constants, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { deserialize, serialize } from "node:v8";
import type { TakenPart } from "../filesystems/follower.js";
import type { Log } from "../images/image.js";
import { isPast, type Position } from "../versions/commit.js";
import { stateFileName } from "./state-directory.js";

/** Bytes before each part: how many it has. */
const LENGTH_SIZE = 4;
/** Changes with what a part consists of. */
const FORMAT = 1;

interface StoredPart {
  readonly format: number;
  /** The file system's. */
  readonly uuid: string;
  readonly part: TakenPart;
}

/** What is kept of one transaction of a volume, the first part first, with none missing. */
export interface KeptParts {
  readonly uuid: string;
  readonly parts: readonly TakenPart[];
}

interface PartFile {
  /** -1: it is not open. */
  fd: number;
  /** Of the last part in it; undefined: there is nothing to go by. */
  last: Position | undefined;
  /** Bytes of its parts. */
  size: number;
}

export class PartFiles {
  readonly #folder: string;
  readonly #log: Log;
  readonly #files = new Map<string, PartFile>();
  /** Why a part could not be kept; "" if it could. */
  #problem = "";

  constructor(folder: string, log: Log) {
    this.#folder = folder;
    this.#log = log;
  }

  /** Keeps a part of a volume, by `volumeKey`, that is not kept yet; `uuid` is the file system's. */
  add(key: string, uuid: string, part: TakenPart): void {
    this.#trying(() => {
      const file = this.#file(key);
      const at: Position = { sequence: part.sequence, part: part.logical.number };
      if (file.last?.sequence === at.sequence && !isPast(at, file.last)) return;
      if (file.last?.sequence !== at.sequence) this.#empty(key, file);
      const bytes = serialize({ format: FORMAT, uuid, part } satisfies StoredPart);
      const length = Buffer.alloc(LENGTH_SIZE);
      length.writeUInt32LE(bytes.length);
      const written = writeSync(this.#open(key, file), Buffer.concat([length, bytes]), 0, null, file.size);
      file.size += written;
      file.last = at;
    });
  }

  /** The volume has been told up to a transaction, or has been opened afresh: what is kept of it till then is dropped. */
  drop(key: string, upTo?: Position): void {
    this.#trying(() => {
      const file = this.#file(key);
      if (file.last === undefined || (upTo !== undefined && isPast(file.last, upTo))) return;
      this.#empty(key, file);
    });
  }

  /** Undefined: there is nothing, or not all parts from the first one on. */
  load(key: string): KeptParts | undefined {
    try {
      return partsIn(readFileSync(this.#path(key))).kept;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      const { message } = error as Error;
      this.#log(`${this.#path(key)}: what was told of a transaction is passed over: ${message}`);
      return undefined;
    }
  }

  close(): void {
    for (const { fd } of this.#files.values()) if (fd >= 0) closeSync(fd);
    this.#files.clear();
  }

  #file(key: string): PartFile {
    let file = this.#files.get(key);
    if (file === undefined) {
      const last = this.load(key)?.parts.at(-1);
      file = { fd: -1, last: last && { sequence: last.sequence, part: last.logical.number }, size: 0 };
      this.#files.set(key, file);
      if (last !== undefined) file.size = partsIn(readFileSync(this.#path(key))).size;
    }
    return file;
  }

  #open(key: string, file: PartFile): number {
    if (file.fd < 0) {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      file.fd = openSync(this.#path(key), constants.O_RDWR | constants.O_CREAT, 0o600);
      // What is half written at its end would be read as more.
      ftruncateSync(file.fd, file.size);
    }
    return file.fd;
  }

  #empty(key: string, file: PartFile): void {
    ftruncateSync(this.#open(key, file));
    file.size = 0;
    file.last = undefined;
  }

  #trying(action: () => void): void {
    try {
      action();
      this.#problem = "";
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#problem)
        this.#log(`${this.#folder}: what was told of a transaction is not kept: ${message}`);
      this.#problem = message;
    }
  }

  #path(key: string): string {
    return join(this.#folder, stateFileName(key));
  }
}

/** The parts in a file, and how many bytes those have that were written to their ends. Throws where they make no sense. */
function partsIn(bytes: Buffer): { readonly kept: KeptParts | undefined; readonly size: number } {
  const stored: StoredPart[] = [];
  let size = 0;
  while (size + LENGTH_SIZE <= bytes.length) {
    const end = size + LENGTH_SIZE + bytes.readUInt32LE(size);
    if (end > bytes.length) break;
    stored.push(deserialize(bytes.subarray(size + LENGTH_SIZE, end)) as StoredPart);
    size = end;
  }
  const [first] = stored;
  if (first === undefined) return { kept: undefined, size };
  const { uuid } = first;
  const isWhole = stored.every(
    ({ format, uuid: other, part: { sequence, logical } }, index) =>
      format === FORMAT && other === uuid && sequence === first.part.sequence && logical.number === index + 1,
  );
  return { kept: isWhole ? { uuid, parts: stored.map(({ part }) => part) } : undefined, size };
}
