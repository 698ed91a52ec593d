/** Programs of the host that checks ask. */
import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { join } from "node:path";

/** ms that one is given. */
const PATIENCE = 5000;
/** Where root's programs are, which a user's PATH may lack. */
const ALWAYS = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"];

/** The path of a program; undefined: it is not installed. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? "").split(":"), ...ALWAYS];
  return folders.map((folder) => join(folder, name)).find((path) => isProgram(path));
}

/** What a program has said; undefined: it is not installed, or takes too long. */
export function ask(
  name: string,
  args: readonly string[],
): { code: number; stdout: string; stderr: string } | undefined {
  const program = findProgram(name);
  if (program === undefined) return undefined;
  const { status, stdout, stderr } = spawnSync(program, args, {
    encoding: "utf8",
    timeout: PATIENCE,
    killSignal: "SIGKILL",
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, LC_ALL: "C" },
    maxBuffer: 16 << 20,
  });
  return status === null ? undefined : { code: status, stdout, stderr };
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
