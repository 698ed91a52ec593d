/** The process that hosts the tap, as the supervisor sees it: started, started again when it dies, ended. */
import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../images/image.js";
import type { QueueLimits } from "../queue/write-queue.js";
import type { ReportingTap, TapFigures, TapReport } from "./insight/supervisor-report.js";
import { makeOwnFolder, ownFolder } from "./own-folders.js";
import type { SharedTap } from "./succession/handed-over.js";
import { adoptTap, startTap, type TapLink } from "./tap-link.js";
import type {
  AttachRequest,
  FromTapProcess,
  PassedDisk,
  PipedDisk,
  TapProcessOptions,
  ToTapProcess,
} from "./tap-process-messages.js";
import { UserError } from "./user-error.js";

/** ms that it is given to end by itself. */
const PATIENCE = 5000;
/** ms until it is started again: at first, and at most. */
const RETRY = 50;
const LONGEST_RETRY = 10_000;
/** ms that it is given to tell how it is. */
const REPORT_WITHIN = 1000;
/** How often a guest is attached to again, and ms in between: who cleans up may still be at its monitor. */
const ATTEMPTS = 5;
const PAUSE = 1000;

export interface TapOptions {
  /** Where guests' disks are offered: `unix:PATH` or `HOST:PORT`, each. */
  readonly listen: readonly string[];
  readonly disks: readonly PassedDisk[];
  /** Disks whose writes come through pipes. */
  readonly pipes?: readonly PipedDisk[];
}

/** How guests' writes are dealt with, wherever they come from. */
export interface WriteOptions {
  readonly limits: Partial<QueueLimits>;
  /** ms for which a write is kept that nothing explains yet. */
  readonly unknownLife: number;
}

export interface TapKeeperOptions extends TapOptions, WriteOptions {
  readonly log: Log;
  /** A process that is handed over: it is gone on with, and another one started only when that has died. */
  readonly handed?: SharedTap | undefined;
  /** A guest that was attached to has gone by itself. */
  readonly gone: (guest: string, reason: string) => void;
  /** Its disks can be read elsewhere now: paths or NBD URLs. */
  readonly moved: (guest: string, images: readonly string[]) => void;
}

/** A running guest that is attached to. */
interface Attached {
  readonly request: AttachRequest;
  images: readonly string[];
}

interface Pending {
  resolve(images: readonly string[]): void;
  reject(error: Error): void;
}

export class TapKeeper implements ReportingTap {
  /** Of its sockets, once it is started. */
  #directory = "";
  readonly #options: TapKeeperOptions;
  readonly #attached = new Map<string, Attached>();
  readonly #pending = new Map<number, Pending>();
  /** Who has asked how it is, by request. */
  readonly #reports = new Map<number, (figures: TapFigures) => void>();
  #lastRequest = 0;
  #handed: SharedTap | undefined;
  #child: TapLink | undefined;
  #isStopping = false;
  #retry = RETRY;
  #starting: Promise<unknown> = Promise.resolve();

  constructor(options: TapKeeperOptions) {
    this.#options = options;
    this.#handed = options.handed;
    this.#directory = options.handed?.directory ?? "";
  }

  /** The socket that writes are told on; undefined: it has not been started. */
  get feed(): string | undefined {
    return this.#directory === "" ? undefined : join(this.#directory, "feed.sock");
  }

  /** Starts it; returns where the disks are, as NBD URLs. Throws UserError. */
  async start(): Promise<readonly string[]> {
    if (this.#directory === "") {
      this.#directory = makeOwnFolder("feed");
      // A QEMU that runs as another user has a folder of its own there.
      chmodSync(this.#directory, 0o711);
    }
    let ready: (urls: readonly string[]) => void = () => {};
    let refused: (error: Error) => void = () => {};
    const started = new Promise<readonly string[]>((resolve, reject) => {
      ready = resolve;
      refused = reject;
    });
    const take = (message: FromTapProcess): void => {
      if (message.kind === "ready") ready(message.urls);
      else if (message.kind === "refused") refused(new UserError(message.message));
      else this.#take(message);
    };
    const handed = this.#handed;
    this.#handed = undefined;
    const child = handed === undefined ? startTap(take) : adoptTap(handed, take);
    this.#child = child;
    // It needs what is there until it has let go of all guests, though this process may be killed meanwhile.
    ownFolder(this.#directory, [child.pid]);
    void child.died.then((how) => refused(new UserError(`the tap did not start: ${how}`)));
    const { listen, disks, pipes = [], limits, unknownLife } = this.#options;
    const options: TapProcessOptions = {
      directory: this.#directory,
      feed: this.feed as string,
      listen,
      disks,
      pipes,
      limits,
      unknownLife,
    };
    if (handed === undefined) this.#tell({ kind: "start", options });
    const urls = await started.catch((error: Error) => {
      child.kill();
      if (this.#child === child) this.#child = undefined;
      throw error;
    });
    this.#retry = RETRY;
    void child.died.then((how) => this.#again(`the tap died (${how})`));
    return urls;
  }

  get isStarted(): boolean {
    return this.#child !== undefined;
  }

  /** Attaches to a running guest; returns where its disks can be read, paths or NBD URLs. Throws UserError. */
  async attach(request: AttachRequest): Promise<readonly string[]> {
    // Of several at once, the first one starts it.
    if (!this.isStarted) this.#starting = this.start();
    await this.#starting;
    const attached: Attached = { request, images: [] };
    // Before it is: it may go at once.
    this.#attached.set(request.guest, attached);
    try {
      attached.images = await this.#ask((id) => ({ kind: "attach", id, request }));
      return attached.images;
    } catch (error) {
      this.#attached.delete(request.guest);
      throw error;
    }
  }

  isAttached(guest: string): boolean {
    return this.#attached.has(guest);
  }

  /** Throws UserError. */
  async detach(guest: string): Promise<void> {
    this.#attached.delete(guest);
    await this.#ask((id) => ({ kind: "detach", id, guest }));
  }

  /** How it is; undefined: nobody has needed it. Never rejects. */
  async report(): Promise<Omit<TapReport, "role"> | undefined> {
    if (this.#directory === "") return undefined;
    if (!this.#child?.isConnected)
      return { problem: "it has died and is being started again", figures: undefined };
    const id = ++this.#lastRequest;
    const asked = new Promise<TapFigures>((resolve) => {
      this.#reports.set(id, resolve);
      this.#tell({ kind: "report", id });
    });
    const figures = await Promise.race([asked, sleep(REPORT_WITHIN, undefined, { ref: false })]);
    this.#reports.delete(id);
    const problem = figures === undefined ? `it does not answer within ${REPORT_WITHIN / 1000} s` : "";
    return { problem, figures };
  }

  /** All that it is attached to, as it was asked for. */
  get attached(): readonly AttachRequest[] {
    return [...this.#attached.values()].map(({ request }) => request);
  }

  /** Lets another keeper go on with the process; undefined: there is none. Throws UserError. */
  async share(): Promise<SharedTap | undefined> {
    const { pid } = this.#child ?? {};
    if (pid === undefined) return undefined;
    const socket = join(this.#directory, "keeper.sock");
    await this.#ask((id) => ({ kind: "share", id, path: socket }));
    return { pid, directory: this.#directory, socket };
  }

  /** Another keeper has it. */
  leave(): void {
    this.#isStopping = true;
    this.#child?.leave();
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    const child = this.#child;
    if (child !== undefined) {
      this.#tell({ kind: "stop" });
      await Promise.race([child.died, sleep(PATIENCE, undefined, { ref: false })]);
      child.kill();
      await child.died;
    }
    if (this.#directory !== "") rmSync(this.#directory, { recursive: true, force: true });
  }

  #ask(message: (id: number) => ToTapProcess): Promise<readonly string[]> {
    const id = ++this.#lastRequest;
    if (!this.#child?.isConnected)
      return Promise.reject(new UserError("the tap has died and is being started again: try once more"));
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#tell(message(id));
    });
  }

  #take(message: FromTapProcess): void {
    switch (message.kind) {
      case "log":
        this.#options.log(message.line, message.about);
        break;
      case "done":
        this.#pending.get(message.id)?.resolve(message.images);
        this.#pending.delete(message.id);
        break;
      case "report":
        this.#reports.get(message.id)?.(message.figures);
        break;
      case "failed":
        this.#pending.get(message.id)?.reject(new UserError(message.message));
        this.#pending.delete(message.id);
        break;
      case "moved": {
        const attached = this.#attached.get(message.guest);
        if (attached === undefined) break;
        attached.images = message.images;
        this.#options.moved(message.guest, message.images);
        break;
      }
      case "gone":
        if (this.#attached.delete(message.guest)) this.#options.gone(message.guest, message.reason);
        break;
    }
  }

  /** Attaches again to what the process that died was attached to. */
  async #reattach(): Promise<void> {
    await Promise.all([...this.#attached.values()].map((attached) => this.#reattachTo(attached)));
  }

  async #reattachTo(attached: Attached): Promise<void> {
    const { request } = attached;
    const { guest } = request;
    for (let attempt = 1; this.#attached.get(guest) === attached; attempt++) {
      try {
        const images = await this.#ask((id) => ({ kind: "attach", id, request }));
        if (this.#attached.get(guest) !== attached) {
          // It was detached meanwhile.
          await this.#ask((id) => ({ kind: "detach", id, guest }));
          return;
        }
        this.#options.log(`${guest}: is attached again`, { level: "notice", guest });
        const isSame = images.join("\n") === attached.images.join("\n");
        attached.images = images;
        if (!isSame) this.#options.moved(guest, images);
        return;
      } catch (error) {
        // If the process died once more, this is done again.
        if (!this.#child?.isConnected || this.#isStopping) return;
        if (attempt === ATTEMPTS) {
          if (this.#attached.delete(guest)) this.#options.gone(guest, (error as Error).message);
          return;
        }
        await sleep(PAUSE, undefined, { ref: false });
      }
    }
  }

  #again(why: string): void {
    for (const { reject } of this.#pending.values()) reject(new UserError(why));
    this.#pending.clear();
    if (this.#isStopping) return;
    this.#options.log(`${why} and is started again`, { level: "error" });
    setTimeout(() => {
      if (this.#isStopping) return;
      this.start().then(
        () => this.#reattach(),
        (error: Error) => {
          this.#retry = Math.min(LONGEST_RETRY, 2 * this.#retry);
          this.#again(error.message);
        },
      );
    }, this.#retry);
  }

  #tell(message: ToTapProcess): void {
    this.#child?.send(message);
  }
}
