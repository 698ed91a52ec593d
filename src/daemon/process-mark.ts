/** Knowing a process again: by its number and when it started, as the number alone may be another's by then. */
import { readFileSync } from "node:fs";

/** `PID START` of a process that runs; undefined: there is none. */
export function processMark(pid: number): string | undefined {
  const start = startOf(pid);
  return start === undefined ? undefined : `${pid} ${start}`;
}

/** The process that a mark names, if it runs still. */
export function markedProcess(mark: string): number | undefined {
  const [pid = "", start = ""] = mark.trim().split(" ");
  if (!/^\d+$/.test(pid)) return undefined;
  const running = startOf(Number(pid));
  return running !== undefined && running === start ? Number(pid) : undefined;
}

/**
 * When a process started, in clock ticks since the boot; undefined: there is none, or it has ended and its parent has not
 * taken note yet, which in a container may be never. proc(5): fields 3 and 22 of stat.
 */
function startOf(pid: number): string | undefined {
  const stat = readIfThere(`/proc/${pid}/stat`);
  // The second field is the program's name, in parentheses, which may have anything in it.
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields === undefined || /^[ZX]/.test(fields[0] ?? "") ? undefined : fields[19];
}

/** The text of a file; undefined: it is not there. Throws other system errors. */
export function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    // ESRCH: a process that ended while its file was read.
    if (["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) return undefined;
    throw error;
  }
}
