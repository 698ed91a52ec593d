/** Having a running daemon replaced by the program as it is on disk now. */
import { setTimeout as sleep } from "node:timers/promises";
import { askDaemon, LostAnswer } from "./ask-daemon.js";
import { readStatus } from "./read-status.js";
import { UserError } from "./user-error.js";

/** ms that the new one may take to open all guests. */
const PATIENCE = 120_000;
/** ms until it is the one that answers, and between looks. */
const LIMIT = 30_000;
const LOOK_EVERY = 50;

/** `state`: the daemon's state directory. Resolves with the number of the daemon's process. Throws UserError. */
export async function renewDaemon(state: string): Promise<number> {
  const before = await daemonOf(state);
  try {
    await askDaemon({ state, path: "/v1/renew", body: {}, patience: PATIENCE });
  } catch (error) {
    // The server that was asked ends by it.
    if (!(error instanceof LostAnswer)) throw error;
  }
  for (const limit = performance.now() + LIMIT; performance.now() < limit; await sleep(LOOK_EVERY)) {
    // Meanwhile nobody answers.
    const { pid, starts } = await daemonOf(state).catch(() => before);
    if (pid !== undefined && pid !== before.pid) return pid;
    // It has a server again, as the new one has failed to serve.
    if (starts !== before.starts) break;
  }
  throw new UserError("the daemon has not been replaced; its log tells why");
}

interface Daemon {
  readonly pid: number | undefined;
  /** Servers that it has started. */
  readonly starts: number | undefined;
}

/** Throws UserError. */
async function daemonOf(state: string): Promise<Daemon> {
  const { processes, serverStarts: starts } = await readStatus(state);
  return { pid: processes.find(({ role }) => role === "supervisor")?.pid, starts };
}
