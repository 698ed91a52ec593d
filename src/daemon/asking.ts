/** Having the kernel ask the server something. */
import { spawn } from "node:child_process";

/** Those that wait for an answer. */
const waiting = new Set<Promise<void>>();

/** Resolves when all that this process has asked so far is answered. */
export async function allAnswered(): Promise<void> {
  await Promise.all(waiting);
}

/**
 * Asks for the status of a file in the tree (stat(1), which says nothing); resolves when there is an answer, whatever it
 * is. By a process of its own: a thread that waits for an answer of a server that was killed cannot be ended, and would
 * keep the process that it is in, with its descriptor of /dev/fuse. Not to be called by a server: a program that is started
 * closes the images that it has inherited, which may wait for their storage, and Node waits for that.
 */
export function ask(path: string): Promise<void> {
  const asked = new Promise<void>((resolve) => {
    const child = spawn("stat", ["--", path], { stdio: "ignore" });
    child.on("error", () => resolve());
    child.on("exit", () => resolve());
  }).finally(() => waiting.delete(asked));
  waiting.add(asked);
  return asked;
}
