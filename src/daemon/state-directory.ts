/** Where a daemon keeps what it must know after a restart. */
import { homedir } from "node:os";
import { join, resolve } from "node:path";

/** The state directory of the daemon that serves a mount point, if no other one is named. */
export function stateDirectory(mountPoint: string): string {
  const name = resolve(mountPoint).slice(1).replaceAll("/", "-") || "root";
  if (process.geteuid?.() === 0) return join("/var/lib/slashcloud", name);
  return join(process.env.XDG_STATE_HOME ?? join(homedir(), ".local/state"), "slashcloud", name);
}
