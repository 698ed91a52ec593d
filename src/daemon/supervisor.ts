/**
 * The supervisor: it holds the descriptor of /dev/fuse, has it mounted, and starts the server that answers there, again
 * whenever one dies. As long as the descriptor is open, those who read wait for the next server. It reads no image, and
 * asks nothing of the tree, so that neither can take it down or hold it up.
 */
import { closeSync } from "node:fs";
import { join } from "node:path";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { type KernelMount, mountDevice, mountOf, openDevice } from "../fuse/kernel/mount.js";
import { mountAt } from "../fuse/mountpoint.js";
import { allAnswered, ask } from "./asking.js";
import type { GuestSpec } from "./guest-name.js";
import type { GuestProblem, OpenedGuests } from "./guest-problem.js";
import { supervisorReport } from "./insight/supervisor-report.js";
import { clearLedger, closeLedger, createLedger } from "./ledger.js";
import { type Driven, type DriverOptions, feedsOf } from "./serve.js";
import { DEVICE_FD, LEDGER_FD, type ServerSettings } from "./server-messages.js";
import { type Death, ServerProcess } from "./server-process.js";
import type { HandedOver } from "./succession/handed-over.js";
import { Successor } from "./succession/successor.js";
import { UserError } from "./user-error.js";

/** So many crashes within so many ms end it. */
const CRASHES = 3;
const CRASHES_WITHIN = 10_000;
/** ms for what the daemon's own programs have asked of the tree to be answered before it is left. */
const ANSWERED_WITHIN = 5000;

/** Serves by a supervised server; returns when the tree answers. Throws UserError, MountError. */
export async function supervise(options: DriverOptions): Promise<Driven> {
  const supervisor = new Supervisor(options);
  await supervisor.start();
  return supervisor;
}

class Supervisor implements Driven {
  readonly ended: Promise<void>;
  readonly #options: DriverOptions;
  readonly #ledger: number;
  #device: number;
  #mounted: KernelMount | undefined;
  #server: ServerProcess;
  /** One whose death is no surprise. */
  #expected: ServerProcess | undefined;
  /** When servers have crashed, ms. */
  #crashes: number[] = [];
  /** Why no other server can go on with the mount; "" if one can. */
  #unresumable = "";
  #isEnding = false;
  /** Whether the mount, this one and one that takes its place, is to be kept should this process end; and whether it is. */
  #isToBeKept = false;
  #isKept = false;
  /** The daemon that is about to take this one's place. */
  #successor: Successor | undefined;
  #serverStarts = 0;
  /** One change of the server at a time. */
  #changing: Promise<unknown> = Promise.resolve();
  #guests: readonly GuestSpec[];
  #settings: ServerSettings;
  #unavailable: readonly GuestProblem[] = [];
  #resolve: () => void = () => {};
  #reject: (error: Error) => void = () => {};

  constructor(options: DriverOptions) {
    this.#options = options;
    this.#guests = options.guests;
    this.#settings = options.settings;
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.ended.catch(() => {});
    const { left } = options;
    const isHanded = options.predecessor !== undefined;
    this.#device = left?.device ?? (isHanded ? DEVICE_FD : openDevice(options.directory));
    this.#ledger = left?.ledger ?? (isHanded ? LEDGER_FD : createLedger());
    this.#server = this.#spawn(options.required);
  }

  async start(): Promise<void> {
    const server = this.#server;
    const { predecessor, left } = this.#options;
    try {
      const opened = await server.opened;
      await predecessor?.ready();
      const mounted = predecessor?.handed.mounted ?? left?.mounted;
      if (mounted === undefined) this.#mount(server);
      else {
        this.#mounted = mountOf(this.#device, mounted.path, mounted.device);
        this.#isKept = this.#options.store?.goOn(mounted) ?? false;
        this.#serve(server);
      }
      this.#options.opened(opened);
    } catch (error) {
      this.#isEnding = true;
      server.kill();
      await server.dead;
      this.#close();
      throw error;
    }
    await Promise.race([ask(join((this.#mounted as KernelMount).path, this.#options.host)), this.ended]);
  }

  async stop(isToCome = false): Promise<void> {
    this.#isEnding = true;
    this.#successor?.signal("SIGKILL");
    const server = this.#server;
    if (isToCome && this.#isKept) {
      if (await isQuiet()) return this.#leave(server);
      this.#options.log("the tree does not answer, and is unmounted", { level: "error" });
    }
    // First, as what the kernel remembers would be out of date as soon as the server follows no more.
    server.ending();
    try {
      this.#mounted?.unmount("abort");
    } finally {
      await server.stop();
      await server.end();
      this.#close();
      this.#resolve();
    }
  }

  /** Has the server end, and leaves what it has mounted. */
  async #leave(server: ServerProcess): Promise<void> {
    await server.stop();
    await isQuiet();
    server.kill();
    await server.dead;
    this.#close();
    this.#resolve();
  }

  async keep(): Promise<void> {
    this.#isToBeKept = true;
    const { store } = this.#options;
    const mounted = this.#mounted;
    if (store === undefined || mounted === undefined || this.#unresumable !== "" || this.#isEnding) return;
    const isKept = await store.keep(this.#device, this.#ledger, mounted);
    // It may have been mounted anew meanwhile, or no other server can go on with it any more.
    if (mounted === this.#mounted && this.#unresumable === "") this.#setKept(isKept);
  }

  #setKept(isKept: boolean): void {
    this.#isKept = isKept;
    this.#server.kept(isKept);
  }

  async upgrade(settings: ServerSettings): Promise<void> {
    const { log, opened } = this.#options;
    const shown = this.#guests.map(({ name }) => name);
    await this.#inTurn(async () => {
      try {
        await this.#change(this.#guests, settings, shown, opened);
        if (!this.#isEnding) log("another server has taken over", { level: "info" });
      } catch (error) {
        log(`the server stays as it is, as the new one does not start: ${(error as Error).message}`);
      }
    });
  }

  /**
   * Has another daemon, by the program as it is on disk now, take this one's place; `sure` is called when it can. Then all
   * that is here is its own. Throws UserError, and this one goes on.
   */
  handOver(
    handed: Omit<HandedOver, "mounted">,
    environment: NodeJS.ProcessEnv,
    sure: () => void,
  ): Promise<Successor> {
    return this.#inTurn(async () => {
      const mounted = this.#mounted;
      if (this.#isEnding || mounted === undefined) throw new UserError("the daemon is ending");
      if (this.#unresumable !== "") throw new UserError(this.#unresumable);
      const { path, device } = mounted;
      const all = { ...handed, mounted: { path, device } };
      const next = new Successor(this.#device, this.#ledger, all, environment);
      this.#successor = next;
      try {
        await next.opened();
        sure();
        // The server is to hear of it first.
        await setImmediate();
        await this.#giveUp(next);
        this.#isEnding = true;
        this.#close();
        return next;
      } catch (error) {
        next.signal("SIGKILL");
        await next.dead;
        throw error;
      } finally {
        this.#successor = undefined;
      }
    });
  }

  /** Has the server stop, and another daemon serve the mount. Throws UserError if it does not; then there is a server here. */
  async #giveUp(next: Successor): Promise<void> {
    const old = this.#server;
    await old.stop();
    this.#expected = old;
    old.kill();
    await old.dead;
    try {
      if (this.#isEnding) throw new UserError("the daemon is ending");
      await next.serve();
    } catch (error) {
      next.signal("SIGKILL");
      await next.dead;
      if (!this.#isEnding) await this.#replace();
      throw error;
    }
  }

  readonly replace = (): void => {
    if (!this.#isEnding) this.#server.kill();
  };

  show(
    guests: readonly GuestSpec[],
    settings: ServerSettings,
    sure: (opened: OpenedGuests) => void,
  ): Promise<void> {
    return this.#inTurn(() => this.#change(guests, settings, [], sure));
  }

  tellUnavailable(guests: readonly GuestProblem[]): void {
    this.#unavailable = guests;
    this.#server.tellUnavailable(guests);
  }

  #inTurn<Value>(action: () => Promise<Value>): Promise<Value> {
    const done = this.#changing.then(action);
    this.#changing = done.catch(() => {});
    return done;
  }

  /**
   * Has a new server take over, which shows these guests; `sure` is called when it can. Throws UserError, and the old one
   * stays as it is.
   */
  async #change(
    guests: readonly GuestSpec[],
    settings: ServerSettings,
    required: readonly string[],
    sure: (opened: OpenedGuests) => void,
  ): Promise<void> {
    if (this.#isEnding) return;
    const next = this.#spawn(required, guests, settings);
    let death: Death | undefined;
    void next.dead.then((how) => {
      death = how;
    });
    let opened: OpenedGuests;
    try {
      opened = await next.opened;
    } finally {
      if (this.#isEnding) next.kill();
    }
    sure(opened);
    // The old one is to hear of it first.
    await setImmediate();
    const old = this.#server;
    await old.stop();
    // From here on the old one's death is expected. What it leaves unanswered, the kernel asks the new one.
    this.#server = next;
    this.#guests = guests;
    this.#settings = settings;
    old.kill();
    await old.dead;
    if (this.#isEnding) next.kill();
    else if (death !== undefined) this.#died(next, death);
    else this.#serve(next);
  }

  #spawn(required: readonly string[], guests = this.#guests, settings = this.#settings): ServerProcess {
    const { host, run, metricsAt, taps, mirrors } = this.#options;
    this.#serverStarts++;
    const feeds = feedsOf(this.#options);
    const shown = new Set(this.#mounted === undefined ? [] : this.#guests);
    const known = guests.flatMap((spec) => (isAmong(shown, spec) ? [spec.name] : []));
    const server = new ServerProcess(
      { ...settings, host, guests, required, known, feeds, metricsAt },
      this.#device,
      this.#ledger,
      (why) => {
        this.#unresumable = why;
        this.#setKept(false);
        void this.#options.store?.drop();
        this.#options.log(`${why}: should the server die, the tree is mounted anew`);
      },
      run,
      () => supervisorReport({ tap: taps, attached: mirrors }, this.#serverStarts),
    );
    void server.dead.then((death) => this.#died(server, death));
    return server;
  }

  /** Mounts, for the first time or again. Throws MountError. */
  #mount(server: ServerProcess): void {
    this.#mounted = mountDevice(this.#device, this.#options.directory);
    server.serve(this.#mounted, false);
    server.tellUnavailable(this.#unavailable);
    if (this.#isToBeKept) void this.keep();
  }

  #serve(server: ServerProcess): void {
    if (this.#mounted === undefined) return;
    server.serve(this.#mounted, true);
    server.kept(this.#isKept);
    server.tellUnavailable(this.#unavailable);
  }

  #died(server: ServerProcess, { reason, isCrash, isUnmounted }: Death): void {
    // One that was replaced, or that did not get as far as to serve for the first time.
    if (server !== this.#server || server === this.#expected) return;
    if (this.#isEnding || this.#mounted === undefined) return;
    if (isUnmounted || mountIsGone(this.#mounted)) {
      this.#isEnding = true;
      this.#close();
      this.#resolve();
      return;
    }
    const now = performance.now();
    this.#crashes = this.#crashes.filter((at) => now - at < CRASHES_WITHIN);
    if (isCrash && this.#unresumable === "") this.#crashes.push(now);
    if (this.#crashes.length >= CRASHES) {
      void this.#fail(
        `the server crashed ${CRASHES} times within ${CRASHES_WITHIN / 1000} s (${reason}): ${this.#options.directory} is unmounted`,
      );
      return;
    }
    this.#options.log(`the server died (${reason}) and is started again`, { level: "error" });
    this.#replace().catch((error: Error) => this.#fail(error.message));
  }

  async #replace(): Promise<void> {
    const mounted = this.#mounted as KernelMount;
    const isAnew = this.#unresumable !== "";
    if (isAnew) {
      // What was asked of the dead server is never answered: it is cut off.
      this.#mounted = undefined;
      mounted.unmount("abort");
      clearLedger(this.#ledger);
      this.#device = openDevice(this.#options.directory);
      mounted.close();
      this.#unresumable = "";
    }
    const server = this.#spawn([]);
    this.#server = server;
    try {
      this.#options.opened(await server.opened);
    } catch (error) {
      // It is dead, which #died deals with as long as there is a mount.
      if (isAnew) throw error;
      return;
    }
    if (server !== this.#server || this.#isEnding) {
      server.kill();
      return;
    }
    if (isAnew) this.#mount(server);
    else this.#serve(server);
  }

  async #fail(message: string): Promise<void> {
    this.#isEnding = true;
    this.#server.kill();
    try {
      this.#mounted?.unmount("abort");
    } catch (error) {
      this.#options.log((error as Error).message);
    }
    await this.#server.dead;
    this.#close();
    this.#reject(new UserError(message));
  }

  #close(): void {
    closeSync(this.#device);
    closeLedger(this.#ledger);
  }
}

/** Whether what the daemon's own programs have asked of the tree is answered, now or soon. */
async function isQuiet(): Promise<boolean> {
  const answered = allAnswered().then(() => true);
  return Promise.race([answered, sleep(ANSWERED_WITHIN, false, { ref: false })]);
}

/** Whether a guest is among others with the same images. */
function isAmong(others: Iterable<GuestSpec>, { name, images }: GuestSpec): boolean {
  for (const other of others) if (other.name === name) return other.images.join("\n") === images.join("\n");
  return false;
}

/** Whether somebody has unmounted the tree. While a server lives, files that are open are served all the same. */
function mountIsGone(mounted: KernelMount): boolean {
  return mountAt(mounted.path)?.device !== mounted.device;
}
