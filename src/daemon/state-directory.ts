/** Where a daemon keeps what outlives it, and where its control socket is: one directory for each mount point. */
import { createHash } from "node:crypto";
import { linkSync, mkdirSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { markedProcess, processMark, readIfThere } from "./process-mark.js";
import { UserError } from "./user-error.js";

/** Bytes of a name; a longer one is its digest. */
const LONGEST_NAME = 200;

/** The directory for a mount point, unless the user named one. */
export function stateDirectoryFor(mount: string, named: string | undefined): string {
  if (named !== undefined) return resolve(named);
  const { XDG_STATE_HOME: home = "" } = process.env;
  const user = isAbsolute(home) ? home : join(homedir(), ".local/state");
  return join(process.geteuid?.() === 0 ? "/var/lib" : user, "slashcloud", nameFor(mount));
}

/** The folder of the logs of events in a state directory. */
export function eventsFolder(state: string): string {
  return join(state, "events");
}

/** The name of a file that is kept for a volume, by `volumeKey`: one that is too long is kept under a digest. */
export function stateFileName(key: string): string {
  const name = encodeURIComponent(key);
  return name.length > LONGEST_NAME ? createHash("sha256").update(key).digest("hex") : name;
}

function nameFor(mount: string): string {
  const absolute = resolve(mount);
  let path = absolute;
  try {
    // Not the mount point itself: a mount may be there that does not answer.
    path = join(realpathSync(dirname(absolute)), basename(absolute));
  } catch {
    // It is not there: nothing leads elsewhere.
  }
  const name = path.slice(1).replace(/[%-]/g, encode).replaceAll("/", "-") || "-";
  return Buffer.byteLength(name) <= LONGEST_NAME ? name : createHash("sha256").update(path).digest("hex");
}

function encode(character: string): string {
  return `%${character.charCodeAt(0).toString(16)}`;
}

/**
 * A state directory that is this process' own until it is closed or the process ends. Its lock is the file `lock.N` with
 * the highest number, if the process that it names runs. Who finds that it does not makes the next one, which only one
 * can; and only the owner of a lock removes lower ones, so the highest number never goes.
 */
export class StateDirectory {
  readonly path: string;
  #lock = "";

  /**
   * Makes the directory if need be, and locks it; the process `from` gives it up for this one. Throws UserError if it is
   * another daemon's, else a system error.
   */
  constructor(path: string, from?: number) {
    this.path = path;
    mkdirSync(path, { recursive: true, mode: 0o700 });
    this.#take(from);
  }

  /** Takes it back from a process for which it was given up, and which has ended. Throws as the constructor. */
  takeBack(): void {
    this.#lock = "";
    this.#take(process.pid);
  }

  /** Gives the lock back. */
  close(): void {
    if (this.#lock !== "") writeFileSync(this.#lock, "");
    this.#lock = "";
  }

  #take(from?: number): void {
    const own = join(this.path, `lock.new.${process.pid}`);
    writeFileSync(own, `${processMark(process.pid) ?? process.pid}\n`, { mode: 0o600 });
    try {
      while (this.#lock === "") {
        const [highest = 0] = locksIn(this.path);
        const pid = markedProcess(readIfThere(lockFile(this.path, highest)) ?? "");
        if (pid !== undefined && pid !== from) {
          throw new UserError(
            `${this.path}: another slashcloud (process ${pid}) keeps its state there; stop it, or use another directory with --state`,
          );
        }
        const lock = lockFile(this.path, highest + 1);
        try {
          linkSync(own, lock);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code === "EEXIST") continue;
          throw error;
        }
        // Others may have come and gone since the look: then this number was free as theirs is higher.
        if (locksIn(this.path)[0] === highest + 1) this.#lock = lock;
        else rmSync(lock, { force: true });
      }
      for (const number of locksIn(this.path).slice(1)) rmSync(lockFile(this.path, number), { force: true });
    } finally {
      rmSync(own, { force: true });
    }
  }
}

/** Whether a process that runs has a state directory to itself. Throws a system error if that cannot be seen. */
export function isStateInUse(path: string): boolean {
  const [highest] = locksIn(path);
  return highest !== undefined && markedProcess(readIfThere(lockFile(path, highest)) ?? "") !== undefined;
}

/** The numbers of all locks, the highest first. */
function locksIn(path: string): number[] {
  return readdirSync(path)
    .flatMap((name) => /^lock\.(\d{1,15})$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => b - a);
}

function lockFile(path: string, number: number): string {
  return join(path, `lock.${number}`);
}
