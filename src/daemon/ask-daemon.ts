/** Asking the daemon that serves a mount point, at its control socket. */
import { type IncomingMessage, request } from "node:http";
import { controlSocket } from "./socket-path.js";
import { UserError } from "./user-error.js";

/** The connection was lost before the answer came. */
export class LostAnswer extends UserError {}

export interface Asked {
  /** The daemon's state directory. */
  readonly state: string;
  /** `/v1/...` */
  readonly path: string;
  /** What is sent along, as JSON. */
  readonly body?: object;
  /** ms that the daemon is given. */
  readonly patience: number;
}

/** Returns what is answered. Throws UserError, also for what the daemon refuses. */
export async function askDaemon({ state, path, body, patience }: Asked): Promise<unknown> {
  let answer: IncomingMessage;
  let text = "";
  try {
    const socket = controlSocket(state);
    try {
      answer = await new Promise<IncomingMessage>((resolve, reject) => {
        request(
          {
            socketPath: socket.path,
            path,
            method: body === undefined ? "GET" : "POST",
            signal: AbortSignal.timeout(patience),
          },
          resolve,
        )
          .on("error", reject)
          .end(body && JSON.stringify(body));
      });
      for await (const piece of answer.setEncoding("utf8")) text += piece;
    } finally {
      socket.close();
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ECONNREFUSED") {
      throw new UserError(
        `no daemon keeps its state in ${state}: start it with slashcloud up, or name its mount point with --mount`,
      );
    }
    const line = `the daemon whose state is in ${state} does not answer: ${message}`;
    throw code === "ECONNRESET" ? new LostAnswer(line) : new UserError(line);
  }
  const { error } = JSON.parse(text) as { error?: string };
  if (error !== undefined) throw new UserError(error);
  return JSON.parse(text);
}
