import { readFileSync } from "node:fs";

/** The time that a process has to answer for: what it waits for a core, on a machine where others work, is not counted. */
export class OwnTime {
  #path;
  #waited = 0;

  /** `process`: a number, or "self". The time is that of its first thread. */
  constructor(process) {
    this.#path = `/proc/${process}/schedstat`;
  }

  /** ms since some moment. */
  now() {
    const now = performance.now();
    try {
      // Its second number: nanoseconds spent waiting for a core (Documentation/scheduler/sched-stats.rst).
      this.#waited = Number(readFileSync(this.#path, "latin1").split(" ")[1]) / 1e6;
    } catch {
      // The process has ended, or the kernel counts nothing: then all time is its own.
    }
    return now - this.#waited;
  }
}
