/**
 * The running guests that the tap's process is attached to: for each, QEMU mirrors what the guest writes to a tap that
 * stores nothing, and serves the disks for reading. They have a tap of their own, as QEMU reaches its socket: no disk of
 * another guest can be had there.
 */
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmdirSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import type { FeedDisk } from "../capture/feed/frames.js";
import { attachGuest } from "../capture/qmp/attach.js";
import type { AttachedDisk, Attachment, GuestDisk, Loss, TapTarget } from "../capture/qmp/attachment.js";
import { giveToQemu } from "../capture/qmp/giving.js";
import { type Log, logWithin } from "../images/image.js";
import type { AttachRequest } from "./tap-process-messages.js";
import type { Tapping } from "./tapping.js";

/** ms until a disk whose mirror ended is mirrored again: at first, and at most. */
const RETRY = 500;
const LONGEST_RETRY = 30_000;

/** The folder that QEMU's user has, and the socket that QEMU makes there. */
const QEMU_FOLDER = "qemu";
const EXPORT_SOCKET = "disks.sock";

export interface AttachedGuestsOptions {
  /** Sockets are made there. */
  readonly directory: string;
  /** Its only disks are these guests'. */
  readonly tapping: Tapping;
  /** The writes of an export are told as this disk's from now on. */
  readonly offer: (name: string, disk: Omit<FeedDisk, "number" | "unknownLife">) => void;
  /** Or no longer. */
  readonly withdraw: (name: string) => void;
  /** A guest has gone by itself. */
  readonly gone: (guest: string, reason: string) => void;
  readonly log: Log;
}

interface Attached {
  readonly request: AttachRequest;
  readonly attachment: Attachment;
  /** Of the monitor, links followed. */
  readonly socket: string;
  readonly folder: string;
  /** By the numbers of the disks. */
  readonly exports: ReadonlyMap<number, string>;
}

export class AttachedGuests {
  readonly #options: AttachedGuestsOptions;
  readonly #guests = new Map<string, Attached>();

  constructor(options: AttachedGuestsOptions) {
    this.#options = options;
  }

  /** Returns where the guest's disks can be read, paths or NBD URLs. Throws errors of one line. */
  async attach(request: AttachRequest): Promise<string[]> {
    const { guest, socket, disks } = request;
    const before = this.#guests.get(guest);
    if (before !== undefined) {
      // A keeper that takes another's place asks for what there is.
      const isSame = before.request.socket === socket && `${before.request.disks}` === `${disks}`;
      if (isSame) return before.attachment.disks.map(imageOf);
      throw new Error(`${guest}: is attached already`);
    }
    if (!existsSync(socket))
      throw new Error(`${socket}: there is no such socket: is the guest running, and is this its monitor?`);
    const monitor = realpathSync(socket);
    for (const [other, attached] of this.#guests)
      if (attached.socket === monitor) throw new Error(`${socket}: is ${other}, which is attached already`);
    const { directory, tapping, offer, withdraw, log } = this.#options;
    // Nobody but this user changes what is in it: QEMU's own folder is one within.
    const folder = mkdtempSync(join(directory, "guest-"));
    const exports = new Map<number, string>();
    try {
      chmodSync(folder, 0o711);
      const mirrors = join(folder, "tap.sock");
      await tapping.listen({ path: mirrors }, `${guest}/`);
      giveToQemu(mirrors, socket);
      mkdirSync(join(folder, QEMU_FOLDER), { mode: 0o700 });
      giveToQemu(join(folder, QEMU_FOLDER), socket);
      const tapFor = async ({ index, size }: GuestDisk): Promise<TapTarget> => {
        const exportName = `${guest}/${index}`;
        await tapping.add({ kind: "mirror", name: exportName, size, tellsData: false });
        exports.set(index, exportName);
        return { socket: mirrors, exportName };
      };
      const attachment = await attachGuest({
        socket,
        ...(disks && { disks }),
        tapFor,
        exportSocket: join(folder, QEMU_FOLDER, EXPORT_SOCKET),
        guard: tapping,
        log: logWithin(log, guest, { guest }),
      });
      this.#guests.set(guest, { request, attachment, socket: monitor, folder, exports });
      attachment.disks.forEach(({ index, size }, disk) => {
        const name = exports.get(index);
        if (name !== undefined) offer(name, { guest, disk, size, capture: "qmp" });
      });
      attachment.onLost((loss) => this.#lost(guest, attachment, loss));
      return attachment.disks.map(imageOf);
    } catch (error) {
      for (const name of exports.values()) {
        withdraw(name);
        await tapping.remove(name);
      }
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
      await attached.attachment.detach();
    } finally {
      await this.#forget(attached);
    }
  }

  /** Detaches from all. */
  async stop(): Promise<void> {
    const done = [...this.#guests.keys()].map((guest) =>
      this.detach(guest).catch(({ message }: Error) => this.#options.log(`${guest}: ${message}`, { guest })),
    );
    await Promise.all(done);
  }

  async #forget({ exports, folder }: Attached): Promise<void> {
    for (const name of exports.values()) {
      this.#options.withdraw(name);
      await this.#options.tapping.remove(name);
    }
    this.#clear(folder);
  }

  /** Takes a guest's folder away: file by file, as one of its folders is another user's. */
  #clear(folder: string): void {
    try {
      rmSync(join(folder, QEMU_FOLDER, EXPORT_SOCKET), { force: true });
      rmSync(join(folder, "tap.sock"), { force: true });
      if (existsSync(join(folder, QEMU_FOLDER))) rmdirSync(join(folder, QEMU_FOLDER));
      rmdirSync(folder);
    } catch (error) {
      this.#options.log((error as Error).message);
    }
  }

  #lost(guest: string, attachment: Attachment, { disk, reason, canReattach }: Loss): void {
    const attached = this.#guests.get(guest);
    if (attached?.attachment !== attachment) return;
    if (disk === undefined) {
      this.#guests.delete(guest);
      this.#forget(attached).catch(({ message }: Error) =>
        this.#options.log(`${guest}: ${message}`, { guest }),
      );
      this.#options.gone(guest, reason);
      return;
    }
    const name = attached.exports.get(disk.index);
    if (name !== undefined) this.#options.withdraw(name);
    this.#options.log(`${guest}: ${reason}`, { guest });
    if (canReattach) this.#reattach(guest, attached, disk, RETRY);
  }

  #reattach(guest: string, attached: Attached, disk: AttachedDisk, wait: number): void {
    setTimeout(() => {
      if (this.#guests.get(guest) !== attached || !attached.attachment.disks.includes(disk)) return;
      attached.attachment.reattach(disk).then(
        () => {
          const name = attached.exports.get(disk.index);
          const place = attached.attachment.disks.findIndex(({ index }) => index === disk.index);
          if (name !== undefined && place >= 0)
            this.#options.offer(name, { guest, disk: place, size: disk.size, capture: "qmp" });
          this.#options.log(`${guest}: ${disk.name} is mirrored again`, { level: "notice", guest });
        },
        () => this.#reattach(guest, attached, disk, Math.min(LONGEST_RETRY, 2 * wait)),
      );
    }, wait);
  }
}

/** A raw disk's file is read itself, where it is within reach; what has a format, by way of QEMU. */
function imageOf({ isRaw, filename, exportUrl }: AttachedDisk): string {
  if (!isRaw) return exportUrl;
  try {
    accessSync(filename, constants.R_OK);
    return filename;
  } catch {
    return exportUrl;
  }
}
