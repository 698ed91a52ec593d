/**
 * The supervisor: it holds the descriptor of /dev/fuse, has it mounted, and starts the server that answers there, again
 * whenever one dies. As long as the descriptor is open, those who read wait for the next server. It reads no image, and
 * asks nothing of the tree, so that neither can take it down or hold it up.
 */
import { closeSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { type KernelMount, mountDevice, openDevice } from "../fuse/kernel/mount.js";
import { mountAt } from "../fuse/mountpoint.js";
import { ask } from "./asking.js";
import type { Command, CommandDone } from "./commands.js";
import { type GuestSpec, guestOf, isGuestName } from "./guest-name.js";
import { clearLedger, closeLedger, createLedger } from "./ledger.js";
import { type DriverOptions, feedsOf, type Served } from "./serve.js";
import { type Death, ServerProcess } from "./server-process.js";
import { UserError } from "./user-error.js";

/** So many crashes within so many ms end it. */
const CRASHES = 3;
const CRASHES_WITHIN = 10_000;

/** From the guests that are shown to those that are to be. */
type ChangeGuests = (guests: readonly GuestSpec[]) => readonly GuestSpec[];

/** Serves by a supervised server; returns when the tree answers. Throws UserError, MountError. */
export async function supervise(options: DriverOptions): Promise<Served> {
  const supervisor = new Supervisor(options);
  await supervisor.start();
  return supervisor;
}

class Supervisor implements Served {
  readonly ended: Promise<void>;
  readonly #options: DriverOptions;
  readonly #ledger: number;
  #device: number;
  #mounted: KernelMount | undefined;
  #server: ServerProcess;
  /** When servers have crashed, ms. */
  #crashes: number[] = [];
  /** Why no other server can go on with the mount; "" if one can. */
  #unresumable = "";
  #isEnding = false;
  /** One change of the server at a time. */
  #changing: Promise<unknown> = Promise.resolve();
  #guests: readonly GuestSpec[];
  #resolve: () => void = () => {};
  #reject: (error: Error) => void = () => {};

  constructor(options: DriverOptions) {
    this.#options = options;
    this.#guests = options.guests;
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.ended.catch(() => {});
    this.#device = openDevice(options.directory);
    this.#ledger = createLedger();
    this.#server = this.#spawn();
  }

  async start(): Promise<void> {
    const server = this.#server;
    try {
      await server.opened;
      this.#mount(server);
    } catch (error) {
      this.#isEnding = true;
      server.kill();
      await server.dead;
      this.#close();
      throw error;
    }
    await Promise.race([ask(join((this.#mounted as KernelMount).path, this.#options.host)), this.ended]);
  }

  async stop(): Promise<void> {
    this.#isEnding = true;
    const server = this.#server;
    await server.stop();
    try {
      this.#mounted?.unmount("abort");
    } finally {
      await server.end();
      this.#close();
      this.#resolve();
    }
  }

  async upgrade(): Promise<void> {
    const { log } = this.#options;
    await this.#inTurn(async () => {
      try {
        await this.#change((guests) => guests);
        if (!this.#isEnding) log("another server has taken over");
      } catch (error) {
        log(`the server stays as it is, as the new one does not start: ${(error as Error).message}`);
      }
    });
  }

  readonly replace = (): void => {
    if (!this.#isEnding) this.#server.kill();
  };

  readonly gone = (guest: string, reason: string): void => {
    this.#options.log(`${guest}: ${reason}: it is no longer shown`);
    this.#later((guests) => guests.filter(({ name }) => name !== guest));
  };

  /** A guest that was attached to is to be read elsewhere. */
  readonly moved = (guest: string, images: readonly string[]): void => {
    this.#later((guests) => guests.map((spec) => (spec.name === guest ? guestOf(guest, images) : spec)));
  };

  #later(change: ChangeGuests): void {
    void this.#inTurn(() => this.#change(change)).catch((error: Error) => this.#options.log(error.message));
  }

  /** Resolves when it is sure to be done, which is before the server that has asked for it is replaced. */
  #run(command: Command): Promise<CommandDone> {
    return new Promise((resolve, reject) => {
      this.#inTurn(() =>
        command.kind === "attach" ? this.#attach(command, resolve) : this.#detach(command.guest, resolve),
      ).catch(reject);
    });
  }

  /** Throws UserError. */
  async #attach(
    { guest, socket, disks }: Command & { kind: "attach" },
    sure: (done: CommandDone) => void,
  ): Promise<void> {
    const { mirrors } = this.#options;
    if (this.#isEnding) throw new UserError("the daemon is ending");
    if (!isGuestName(guest)) throw new UserError(`"${guest}" cannot be a guest's name`);
    if (this.#guests.some(({ name }) => name === guest))
      throw new UserError(`there is a guest ${guest} already: give this one another name`);
    const images = await mirrors.attach({ guest, socket, disks });
    try {
      await this.#change(
        (guests) => [...guests, guestOf(guest, images)],
        () => sure(images),
      );
    } catch (error) {
      await mirrors.detach(guest);
      throw error;
    }
  }

  /** Throws UserError. */
  async #detach(guest: string, sure: (done: CommandDone) => void): Promise<void> {
    const { guests: first, mirrors } = this.#options;
    const isShown = this.#guests.some(({ name }) => name === guest);
    if (!mirrors.isAttached(guest) && (!isShown || first.some(({ name }) => name === guest)))
      throw new UserError(`${guest}: is not attached; slashcloud status lists the guests`);
    // Whatever QEMU says to it, the guest is no longer shown.
    const failed = await mirrors.detach(guest).then(
      () => undefined,
      (error: Error) => error,
    );
    await this.#change(
      (guests) => guests.filter(({ name }) => name !== guest),
      () => failed === undefined && sure([]),
    );
    if (failed !== undefined) throw failed;
  }

  #inTurn<Value>(action: () => Promise<Value>): Promise<Value> {
    const done = this.#changing.then(action);
    this.#changing = done.catch(() => {});
    return done;
  }

  /**
   * Has a new server take over, which shows other guests; `sure` is called when it can. Throws UserError, and the old one
   * stays as it is.
   */
  async #change(change: ChangeGuests, sure: () => void = () => {}): Promise<void> {
    if (this.#isEnding) return;
    const guests = change(this.#guests);
    const next = this.#spawn(guests);
    let death: Death | undefined;
    void next.dead.then((how) => {
      death = how;
    });
    try {
      await next.opened;
    } finally {
      if (this.#isEnding) next.kill();
    }
    sure();
    // The old one is to hear of it first.
    await setImmediate();
    const old = this.#server;
    await old.stop();
    // From here on the old one's death is expected. What it leaves unanswered, the kernel asks the new one.
    this.#server = next;
    this.#guests = guests;
    old.kill();
    await old.dead;
    if (this.#isEnding) next.kill();
    else if (death !== undefined) this.#died(next, death);
    else this.#serve(next);
  }

  #spawn(guests = this.#guests): ServerProcess {
    const { host, events } = this.#options;
    const feeds = feedsOf(this.#options);
    const server = new ServerProcess(
      { host, guests, events, feeds },
      this.#device,
      this.#ledger,
      (why) => {
        this.#unresumable = why;
        this.#options.log(`${why}: should the server die, the tree is mounted anew`);
      },
      (command) => this.#run(command),
    );
    void server.dead.then((death) => this.#died(server, death));
    return server;
  }

  /** Mounts, for the first time or again. Throws MountError. */
  #mount(server: ServerProcess): void {
    this.#mounted = mountDevice(this.#device, this.#options.directory);
    server.serve(this.#mounted, false);
  }

  #serve(server: ServerProcess): void {
    if (this.#mounted !== undefined) server.serve(this.#mounted, true);
  }

  #died(server: ServerProcess, { reason, isCrash, isUnmounted }: Death): void {
    // One that was replaced, or that did not get as far as to serve for the first time.
    if (server !== this.#server || this.#isEnding || this.#mounted === undefined) return;
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
    this.#options.log(`the server died (${reason}) and is started again`);
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
    const server = this.#spawn();
    this.#server = server;
    try {
      await server.opened;
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

/** Whether somebody has unmounted the tree. While a server lives, files that are open are served all the same. */
function mountIsGone(mounted: KernelMount): boolean {
  return mountAt(mounted.path)?.device !== mounted.device;
}
