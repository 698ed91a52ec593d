/** The daemon that takes this one's place: the program as it is on disk now, started as this one was. */
import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "../user-error.js";
import type { FromSuccessor, HandedOver, ToSuccessor } from "./handed-over.js";

/** The variable that tells a program whose place it is to take: a process's number. */
export const PREDECESSOR = "SLASHCLOUD_PREDECESSOR";
/** ms that it may take to open all guests, and to serve them. */
const PATIENCE = 120_000;

export class Successor {
  /** Resolves with its exit code. */
  readonly dead: Promise<number>;
  readonly #child: ChildProcess;
  readonly #heard = new Map<FromSuccessor["kind"], () => void>();
  #refusal = "";
  #refused: () => void = () => {};

  /**
   * Starts it; it inherits the descriptors of /dev/fuse and of the ledger. `environment`: what it is to have besides this
   * process's own.
   */
  constructor(device: number, ledger: number, handed: HandedOver, environment: NodeJS.ProcessEnv) {
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      env: { ...process.env, ...environment, [PREDECESSOR]: `${process.pid}` },
      stdio: ["inherit", "inherit", "inherit", device, ledger, "ipc"],
    });
    this.#child = child;
    this.dead = new Promise((resolve) => {
      child.on("exit", (code) => resolve(code ?? 1));
      child.on("error", ({ message }) => {
        this.#refusal ||= message;
        resolve(1);
      });
    });
    child.on("message", (message: FromSuccessor) => {
      if (message.kind === "refused") {
        this.#refusal ||= message.message;
        this.#refused();
      } else this.#heard.get(message.kind)?.();
    });
    this.#tell({ kind: "hand over", handed });
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** Resolves when it has opened what it is to show. Rejects with UserError. */
  opened(): Promise<void> {
    return this.#hears("opened");
  }

  /** Lets it serve the mount, which nobody else does any more; resolves when it does. Rejects with UserError. */
  serve(): Promise<void> {
    this.#tell({ kind: "serve" });
    return this.#hears("serving");
  }

  /** It is the daemon now; with `isKept`, it ends when this process does, whatever ends that. */
  goOn(isKept: boolean): void {
    this.#tell({ kind: "go on", isKept }, () => {
      if (!isKept) this.#child.disconnect();
    });
    if (!isKept) this.#child.unref();
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async #hears(kind: FromSuccessor["kind"]): Promise<void> {
    const heard = new Promise<true>((resolve) => this.#heard.set(kind, () => resolve(true)));
    const refused = new Promise<undefined>((resolve) => {
      this.#refused = () => resolve(undefined);
    });
    const late = sleep(PATIENCE, undefined, { ref: false });
    const how = await Promise.race([heard, late, refused, this.dead]);
    if (how === true) return;
    const why = how === undefined ? `it does not answer within ${PATIENCE / 1000} s` : `exit code ${how}`;
    throw new UserError(`the program that is on disk does not take over: ${this.#refusal || why}`);
  }

  #tell(message: ToSuccessor, then: () => void = () => {}): void {
    // An error is one that has died, which is learnt of elsewhere.
    if (this.#child.connected) this.#child.send(message, then);
  }
}
