/** Where a daemon keeps what outlives it, and where its control socket is: one directory for each mount point. */
import { createHash } from "node:crypto";
import {
  linkSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { UserError } from "./user-error.js";

/** Bytes of a directory's name; a longer one is its digest. */
const LONGEST_NAME = 200;
/** Tries at a lock that others take and give back meanwhile. */
const TRIES = 10;

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

/** A state directory that is this process' own until it is closed or the process ends. */
export class StateDirectory {
  readonly path: string;
  readonly #lock: string;
  readonly #owner: string;

  /** Makes the directory if need be, and locks it. Throws UserError. */
  constructor(path: string) {
    this.path = path;
    this.#lock = join(path, "lock");
    this.#owner = `${process.pid} ${startOf(process.pid) ?? ""}\n`;
    try {
      mkdirSync(path, { recursive: true, mode: 0o700 });
      if (!statSync(path).isDirectory()) throw new Error("it is no directory");
      this.#take();
    } catch (error) {
      if (error instanceof UserError) throw error;
      throw new UserError(
        `${path}: cannot be used for the daemon's state: ${(error as Error).message}; name another directory with --state`,
      );
    }
  }

  close(): void {
    if (readIfThere(this.#lock) === this.#owner) rmSync(this.#lock, { force: true });
  }

  #take(): void {
    const own = `${this.#lock}.${process.pid}`;
    writeFileSync(own, this.#owner, { mode: 0o600 });
    try {
      for (let tries = 0; tries < TRIES; tries++) {
        try {
          linkSync(own, this.#lock);
          return;
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
        }
        const owner = readIfThere(this.#lock);
        if (owner === undefined) continue;
        const pid = pidOf(owner);
        if (pid !== undefined) {
          throw new UserError(
            `${this.path}: another slashcloud (process ${pid}) keeps its state there; stop it, or use another directory with --state`,
          );
        }
        this.#removeStale(owner);
      }
      throw new Error(`its lock ${this.#lock} is taken again and again`);
    } finally {
      rmSync(own, { force: true });
    }
  }

  /** Removes the lock of a process that is gone; not that of another one who did the same in between. */
  #removeStale(stale: string): void {
    const aside = `${this.#lock}.stale.${process.pid}`;
    try {
      renameSync(this.#lock, aside);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      throw error;
    }
    if (readIfThere(aside) !== stale) {
      try {
        linkSync(aside, this.#lock);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
    }
    unlinkSync(aside);
  }
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** The process that a lock names, if it runs: another one may have its number by now, but not its start, too. */
function pidOf(owner: string): number | undefined {
  const [pid = "", start = ""] = owner.trim().split(" ");
  if (!/^\d+$/.test(pid)) return undefined;
  const running = startOf(Number(pid));
  return running !== undefined && running === start ? Number(pid) : undefined;
}

/** When a process started, in clock ticks since the boot; undefined: there is none. proc(5): field 22 of stat. */
function startOf(pid: number): string | undefined {
  const stat = readIfThere(`/proc/${pid}/stat`);
  // The second field is the program's name, in parentheses, which may have anything in it.
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
}
