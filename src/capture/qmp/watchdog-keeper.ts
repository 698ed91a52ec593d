/**
 * The watchdog's other end: to be kept by the thread that acknowledges writes, as its heartbeat is what the watchdog
 * listens to. A watchdog that dies or hangs is replaced.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { setPriority } from "node:os";
import { fileURLToPath } from "node:url";
import type { Log } from "../../images/image.js";
import type { Guard, GuardedGuest } from "./attachment.js";
import { thisThread } from "./thread-state.js";
import { BEAT, type GuardList, Lines } from "./watchdog-messages.js";

/** Heartbeats without an answer after which a watchdog counts as hung. */
const MOST_UNANSWERED = 50;
/** ms until one that ended is replaced. */
const PAUSE = 500;
/** ms after which a guest cannot be guarded. */
const LIMIT = 10_000;
/** So many bytes that a watchdog has not taken are enough. */
const MOST_WAITING = 64 << 10;
const PROGRAM = fileURLToPath(new URL("../../watchdog.js", import.meta.url));
/** MB that it may have for what QEMUs answer; it has no use for more. */
const OPTIONS = ["--max-old-space-size=128", "--max-semi-space-size=1"];

/** The niceness of this thread, and of the watchdogs that it starts: guests wait for it. */
const NICENESS = -10;

export interface WatchdogKeeperOptions {
  readonly log: Log;
  /** The program's file, if this module runs from elsewhere than from where it was built. */
  readonly program?: string;
}

export class WatchdogKeeper implements Guard {
  readonly #log: Log;
  readonly #program: string;
  readonly #thread = thisThread();
  readonly #guests = new Map<string, GuardedGuest>();
  readonly #timer: NodeJS.Timeout;
  readonly #waiting = new Set<{ readonly number: number; readonly resolve: () => void }>();
  #child: ChildProcess | undefined;
  #lastList = 0;
  #unanswered = 0;
  #isStopping = false;
  #onEnd: () => void = () => {};

  constructor({ log, program = PROGRAM }: WatchdogKeeperOptions) {
    this.#log = log;
    this.#program = program;
    hurry();
    this.#start();
    this.#timer = setInterval(() => this.#beat(), BEAT);
  }

  /** The watchdog's process; undefined while there is none. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Throws Error if there is no watchdog that answers. */
  async guard(guest: GuardedGuest): Promise<void> {
    this.#guests.set(guest.socket, guest);
    let timer: NodeJS.Timeout | undefined;
    const answered = new Promise<void>((resolve) => {
      this.#waiting.add({ number: this.#lastList + 1, resolve });
    });
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        this.release(guest.socket);
        reject(new Error(`${guest.socket}: there is no watchdog for the guest, which does not begin`));
      }, LIMIT);
    });
    this.#tell();
    await Promise.race([answered, late]).finally(() => clearTimeout(timer));
  }

  release(socket: string): void {
    this.#guests.delete(socket);
    this.#tell();
  }

  /** Ends the watchdog, which first clears guests that are guarded still. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    clearInterval(this.#timer);
    if (this.#child === undefined) return;
    await new Promise<void>((resolve) => {
      this.#onEnd = resolve;
      this.#child?.stdin?.end();
    });
  }

  #start(): void {
    // In a session of its own: what ends this process by its terminal does not end the watchdog.
    const child = spawn(process.execPath, [...OPTIONS, this.#program], {
      stdio: ["pipe", "pipe", "inherit"],
      detached: true,
    });
    this.#child = child;
    this.#unanswered = 0;
    const lines = new Lines();
    child.stdin.on("error", () => {});
    child.stdout.on("error", () => {});
    child.stdout.setEncoding("utf8").on("data", (piece: string) => {
      this.#unanswered = 0;
      for (const line of lines.take(piece)) if (line !== "") this.#answered(Number(line));
    });
    child.once("error", (error) => this.#ended(child, error.message));
    child.once("exit", (code, signal) => this.#ended(child, signal ?? `exit code ${code}`));
    this.#tell();
  }

  #ended(child: ChildProcess, how: string): void {
    if (child !== this.#child) return;
    this.#child = undefined;
    this.#onEnd();
    if (this.#isStopping) return;
    this.#log(`the watchdog died (${how}) and is started again`);
    setTimeout(() => {
      if (!this.#isStopping) this.#start();
    }, PAUSE);
  }

  #beat(): void {
    const { stdin } = this.#child ?? {};
    if (stdin === undefined || stdin === null) return;
    this.#unanswered++;
    if (this.#unanswered > MOST_UNANSWERED) this.#child?.kill("SIGKILL");
    else if (stdin.writableLength < MOST_WAITING) stdin.write("\n");
  }

  #tell(): void {
    const list: GuardList = {
      number: ++this.#lastList,
      thread: this.#thread,
      guests: [...this.#guests.values()],
    };
    this.#child?.stdin?.write(`${JSON.stringify(list)}\n`);
  }

  #answered(number: number): void {
    for (const waiting of this.#waiting) {
      if (waiting.number > number) continue;
      this.#waiting.delete(waiting);
      waiting.resolve();
    }
  }
}

/** Has this thread go before others where processors are few. Only root may. */
function hurry(): void {
  try {
    // 0 is the thread that calls (setpriority(2)).
    setPriority(0, NICENESS);
  } catch {
    // It is as it was.
  }
}
