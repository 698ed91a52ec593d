/**
 * Telling the service manager (systemd) how the daemon is, by the protocol of sd_notify(3): lines of NAME=value in a
 * datagram to the unix socket that NOTIFY_SOCKET names. Node has no datagrams on unix sockets, so systemd-notify(1), which
 * is there wherever systemd is, sends them; it does so in the name of the process that has started it, so that
 * NotifyAccess=main is enough for root. One takes some 5 ms of a processor.
 */
import { spawn } from "node:child_process";
import type { Log } from "../../images/image.js";
import { passDescriptors } from "./pass-descriptors.js";

/** What the service manager has put into the environment. */
interface Environment {
  NOTIFY_SOCKET?: string;
  WATCHDOG_USEC?: string;
  WATCHDOG_PID?: string;
  LISTEN_FDS?: string;
  LISTEN_PID?: string;
  LISTEN_FDNAMES?: string;
}

/** A descriptor in the service manager's store. */
export interface NamedDescriptor {
  readonly name: string;
  readonly descriptor: number;
}

/** The first that a service is passed (sd_listen_fds(3), SD_LISTEN_FDS_START). */
const FIRST_PASSED = 3;

export class ServiceManager {
  /** ms within which it is to be told again and again that the daemon is well; undefined: it does not ask for that. */
  readonly watchdog: number | undefined;
  readonly #socket: string;
  readonly #log: Log;
  #last: Promise<void> = Promise.resolve();
  #isMissing = false;

  constructor(socket: string, watchdog: number | undefined, log: Log) {
    this.#socket = socket;
    this.watchdog = watchdog;
    this.#log = log;
  }

  /** The tree answers. `status`: one line for people, which `systemctl status` shows. */
  ready(status: string): Promise<void> {
    return this.#tell("READY=1", `STATUS=${status}`);
  }

  /** The daemon is about to end. */
  stopping(): Promise<void> {
    return this.#tell("STOPPING=1", "STATUS=ending");
  }

  /** Another process is the daemon's first one from now on. */
  mainProcess(pid: number): Promise<void> {
    return this.#tell(`MAINPID=${pid}`);
  }

  /** The variables by which that process finds the service manager. */
  get environment(): NodeJS.ProcessEnv {
    const limit = this.watchdog === undefined ? {} : { WATCHDOG_USEC: `${this.watchdog * 1000}` };
    return { NOTIFY_SOCKET: this.#socket, ...limit };
  }

  /** The daemon does what it is there for. */
  well(): Promise<void> {
    return this.#tell("WATCHDOG=1");
  }

  /** Has descriptors held, in place of others of these names, until forget() or the service's end. Rejects with an Error. */
  store(descriptors: readonly NamedDescriptor[]): Promise<void> {
    const messages = descriptors.flatMap(({ name, descriptor }) => [
      { lines: ["FDSTOREREMOVE=1", `FDNAME=${name}`] },
      { lines: ["FDSTORE=1", `FDNAME=${name}`], descriptor },
    ]);
    const stored = this.#last.then(() => passDescriptors(this.#socket, messages));
    this.#last = stored.catch(() => {});
    return stored;
  }

  /** Has the descriptors of this name held no more. */
  forget(name: string): Promise<void> {
    return this.#tell("FDSTOREREMOVE=1", `FDNAME=${name}`);
  }

  /** Resolves when the service manager has it, or cannot have it. Messages arrive in their order. */
  #tell(...assignments: string[]): Promise<void> {
    this.#last = this.#last.then(() => this.#send(assignments));
    return this.#last;
  }

  #send(assignments: readonly string[]): Promise<void> {
    return new Promise((resolve) => {
      const child = spawn("systemd-notify", assignments, {
        stdio: "ignore",
        env: { ...process.env, NOTIFY_SOCKET: this.#socket },
      });
      child.on("error", ({ message }) => {
        if (!this.#isMissing) this.#log(`the service manager cannot be told anything: ${message}`);
        this.#isMissing = true;
        resolve();
      });
      child.on("exit", () => resolve());
    });
  }
}

/**
 * The service manager that has started this process; undefined: none that wants to be told. Takes the variables out of
 * the environment, as they are not for the programs that the daemon starts.
 */
export function serviceManager(log: Log, environment: Environment = process.env): ServiceManager | undefined {
  const { NOTIFY_SOCKET: socket = "", WATCHDOG_USEC: limit = "", WATCHDOG_PID: pid } = environment;
  delete environment.NOTIFY_SOCKET;
  delete environment.WATCHDOG_USEC;
  delete environment.WATCHDOG_PID;
  if (!/^[/@]/.test(socket)) return undefined;
  const isMeant = pid === undefined || Number(pid) === process.pid;
  const ms = /^\d+$/.test(limit) && isMeant ? Number(limit) / 1000 : 0;
  return new ServiceManager(socket, ms > 0 ? ms : undefined, log);
}

/** The descriptors that the service manager has passed to this process; takes the variables out of the environment. */
export function passedDescriptors(environment: Environment = process.env): NamedDescriptor[] {
  const { LISTEN_FDS: count, LISTEN_PID: pid, LISTEN_FDNAMES: names = "" } = environment;
  delete environment.LISTEN_FDS;
  delete environment.LISTEN_PID;
  delete environment.LISTEN_FDNAMES;
  if (Number(pid) !== process.pid) return [];
  return names
    .split(":")
    .slice(0, Number(count) || 0)
    .map((name, at) => ({ name, descriptor: FIRST_PASSED + at }));
}
