/** A program that offers a disk by NBD, run by a process that goes on meanwhile. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { ServingPlace } from "./nbdkit.js";

/** ms that it may take until it serves. */
const PATIENCE = 10_000;
/** ms between looks whether it does. */
const LOOK_EVERY = 10;
/** Bytes of what it says that are kept, from the last on. */
const MOST_SAID = 4096;

/** It does not serve. */
export class NotServingError extends Error {
  /** ENOENT: it is not installed. */
  readonly code: string;
  /** What it said. */
  readonly said: string;

  constructor(code: string, said: string) {
    super(code);
    this.code = code;
    this.said = said;
  }
}

export class NbdProgram {
  readonly #child: ChildProcess;
  readonly #ended: Promise<string>;
  #said = "";

  private constructor(program: string, args: readonly string[]) {
    const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
    this.#child = child;
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#said = (this.#said + text).slice(-MOST_SAID);
    });
    this.#ended = new Promise((resolve) => {
      child.on("error", ({ code }: NodeJS.ErrnoException) => resolve(code ?? "it cannot be started"));
      child.on("close", (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
  }

  /** Done when it serves. Throws NotServingError. */
  static async start(program: string, args: readonly string[], place: ServingPlace): Promise<NbdProgram> {
    for (const file of [place.socket, place.pidFile]) rmSync(file, { force: true });
    const started = new NbdProgram(program, args);
    let end: string | undefined;
    void started.#ended.then((how) => {
      end = how;
    });
    for (const begun = performance.now(); !existsSync(place.pidFile); await sleep(LOOK_EVERY)) {
      if (end === undefined && performance.now() - begun < PATIENCE) continue;
      started.kill();
      throw new NotServingError(end ?? "it does not answer", started.#said);
    }
    return started;
  }

  /** How it ended, when it has: a signal, or its exit code. */
  get ended(): Promise<string> {
    return this.#ended;
  }

  /** The last line that it said. */
  get lastSaid(): string {
    return this.#said.trimEnd().split("\n").at(-1) ?? "";
  }

  /** It writes nothing; and the other signals that end it, it may pass over while it starts. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }
}
