/** `slashcloud events`: what happened in the guests, and what happens. */
import { type GuestEvent, readEvents } from "../daemon/read-events.js";
import { stateDirectoryFor } from "../daemon/state-directory.js";
import { EventText } from "./event-text.js";
import { write } from "./output.js";

export interface EventsOptions {
  readonly mount: string;
  readonly state?: string;
  readonly follow?: boolean;
  readonly since?: string;
  readonly json?: boolean;
}

/** Prints events, a line each. Returns the exit code. Throws UserError. */
export async function events(pattern: string | undefined, options: EventsOptions): Promise<number> {
  const { mount, state, follow, since, json } = options;
  const text = new EventText(process.stdout.isTTY === true && !process.env.NO_COLOR);
  const lines = readEvents({ state: stateDirectoryFor(mount, state), follow, since, pattern });
  for await (const line of lines)
    write(json ? `${line}\n` : text.line(JSON.parse(line) as Partial<GuestEvent>));
  return 0;
}
