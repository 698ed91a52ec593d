/** Asking the daemon that serves a mount point how it is. */
import { askDaemon } from "./ask-daemon.js";
import type { DaemonStatus } from "./status.js";

export type { DaemonStatus, VolumeStatus } from "./status.js";

/** ms that the daemon is given. */
const PATIENCE = 5000;

/** `state`: the daemon's state directory. Throws UserError. */
export async function readStatus(state: string): Promise<DaemonStatus> {
  return (await askDaemon({ state, path: "/v1/status", patience: PATIENCE })) as DaemonStatus;
}
