/** A process that hosts a tap, as its keeper reaches it: one that it has started, or one that it has been handed. */
import { spawn } from "node:child_process";
import { connect } from "node:net";
import { fileURLToPath } from "node:url";
import { LEAN_OPTIONS, leanEnvironment } from "./lean.js";
import type { SharedTap } from "./succession/handed-over.js";
import { MessageLines } from "./tap-lines.js";
import type { FromTapProcess, ToTapProcess } from "./tap-process-messages.js";

const PROGRAM = fileURLToPath(new URL("../tap.js", import.meta.url));

export interface TapLink {
  readonly pid: number;
  readonly isConnected: boolean;
  /** Resolves when the process is no more, or can no longer be reached: with how, for people. */
  readonly died: Promise<string>;
  send(message: ToTapProcess): void;
  kill(): void;
  /** Has nothing more to do with it: it is another's. */
  leave(): void;
}

/** Starts a process; `take` is given what it says. */
export function startTap(take: (message: FromTapProcess) => void): TapLink {
  const child = spawn(process.execPath, [...LEAN_OPTIONS, ...process.execArgv, PROGRAM], {
    env: leanEnvironment(),
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  child.on("message", take);
  return {
    pid: child.pid ?? 0,
    get isConnected() {
      return child.connected;
    },
    died: new Promise((resolve) => {
      child.once("exit", (code, signal) => resolve(`${signal ?? `exit code ${code}`}`));
      child.once("error", ({ message }) => resolve(message));
    }),
    send: (message) => {
      // An error is a process that has died, which is learnt of elsewhere.
      if (child.connected) child.send(message, () => {});
    },
    kill: () => void child.kill("SIGKILL"),
    leave: () => {
      child.unref();
      if (child.connected) child.disconnect();
    },
  };
}

/** Goes on with a process that another keeper has shared. */
export function adoptTap({ pid, socket: path }: SharedTap, take: (message: FromTapProcess) => void): TapLink {
  const socket = connect(path);
  const lines = new MessageLines<FromTapProcess>();
  let problem = "it has ended";
  socket.setEncoding("utf8").on("data", (piece: string) => {
    for (const message of lines.take(piece)) take(message);
  });
  socket.on("error", ({ message }) => {
    problem = message;
  });
  const died = new Promise<string>((resolve) => socket.on("close", () => resolve(problem)));
  return {
    pid,
    get isConnected() {
      return !socket.destroyed;
    },
    died,
    send: (message) => {
      if (!socket.destroyed) socket.write(MessageLines.line(message));
    },
    kill: () => {
      // While it is connected, the number is its own.
      if (!socket.destroyed) process.kill(pid, "SIGKILL");
    },
    leave: () => void socket.destroy(),
  };
}
