/** Who can log in to a guest, by its own list of users. */
import type { Reader } from "../reader.js";

export interface User {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
}

/** Shells that let nobody in. */
const NO_SHELLS = new Set(["nologin", "false", "true", "sync", "shutdown", "halt", "poweroff", "reboot"]);
/** Without a shell in passwd(5) it is this one. */
const DEFAULT_SHELL = "/bin/sh";
const MOST_BYTES = 16 << 20;
const MOST_USERS = 10_000;

/** Users with a shell to log in with, in the file's order; undefined if there is no list. */
export async function users(reader: Reader): Promise<User[] | undefined> {
  const text = await reader.text("/etc/passwd", MOST_BYTES);
  if (text === undefined) return undefined;
  const found: User[] = [];
  for (const line of text.split("\n")) {
    const fields = line.split(":");
    const [name = "", , uid = "", gid = "", , home = "", shell = ""] = fields;
    if (fields.length !== 7 || name === "" || !/^\d{1,10}$/.test(uid) || !/^\d{1,10}$/.test(gid)) continue;
    if (NO_SHELLS.has(shell.slice(shell.lastIndexOf("/") + 1))) continue;
    found.push({ name, uid: Number(uid), gid: Number(gid), home, shell: shell || DEFAULT_SHELL });
    if (found.length === MOST_USERS) break;
  }
  return found;
}
