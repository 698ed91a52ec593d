/** A server, as its supervisor sees it. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ask } from "./asking.js";
import type { RunCommand } from "./commands.js";
import type { GuestProblem, OpenedGuests } from "./guest-problem.js";
import type { SupervisorReport } from "./insight/supervisor-report.js";
import { LEAN_OPTIONS, leanEnvironment } from "./lean.js";
import type { FromServer, MountedAt, ServerOptions, ToServer } from "./server-messages.js";
import { UserError } from "./user-error.js";

const PROGRAM = fileURLToPath(new URL("../server.js", import.meta.url));
/** ms that a server is given to end its work. */
const PATIENCE = 3000;
/**
 * ms between looks whether a server is dying: at rest, and once it seems to be; looks in a row after which it is taken to
 * be held up.
 */
const LOOK_EVERY = 500;
const LOOK_AGAIN = 250;
const LOOKS = 4;

/** How a server ended. */
export interface Death {
  /** For people: `SIGKILL`, or what it said itself. */
  readonly reason: string;
  /** Whether it was by a fault of its own, or before it served. */
  readonly isCrash: boolean;
  /** Whether it ended because the mount is no more. */
  readonly isUnmounted: boolean;
}

export class ServerProcess {
  /** Resolves when the guests are open. Rejects with UserError if they cannot be, or the server ends before. */
  readonly opened: Promise<OpenedGuests>;
  /** Resolves when it is no more, or will do nothing any more. */
  readonly dead: Promise<Death>;
  readonly #child: ChildProcess;
  readonly #stopped: Promise<void>;
  /** Where what it serves is mounted. */
  #path: string | undefined;
  #said = "";
  #hasServed = false;
  #hasCrashed = false;
  #isUnmounted = false;

  /**
   * Starts a server; it inherits the descriptors. `unresumable` is told if no other can go on with its mount, `run` does
   * what it asks for, `report` tells of the daemon's other processes and never rejects.
   */
  constructor(
    options: ServerOptions,
    device: number,
    ledger: number,
    unresumable: (why: string) => void,
    run: RunCommand,
    report: () => Promise<SupervisorReport>,
  ) {
    const child = spawn(process.execPath, [...LEAN_OPTIONS, ...process.execArgv, PROGRAM], {
      env: leanEnvironment(),
      stdio: ["ignore", "ignore", "inherit", device, ledger, "ipc"],
    });
    this.#child = child;
    let opened: (guests: OpenedGuests) => void = () => {};
    let stopped: () => void = () => {};
    this.#stopped = new Promise((resolve) => {
      stopped = resolve;
    });
    child.on("message", (message: FromServer) => {
      switch (message.kind) {
        case "opened":
          opened(message.opened);
          break;
        case "refused":
        case "crashed":
          this.#said = message.message;
          this.#hasCrashed = true;
          break;
        case "serving":
          this.#hasServed = true;
          break;
        case "ask":
          if (this.#path !== undefined) void ask(this.#path);
          break;
        case "command": {
          const { id } = message;
          run(message.command).then(
            (done) => this.#tell({ kind: "done", id, done }),
            (error: Error) => this.#tell({ kind: "failed", id, message: error.message }),
          );
          break;
        }
        case "ask report":
          void report().then((told) => this.#tell({ kind: "report", id: message.id, report: told }));
          break;
        case "unresumable":
          unresumable(message.message);
          break;
        case "stopped":
          stopped();
          break;
        case "unmounted":
          this.#isUnmounted = true;
          break;
      }
    });
    this.dead = this.#watch();
    this.opened = new Promise((resolve, reject) => {
      opened = resolve;
      void this.dead.then(({ reason }) =>
        reject(new UserError(this.#said === "" ? `the server did not start: ${reason}` : this.#said)),
      );
    });
    // Who does not wait for it learns of the death all the same.
    this.opened.catch(() => {});
    this.#tell({ kind: "open", options });
  }

  /** Lets it serve a mount of its descriptor. */
  serve({ path, device }: MountedAt, isTakenOver: boolean): void {
    this.#path = path;
    this.#tell({ kind: "serve", mounted: { path, device }, isTakenOver });
  }

  /** Lets it say which guests are not shown, and why. */
  tellUnavailable(guests: readonly GuestProblem[]): void {
    this.#tell({ kind: "unavailable", guests });
  }

  /** Tells it whether the mount stays should this process end. */
  kept(isKept: boolean): void {
    this.#tell({ kind: "kept", isKept });
  }

  /** The tree is about to be unmounted by whoever started it. */
  ending(): void {
    this.#tell({ kind: "ending" });
  }

  /** Has it end all but the answering of requests; resolves when it has, or takes too long. */
  async stop(): Promise<void> {
    this.#tell({ kind: "stop" });
    await Promise.race([this.#stopped, this.dead, sleep(PATIENCE, undefined, { ref: false })]);
  }

  /** Kills it. What it was answering, it does not answer. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }

  /** Resolves when it has ended by itself, as its mount is no more, or was killed as it took too long. */
  async end(): Promise<void> {
    if (this.#hasServed) await Promise.race([this.dead, sleep(PATIENCE, undefined, { ref: false })]);
    this.kill();
    await this.dead;
  }

  #tell(message: ToServer): void {
    // An error is a server that has died, which is learnt of elsewhere.
    if (this.#child.connected) this.#child.send(message, () => {});
  }

  async #watch(): Promise<Death> {
    const child = this.#child;
    const failed = once(child, "error").then(([error]) => (error as Error).message);
    const exited = Promise.all([once(child, "exit"), once(child, "disconnect")]).then(([[code, signal]]) => {
      return { code: code as number | null, signal: signal as string | null };
    });
    const looking = new AbortController();
    const end = await Promise.race([exited, failed, this.#dying(looking.signal)]);
    looking.abort();
    const signal = typeof end === "object" ? (end.signal ?? "") : "SIGKILL";
    const how = typeof end === "string" ? end : signal !== "" ? signal : `exit code ${end.code}`;
    return {
      reason: this.#said.split("\n", 1)[0] || how,
      isCrash: this.#hasCrashed || signal !== "SIGKILL" || !this.#hasServed,
      isUnmounted: this.#isUnmounted,
    };
  }

  /**
   * Resolves when the process has been killed, but is held up: a thread of it waits for the kernel, which waits for an
   * answer that only the next server can give.
   */
  async #dying(aborted: AbortSignal): Promise<{ code: null; signal: "SIGKILL" }> {
    const { pid } = this.#child;
    const status = pid === undefined ? undefined : openStatus(pid);
    try {
      for (let seen = 0; seen < LOOKS && !aborted.aborted; ) {
        await sleep(seen === 0 ? LOOK_EVERY : LOOK_AGAIN, undefined, { ref: false });
        seen = status !== undefined && isDying(status) ? seen + 1 : 0;
      }
    } finally {
      if (status !== undefined) closeSync(status);
    }
    return { code: null, signal: "SIGKILL" };
  }
}

/** Bit of SIGKILL in the masks of /proc/<pid>/status (proc_pid_status(5)). */
const SIGKILL_BIT = 0x100;

/** Bytes of such a file that are looked at: signals come within the first 2 KiB, but for a process in very many groups. */
const statusBytes = Buffer.alloc(16384);

/** Opens a process's status; undefined: it is no more. */
function openStatus(pid: number): number | undefined {
  try {
    return openSync(`/proc/${pid}/status`, "r");
  } catch {
    return undefined;
  }
}

/** Whether a process, by its status, has a SIGKILL waiting, or has lost its first thread. */
function isDying(file: number): boolean {
  let length: number;
  try {
    length = readSync(file, statusBytes, 0, statusBytes.length, 0);
  } catch {
    return false;
  }
  const status = statusBytes.toString("latin1", 0, length);
  const state = /^State:\t(.)/m.exec(status)?.[1];
  const pending = Number.parseInt(/^SigPnd:\t[0-9a-f]*([0-9a-f]{3})$/m.exec(status)?.[1] ?? "0", 16);
  return state === "Z" || state === "X" || (pending & SIGKILL_BIT) !== 0;
}
