/** The process that hosts the tap, as the supervisor sees it: started, started again when it dies, ended. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { QueueLimits } from "../queue/write-queue.js";
import type { FromTapProcess, PassedDisk, TapProcessOptions, ToTapProcess } from "./tap-process-messages.js";
import { UserError } from "./user-error.js";

const PROGRAM = fileURLToPath(new URL("../tap.js", import.meta.url));
/** ms that it is given to end by itself. */
const PATIENCE = 5000;
/** ms until it is started again: at first, and at most. */
const RETRY = 50;
const LONGEST_RETRY = 10_000;

export interface TapOptions {
  /** Where guests' disks are offered: `unix:PATH` or `HOST:PORT`, each. */
  readonly listen: readonly string[];
  readonly disks: readonly PassedDisk[];
  readonly limits: Partial<QueueLimits>;
  readonly log: (line: string) => void;
}

export class TapKeeper {
  /** The socket that writes are told on. */
  readonly feed: string;
  readonly #directory: string;
  readonly #options: TapOptions;
  #child: ChildProcess | undefined;
  #isStopping = false;
  #retry = RETRY;

  constructor(options: TapOptions) {
    this.#options = options;
    this.#directory = mkdtempSync(join(tmpdir(), "slashcloud-feed-"));
    this.feed = join(this.#directory, "feed.sock");
  }

  /** Starts it; returns where the disks are, as NBD URLs. Throws UserError. */
  async start(): Promise<readonly string[]> {
    const child = spawn(process.execPath, [...process.execArgv, PROGRAM], {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    this.#child = child;
    const died = once(child, "exit").then(
      ([code, signal]) => `${signal ?? `exit code ${code}`}`,
      (error: Error) => error.message,
    );
    const started = new Promise<readonly string[]>((resolve, reject) => {
      child.on("message", (message: FromTapProcess) => {
        if (message.kind === "ready") resolve(message.urls);
        else if (message.kind === "refused") reject(new UserError(message.message));
        else this.#options.log(message.line);
      });
      void died.then((how) => reject(new UserError(`the tap did not start: ${how}`)));
    });
    const { listen, disks, limits } = this.#options;
    const options: TapProcessOptions = { feed: this.feed, listen, disks, limits };
    this.#tell({ kind: "start", options });
    const urls = await started;
    this.#retry = RETRY;
    void died.then((how) => this.#again(`the tap died (${how})`));
    return urls;
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    const child = this.#child;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      const ended = once(child, "exit");
      this.#tell({ kind: "stop" });
      await Promise.race([ended, sleep(PATIENCE, undefined, { ref: false })]);
      child.kill("SIGKILL");
      await ended;
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #again(why: string): void {
    if (this.#isStopping) return;
    this.#options.log(`${why} and is started again`);
    setTimeout(() => {
      if (this.#isStopping) return;
      this.start().catch((error: Error) => {
        this.#retry = Math.min(LONGEST_RETRY, 2 * this.#retry);
        this.#again(error.message);
      });
    }, this.#retry);
  }

  #tell(message: ToTapProcess): void {
    // An error is a process that has died, which is learnt of elsewhere.
    if (this.#child?.connected) this.#child.send(message, () => {});
  }
}
