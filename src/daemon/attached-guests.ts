/**
 * The running guests that the tap's process is attached to. QEMU mirrors what a guest writes to a tap that stores nothing,
 * and serves the disks for reading; or it only does the latter, and the disks are watched. Those that are mirrored have a
 * tap of their own, as QEMU reaches its socket: no disk of another guest can be had there.
 */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { FeedDisk } from "../capture/feed/frames.js";
import type { EnterOptions } from "../capture/qmp/attachment.js";
import { giveToQemu } from "../capture/qmp/giving.js";
import { watchGuest } from "../capture/qmp/watch.js";
import { type Log, logWithin } from "../images/image.js";
import { mirrorGuest } from "./mirrored-guest.js";
import { type AttachRequest, isSameRequest } from "./tap-process-messages.js";
import type { Tapping } from "./tapping.js";

/** The folder that QEMU's user has, and the socket that QEMU makes there. */
const QEMU_FOLDER = "qemu";
const EXPORT_SOCKET = "disks.sock";
/** Where QEMU mirrors writes to. */
const TAP_SOCKET = "tap.sock";

export interface AttachedGuestsOptions {
  /** Sockets are made there. */
  readonly directory: string;
  /** Its only disks are these guests'. */
  readonly tapping: Tapping;
  /** The writes of an export are told as this disk's from now on. */
  readonly offer: (name: string, disk: Omit<FeedDisk, "number" | "unknownLife">) => void;
  /** Or no longer. */
  readonly withdraw: (name: string) => void;
  /** A guest's disks can be read elsewhere now: paths or NBD URLs. */
  readonly moved: (guest: string, images: readonly string[]) => void;
  /** A guest has gone by itself. */
  readonly gone: (guest: string, reason: string) => void;
  readonly log: Log;
}

/** What is made of a guest, whichever way it is attached to. */
interface Followed {
  readonly images: readonly string[];
  /** Called once, also if that was before. */
  onLost(listener: (reason: string) => void): void;
  detach(): Promise<void>;
}

interface Attached {
  readonly request: AttachRequest;
  readonly followed: Followed;
  /** Of the monitor, links followed. */
  readonly socket: string;
  readonly folder: string;
}

export class AttachedGuests {
  readonly #options: AttachedGuestsOptions;
  readonly #guests = new Map<string, Attached>();

  constructor(options: AttachedGuestsOptions) {
    this.#options = options;
  }

  /** Returns where the guest's disks can be read, paths or NBD URLs. Throws errors of one line. */
  async attach(request: AttachRequest): Promise<readonly string[]> {
    const { guest, socket } = request;
    const before = this.#guests.get(guest);
    if (before !== undefined) {
      // A keeper that takes another's place asks for what there is.
      if (isSameRequest(before.request, request)) return before.followed.images;
      throw new Error(`${guest}: is attached already`);
    }
    if (!existsSync(socket))
      throw new Error(`${socket}: there is no such socket: is the guest running, and is this its monitor?`);
    const monitor = realpathSync(socket);
    for (const [other, attached] of this.#guests)
      if (attached.socket === monitor) throw new Error(`${socket}: is ${other}, which is attached already`);
    // Nobody but this user changes what is in it: QEMU's own folder is one within.
    const folder = mkdtempSync(join(this.#options.directory, "guest-"));
    try {
      chmodSync(folder, 0o711);
      mkdirSync(join(folder, QEMU_FOLDER), { mode: 0o700 });
      giveToQemu(join(folder, QEMU_FOLDER), socket);
      const followed = await this.#follow(request, folder);
      const attached = { request, followed, socket: monitor, folder };
      this.#guests.set(guest, attached);
      followed.onLost((reason) => this.#lost(attached, reason));
      return followed.images;
    } catch (error) {
      this.#clear(folder);
      throw error;
    }
  }

  /** Throws errors of one line. */
  async detach(guest: string): Promise<void> {
    const attached = this.#guests.get(guest);
    if (attached === undefined) return;
    this.#guests.delete(guest);
    try {
      await attached.followed.detach();
    } finally {
      this.#clear(attached.folder);
    }
  }

  /** Detaches from all. */
  async stop(): Promise<void> {
    const done = [...this.#guests.keys()].map((guest) =>
      this.detach(guest).catch(({ message }: Error) => this.#options.log(`${guest}: ${message}`, { guest })),
    );
    await Promise.all(done);
  }

  async #follow({ guest, socket, disks, capture }: AttachRequest, folder: string): Promise<Followed> {
    const { tapping, offer, withdraw, moved, log } = this.#options;
    const enter: EnterOptions = {
      socket,
      ...(disks && { disks }),
      exportSocket: join(folder, QEMU_FOLDER, EXPORT_SOCKET),
      guard: tapping,
      log: logWithin(log, guest, { guest }),
    };
    if (capture === "watch") {
      const watched = await watchGuest(enter);
      watched.onMoved((images) => moved(guest, images));
      return watched;
    }
    const tapSocket = join(folder, TAP_SOCKET);
    await tapping.listen({ path: tapSocket }, `${guest}/`);
    giveToQemu(tapSocket, socket);
    return mirrorGuest(enter, { guest, tapSocket, tapping, offer, withdraw, log });
  }

  /** Takes a guest's folder away: file by file, as one of its folders is another user's. */
  #clear(folder: string): void {
    try {
      rmSync(join(folder, QEMU_FOLDER, EXPORT_SOCKET), { force: true });
      rmSync(join(folder, TAP_SOCKET), { force: true });
      if (existsSync(join(folder, QEMU_FOLDER))) rmdirSync(join(folder, QEMU_FOLDER));
      rmdirSync(folder);
    } catch (error) {
      this.#options.log((error as Error).message);
    }
  }

  #lost(attached: Attached, reason: string): void {
    const { guest } = attached.request;
    if (this.#guests.get(guest) !== attached) return;
    this.#guests.delete(guest);
    this.#clear(attached.folder);
    this.#options.gone(guest, reason);
  }
}
