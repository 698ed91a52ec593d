/** What a thread is doing, by proc(5): whether it wants the processor, and how much of it it had. */
import { readFileSync, readlinkSync } from "node:fs";

/** ms of a clock tick, of which Linux has 100 a second in all that it tells users. */
const TICK = 10;

export interface ThreadState {
  /** It runs, or waits for a processor. */
  readonly isRunnable: boolean;
  /** ms of a processor that it has had. */
  readonly used: number;
}

/** The thread that calls this, for `threadState`. Throws a system error where there is no /proc. */
export function thisThread(): string {
  return readlinkSync("/proc/thread-self");
}

/** Undefined if there is no such thread. */
export function threadState(thread: string): ThreadState | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${thread}/stat`, "latin1");
  } catch {
    return undefined;
  }
  // Names of threads may have blanks and parentheses. State is the 3rd field; user's and system's time the 14th and 15th.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return { isRunnable: fields[0] === "R", used: (Number(fields[11]) + Number(fields[12])) * TICK };
}
