/** NBD servers of others, as guests' disks are offered by them: qemu-nbd, nbdkit. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { endWithTests } from "./images-mount.js";

/** How long a server may take until it listens, ms. */
const LIMIT = 90_000;

/** A server that runs. */
export interface NbdServerProcess {
  readonly child: ChildProcess;
  /** It stands still, with its connections open. */
  stall(): void;
  goOn(): void;
  /** SIGKILL. */
  kill(): Promise<void>;
}

/** Starts a program that is to listen at a unix socket, and waits until it does. */
export async function startServer(
  socket: string,
  program: string,
  ...args: string[]
): Promise<NbdServerProcess> {
  rmSync(socket, { force: true });
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  endWithTests(child);
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  for (const start = performance.now(); !existsSync(socket); await sleep(20)) {
    if (child.exitCode !== null || performance.now() - start > LIMIT)
      throw new Error(`${program} ${args.join(" ")} does not listen at ${socket}: ${errors}`);
  }
  return {
    child,
    stall: () => void child.kill("SIGSTOP"),
    goOn: () => void child.kill("SIGCONT"),
    kill: async () => {
      const ended = once(child, "close");
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** qemu-nbd for several clients, which stays when they go. */
export function qemuNbd(socket: string, image: string, ...options: string[]): Promise<NbdServerProcess> {
  return startServer(socket, "qemu-nbd", "-t", "-e", "16", "-k", socket, ...options, image);
}

/** nbdkit, read-only, with a disk in a file. */
export function nbdkit(socket: string, image: string, ...options: string[]): Promise<NbdServerProcess> {
  const filters = options.filter((option) => option.startsWith("--"));
  const parameters = options.filter((option) => !option.startsWith("--"));
  return startServer(socket, "nbdkit", "-f", "-r", "-U", socket, ...filters, "file", image, ...parameters);
}
