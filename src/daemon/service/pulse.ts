/**
 * The daemon's pulse: as long as the tree answers, the service manager is told so. When the tree does not answer, its
 * server is replaced, which keeps the mount; only if that does not help either does the service manager's watchdog end
 * the whole daemon, and starts it again.
 */
import { join } from "node:path";
import type { Log } from "../../images/image.js";
import { ask } from "../asking.js";
import type { ServiceManager } from "./service-manager.js";

/** So many looks within the time that the service manager grants. */
const LOOKS = 4;

export interface PulseOptions {
  readonly manager: ServiceManager;
  /** The mount point. */
  readonly directory: string;
  /** Has another server take over from one that does not answer; undefined where none can. */
  readonly replace: (() => void) | undefined;
  readonly log: Log;
}

/** Starts the looks if the service manager wants them. Returns what ends them. */
export function startPulse({ manager, directory, replace, log }: PulseOptions): () => void {
  const { watchdog } = manager;
  if (watchdog === undefined) return () => {};
  /** Since when an answer is waited for; undefined: there was one. */
  let askedAt: number | undefined;
  let isReplaced = false;
  const look = (): void => {
    const now = performance.now();
    if (askedAt !== undefined) {
      if (now - askedAt < watchdog / 2 || isReplaced || replace === undefined) return;
      isReplaced = true;
      log(`the tree has not answered for ${Math.round((now - askedAt) / 1000)} s: its server is replaced`);
      // A busy host may need long to start another one: that gets all of the watchdog's time, once.
      void manager.well();
      replace();
      return;
    }
    askedAt = now;
    isReplaced = false;
    // The kernel does not keep what is not there: only the server can say so.
    void ask(join(directory, ".not-there")).then(() => {
      askedAt = undefined;
      return manager.well();
    });
  };
  look();
  const timer = setInterval(look, watchdog / LOOKS);
  return () => clearInterval(timer);
}
