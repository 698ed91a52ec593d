/** Events for the command line: from the daemon that serves a mount point, or, where none runs, from its logs on disk. */
import { existsSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { GuestEvent } from "../events/event.js";
import { everythingFolder, findLog, guestFolder } from "../events/log-files.js";
import { LogReplay } from "../events/log-replay.js";
import { Selection, type SelectionOptions } from "../events/selection.js";
import { POSITION_HEADER } from "./control.js";
import { controlSocket } from "./socket-path.js";
import { eventsFolder, isStateInUse } from "./state-directory.js";
import { UserError } from "./user-error.js";

export type { GuestEvent } from "../events/event.js";

export interface ReadEventsOptions extends SelectionOptions {
  /** The daemon's state directory. */
  readonly state: string;
  /** Events as they happen, until the daemon ends; stored ones before only with `since`. */
  readonly follow?: boolean | undefined;
}

/** ms until a daemon whose server has ended is asked again. */
const ASK_AGAIN = 100;
/** Characters of an answer that is no stream. */
const LONGEST_ANSWER = 64 << 10;

/** The events, each as JSON. Throws UserError. */
export async function* readEvents(options: ReadEventsOptions): AsyncGenerator<string> {
  const { state, follow } = options;
  let selection: Selection;
  try {
    selection = new Selection(options);
  } catch (error) {
    throw new UserError((error as Error).message, 2);
  }
  try {
    const answer = await ask(options);
    if (follow) yield* followed(options, answer);
    else if (answer !== undefined) {
      const isWhole = yield* answered(answer);
      if (!isWhole) throw new UserError("the daemon ended before it had told all events");
    } else yield* storedEvents(state, selection);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (error instanceof UserError || code === undefined) throw error;
    const advice =
      code === "EACCES" || code === "EPERM" ? "; only the user who runs the daemon may read them" : "";
    throw new UserError(`${state}: its events cannot be read: ${message}${advice}`);
  }
}

/** Follows a daemon until it ends; a server of its that is replaced by another one is not its end. */
async function* followed(
  options: ReadEventsOptions,
  first: IncomingMessage | undefined,
): AsyncGenerator<string> {
  const { state, since } = options;
  if (first === undefined) {
    throw new UserError(
      `no daemon keeps its state in ${state}, and only one can be followed: start it with slashcloud up, or name its mount point with --mount`,
    );
  }
  const known = new Map(since === undefined ? Object.entries(positionOf(first)) : []);
  for (let answer: IncomingMessage | undefined = first; ; ) {
    if (answer !== undefined) {
      for await (const line of answered(answer)) {
        const { guest, id } = JSON.parse(line) as Partial<GuestEvent>;
        if (guest !== undefined && id !== undefined) known.set(guest, id);
        yield line;
      }
    }
    if (!isStateInUse(state)) throw new UserError("the daemon ended");
    await sleep(ASK_AGAIN);
    answer = await ask({ ...options, after: JSON.stringify(Object.fromEntries(known)) });
  }
}

function positionOf({ headers }: IncomingMessage): Record<string, number> {
  return JSON.parse(decodeURIComponent(String(headers[POSITION_HEADER] ?? "{}"))) as Record<string, number>;
}

/** The daemon's answer; undefined if none runs. */
async function ask({
  state,
  follow,
  since,
  pattern,
  after,
}: ReadEventsOptions): Promise<IncomingMessage | undefined> {
  const parameters = new URLSearchParams();
  if (follow) parameters.set("follow", "1");
  if (since !== undefined) parameters.set("since", since);
  if (pattern !== undefined) parameters.set("pattern", pattern);
  if (after !== undefined) parameters.set("after", after);
  try {
    const socket = controlSocket(state);
    try {
      return await new Promise((resolve, reject) => {
        request({ socketPath: socket.path, path: `/v1/events?${parameters}` }, resolve)
          .on("error", reject)
          .end();
      });
    } finally {
      socket.close();
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ECONNREFUSED" || code === "ECONNRESET") return undefined;
    throw error;
  }
}

/** The lines of an answer, as far as it goes; returns whether it was whole. */
async function* answered(answer: IncomingMessage): AsyncGenerator<string, boolean> {
  answer.setEncoding("utf8");
  if (answer.statusCode !== 200) {
    let text = "";
    for await (const piece of answer) if (text.length < LONGEST_ANSWER) text += piece;
    throw new UserError(`the daemon refuses: ${errorIn(text)}`);
  }
  let rest = "";
  try {
    for await (const piece of answer) {
      const lines = (rest + piece).split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ECONNRESET") throw error;
    return false;
  }
  return true;
}

function errorIn(text: string): string {
  try {
    return (JSON.parse(text) as { error: string }).error;
  } catch {
    return text.trim();
  }
}

function* storedEvents(state: string, selection: Selection): Generator<string> {
  const root = eventsFolder(state);
  if (!existsSync(everythingFolder(root))) {
    throw new UserError(
      `no events: there is no daemon, nor was there one, that keeps its state in ${state}; name its mount point with --mount`,
    );
  }
  const { guest } = selection;
  // A guest's own log goes further back.
  const own =
    guest === undefined || guest.includes("/") || guest.startsWith(".") ? "" : guestFolder(root, guest);
  const folder = own !== "" && existsSync(own) ? own : everythingFolder(root);
  const replay = new LogReplay(folder, findLog(folder));
  try {
    for (const { json } of replay.lines()) if (selection.takesStored(json)) yield json;
  } finally {
    replay.close();
  }
}
