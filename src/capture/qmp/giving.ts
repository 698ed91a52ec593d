/** Files that QEMU has to reach, where it runs as a user of its own. */
import { chownSync, statSync } from "node:fs";

/**
 * Gives a socket, or the folder that an export's socket is to be made in, to the user whose QEMU listens at `monitor`;
 * does nothing if it runs as this process's user, or if this process is not root. Throws a system error.
 */
export function giveToQemu(path: string, monitor: string): void {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = statSync(monitor);
  if (uid !== 0) chownSync(path, uid, gid);
}
