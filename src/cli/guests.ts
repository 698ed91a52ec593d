/** `slashcloud add`, `remove`, `reload` and `renew`: other guests in the tree of a daemon that runs. */
import { parseGuest } from "../daemon/guest-name.js";
import { sendCommand } from "../daemon/send-command.js";
import { renewDaemon } from "../daemon/send-renewal.js";
import { stateDirectoryFor } from "../daemon/state-directory.js";
import { write } from "./output.js";

/** Which daemon is meant. */
export interface DaemonOptions {
  readonly mount: string;
  readonly state?: string;
}

/** Returns the exit code. Throws UserError, ImageError. */
export async function add(argument: string, { mount, state }: DaemonOptions): Promise<number> {
  const { name: guest, images } = parseGuest(argument);
  await sendCommand(stateDirectoryFor(mount, state), { kind: "add", guest, images });
  return 0;
}

/** Returns the exit code. Throws UserError. */
export async function remove(guest: string, { mount, state }: DaemonOptions): Promise<number> {
  await sendCommand(stateDirectoryFor(mount, state), { kind: "remove", guest });
  return 0;
}

/** Prints what came of it. Returns the exit code. Throws UserError with a line for each error. */
export async function reload({ mount, state }: DaemonOptions): Promise<number> {
  for (const line of await sendCommand(stateDirectoryFor(mount, state), { kind: "reload" }))
    write(`slashcloud: ${line}\n`);
  return 0;
}

/** Has another daemon take the place of the one that runs. Returns the exit code. Throws UserError. */
export async function renew({ mount, state }: DaemonOptions): Promise<number> {
  const pid = await renewDaemon(stateDirectoryFor(mount, state));
  write(`slashcloud: process ${pid} is the daemon now\n`);
  return 0;
}
