/** Having a running daemon do something that changes which guests it shows. */
import { setTimeout as sleep } from "node:timers/promises";
import { askDaemon, LostAnswer } from "./ask-daemon.js";
import type { Command } from "./commands.js";
import { readStatus } from "./read-status.js";
import { UserError } from "./user-error.js";

/** ms that QEMU and the daemon are given. */
const PATIENCE = 60_000;
/** ms until the guests are as they are to be, and between looks. */
const LIMIT = 30_000;
const LOOK_EVERY = 50;

/** `state`: the daemon's state directory. Returns lines for people when the tree is as it is to be. Throws UserError. */
export async function sendCommand(state: string, command: Command): Promise<readonly string[]> {
  const { kind, ...body } = command;
  let lines: readonly string[] = [];
  let shown: readonly string[] | undefined;
  try {
    const answer = await askDaemon({ state, path: `/v1/${kind}`, body, patience: PATIENCE });
    const { done, guests } = answer as { done: string[]; guests: string[] };
    lines = done;
    shown = guests;
  } catch (error) {
    // Another command has replaced the server that was asked; what was asked is done all the same.
    if (!(error instanceof LostAnswer)) throw error;
  }
  for (const limit = performance.now() + LIMIT; performance.now() < limit; await sleep(LOOK_EVERY)) {
    // Meanwhile one server takes over from another.
    const status = await readStatus(state).catch(() => undefined);
    if (status !== undefined && isDone(command, shown, status.guests)) return lines;
  }
  throw new UserError(`the daemon does not show its guests as they are to be; slashcloud status tells more`);
}

/** Whether the guests are as they are to be; `to`: undefined if nobody has said. */
function isDone(command: Command, to: readonly string[] | undefined, now: readonly string[]): boolean {
  switch (command.kind) {
    case "attach":
    case "add":
      return now.includes(command.guest);
    case "detach":
    case "remove":
      return !now.includes(command.guest);
    case "renew":
    case "reload":
      return to === undefined || (to.length === now.length && to.every((guest) => now.includes(guest)));
  }
}
