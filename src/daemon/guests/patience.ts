/** Waiting for something, but not for ever. */
import { setTimeout as sleep } from "node:timers/promises";

/** Resolves when `done` does, or after some ms; until then the process goes on. */
export async function atMost(ms: number, done: Promise<unknown>): Promise<void> {
  const enough = new AbortController();
  const limit = sleep(ms, undefined, { signal: enough.signal }).catch(() => {});
  await Promise.race([done, limit]);
  enough.abort();
}
