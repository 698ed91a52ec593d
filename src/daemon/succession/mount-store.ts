/**
 * Keeping the mount while no process of the daemon runs: the service manager holds its descriptors (FileDescriptorStoreMax=
 * in systemd.service(5)) until the service is started again, or has ended for good. systemd lets go of the one of
 * /dev/fuse by itself once that is unmounted, as poll(2) tells an error then.
 */
import type { Log } from "../../images/image.js";
import type { MountedAt } from "../server-messages.js";
import { isRestarting, unitProperties } from "../service/own-unit.js";
import type { ServiceManager } from "../service/service-manager.js";
import { storedName } from "./left-mount.js";

/** Of the device and of the ledger. */
const DESCRIPTORS = 2;

export class MountStore {
  readonly #manager: ServiceManager;
  readonly #unit: string;
  readonly #log: Log;
  /** Names of what is there, and whether that is the mount that is gone on with. */
  #stored: readonly string[];
  #isThere = false;

  /** `stored`: names of what the daemon before this one has left there. */
  constructor(manager: ServiceManager, unit: string, stored: readonly string[], log: Log) {
    this.#manager = manager;
    this.#unit = unit;
    this.#stored = stored;
    this.#log = log;
  }

  /** Names of what is there of the mount, for a daemon that goes on with it. */
  get stored(): readonly string[] {
    return this.#isThere ? this.#stored : [];
  }

  /** The mount of the daemon before this one is gone on with; returns whether it is kept. */
  goOn(mounted: MountedAt): boolean {
    this.#isThere = namesOf(mounted).every((name) => this.#stored.includes(name));
    return this.#isThere;
  }

  /** Has a mount kept; resolves with whether it is. One that was kept is so no more. Why it is not, the log says. */
  async keep(device: number, ledger: number, mounted: MountedAt): Promise<boolean> {
    const names = namesOf(mounted);
    for (const name of this.#stored) if (!names.includes(name)) await this.#manager.forget(name);
    this.#stored = names;
    if (this.#isThere) return true;
    try {
      const { FileDescriptorStoreMax: most } = await unitProperties(this.#unit, ["FileDescriptorStoreMax"]);
      if (!(Number(most) >= DESCRIPTORS))
        throw new Error(`${this.#unit} has no FileDescriptorStoreMax=${DESCRIPTORS} or more`);
      await this.#manager.store([
        { name: names[0], descriptor: device },
        { name: names[1], descriptor: ledger },
      ]);
      const { NFileDescriptorStore: count } = await unitProperties(this.#unit, ["NFileDescriptorStore"]);
      if (!(Number(count) >= DESCRIPTORS)) throw new Error("the service manager has not taken it");
      this.#isThere = true;
      return true;
    } catch (error) {
      this.#log(`a restart of the service will unmount the tree: ${(error as Error).message}`);
      return false;
    }
  }

  /** Has nothing kept any more. */
  async drop(): Promise<void> {
    const names = this.#stored;
    this.#stored = [];
    this.#isThere = false;
    // At once, before one that is kept next has the same names.
    await Promise.all(names.map((name) => this.#manager.forget(name)));
  }

  /** Whether the service, which is told to end, is to be started again at once. */
  async isRestarting(): Promise<boolean> {
    try {
      return await isRestarting(this.#unit);
    } catch (error) {
      this.#log(
        `whether the service is restarted is not known, so the tree is unmounted: ${(error as Error).message}`,
      );
      return false;
    }
  }
}

function namesOf(mounted: MountedAt): readonly [device: string, ledger: string] {
  return [storedName("device", mounted), storedName("ledger", mounted)];
}
