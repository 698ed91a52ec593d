/** Having a running daemon do something that changes which guests it shows. */
import { setTimeout as sleep } from "node:timers/promises";
import { askDaemon, LostAnswer } from "./ask-daemon.js";
import type { Command, CommandDone } from "./commands.js";
import { readStatus } from "./read-status.js";
import { UserError } from "./user-error.js";

/** ms that QEMU and the daemon are given. */
const PATIENCE = 60_000;
/** ms until the guests are as they are to be, and between looks. */
const LIMIT = 30_000;
const LOOK_EVERY = 50;

/** `state`: the daemon's state directory. Returns when the tree is as it is to be. Throws UserError. */
export async function sendCommand(state: string, { kind, ...body }: Command): Promise<CommandDone> {
  let done: CommandDone = [];
  try {
    const answer = await askDaemon({ state, path: `/v1/${kind}`, body, patience: PATIENCE });
    ({ done } = answer as { done: CommandDone });
  } catch (error) {
    // Another command has replaced the server that was asked; what was asked is done all the same.
    if (!(error instanceof LostAnswer)) throw error;
  }
  for (const limit = performance.now() + LIMIT; performance.now() < limit; await sleep(LOOK_EVERY)) {
    // Meanwhile one server takes over from another.
    const status = await readStatus(state).catch(() => undefined);
    if (status?.guests.includes(body.guest) === (kind === "attach")) return done;
  }
  throw new UserError(`the daemon does not show its guests as they are to be; slashcloud status tells more`);
}
