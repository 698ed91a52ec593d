/** Names for what is made in a QEMU. They tell which process made it, so that what a dead one left is known for that. */
import { readFileSync } from "node:fs";

const PREFIX = "slashcloud-";
/** The process's number and its start, in base 36; with a role and a number behind it, it has QEMU's 31 characters at most. */
const NAME = /^slashcloud-([0-9a-z]{1,8})\.([0-9a-z]{1,8})-[a-z][0-9]+$/;

export interface Session {
  /** Whether a name of a job, an export or a node is this process's. */
  owns(name: string): boolean;
  /** `j` for a job, `e` for an export, `t` and `f` for the nodes of a tap and of a mirror. */
  name(role: "j" | "e" | "t" | "f", index: number): string;
}

/** The session of a process that runs. Throws a system error if it does not. */
export function sessionOf(pid: number): Session {
  const start = startOf(pid);
  if (start === undefined) throw new Error(`there is no process ${pid}`);
  const prefix = `${PREFIX}${pid.toString(36)}.${start.toString(36)}-`;
  return {
    owns: (name) => name.startsWith(prefix),
    name: (role, index) => `${prefix}${role}${index}`,
  };
}

/** Whether a name is slashcloud's, whichever process's. */
export function isOurs(name: string): boolean {
  return name.startsWith(PREFIX);
}

/** The process that made what has the name, if it still runs and is another than this one. */
export function livingOwner(name: string): number | undefined {
  const parts = NAME.exec(name);
  if (parts === null) return undefined;
  const pid = Number.parseInt(parts[1]!, 36);
  return pid !== process.pid && startOf(pid) === Number.parseInt(parts[2]!, 36) ? pid : undefined;
}

/** When a process started, in clock ticks since the boot (proc(5): field 22 of stat). */
function startOf(pid: number): number | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return undefined;
  }
  // Names of programs may have blanks and parentheses.
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
}
