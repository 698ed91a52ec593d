import { Errno } from "./errno.js";

/**
 * Where a driver reports what was wrong. One line, no line end. FuseServer calls it in a thread whose event loop stands
 * still: there it must write at once (writeSync) or post a message; process.stderr of a worker would wait for ever.
 */
export type Log = (line: string) => void;

/** The same line is written at most once in this time, ms. */
const QUIET = 60_000;
/** Different lines in that time: a guest can make faults of any wording, and must not fill the host's log. */
const LINES = 100;

/**
 * Turns what a tree throws into an errno. A failure that is an answer has a positive errno; everything else (a Node
 * system error, a fault of ours) is EIO for the one who asked, and a line in the log.
 */
export class Faults {
  readonly #log: Log;
  readonly #said = new Set<string>();
  #since = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  /** The errno (positive) that answers a request which failed with `error`; `what` was being done. */
  errno(error: unknown, what: string): number {
    const errno = (error as { errno?: unknown } | null | undefined)?.errno;
    if (typeof errno === "number" && Number.isInteger(errno) && errno > 0) return errno;
    this.report(error, what);
    return Errno.EIO;
  }

  /** Writes a line about a fault, unless it was written a short while ago. */
  report(error: unknown, what: string): void {
    const line = `${what}: ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`;
    const now = Date.now();
    if (now - this.#since > QUIET) {
      this.#said.clear();
      this.#since = now;
    }
    if (this.#said.has(line) || this.#said.size >= LINES) return;
    this.#said.add(line);
    this.#log(line.replaceAll("\n", " "));
  }
}
