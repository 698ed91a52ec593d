/** Having the kernel ask the server something. */
import { spawn } from "node:child_process";
import { join } from "node:path";

/**
 * Asks for the status of a file in the tree (stat(1), which says nothing); resolves when there is an answer, whatever it
 * is. By a process of its own: a thread that waits for an answer of a server that was killed cannot be ended, and would
 * keep the process that it is in, with its descriptor of /dev/fuse. Not to be called by a server: a program that is started
 * closes the images that it has inherited, which may wait for their storage, and Node waits for that.
 */
export function ask(path: string): Promise<void> {
  return new Promise((resolve) => {
    const child = spawn("stat", ["--", path], { stdio: "ignore" });
    child.on("error", () => resolve());
    child.on("exit", () => resolve());
  });
}

/**
 * Asks for a name at the top of the tree that is not there, which the kernel never knows by itself. Returns what ends that:
 * who was not heard yet asks no more.
 */
export function wake(path: string): () => void {
  const child = spawn("stat", ["--", join(path, ".not-there")], { stdio: "ignore" });
  child.on("error", () => {});
  return () => child.kill("SIGKILL");
}
