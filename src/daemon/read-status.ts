/** Asking the daemon that serves a mount point how it is. */
import { type IncomingMessage, request } from "node:http";
import { controlSocket } from "./socket-path.js";
import type { DaemonStatus } from "./status.js";
import { UserError } from "./user-error.js";

export type { DaemonStatus, VolumeStatus } from "./status.js";

/** ms that the daemon is given. */
const PATIENCE = 5000;

/** `state`: the daemon's state directory. Throws UserError. */
export async function readStatus(state: string): Promise<DaemonStatus> {
  try {
    const socket = controlSocket(state);
    try {
      const answer = await new Promise<IncomingMessage>((resolve, reject) => {
        request(
          { socketPath: socket.path, path: "/v1/status", signal: AbortSignal.timeout(PATIENCE) },
          resolve,
        )
          .on("error", reject)
          .end();
      });
      let text = "";
      for await (const piece of answer.setEncoding("utf8")) text += piece;
      return JSON.parse(text) as DaemonStatus;
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
    throw new UserError(`the daemon whose state is in ${state} does not answer: ${message}`);
  }
}
