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
  const before = await supervisorOf(state);
  try {
    await askDaemon({ state, path: "/v1/renew", body: {}, patience: PATIENCE });
  } catch (error) {
    // The server that was asked ends by it.
    if (!(error instanceof LostAnswer)) throw error;
  }
  for (const limit = performance.now() + LIMIT; performance.now() < limit; await sleep(LOOK_EVERY)) {
    // Meanwhile nobody answers.
    const pid = await supervisorOf(state).catch(() => before);
    if (pid !== undefined && pid !== before) return pid;
  }
  throw new UserError("the daemon has not been replaced; its log tells why");
}

async function supervisorOf(state: string): Promise<number | undefined> {
  const { processes } = await readStatus(state);
  return processes.find(({ role }) => role === "supervisor")?.pid;
}
