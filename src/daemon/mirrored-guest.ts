/**
 * A running guest whose QEMU mirrors what it writes to a tap that stores nothing: what is told of which disk, while
 * mirrors end and begin again.
 */
import type { FeedDisk } from "../capture/feed/frames.js";
import { attachGuest } from "../capture/qmp/attach.js";
import type {
  AttachedDisk,
  Attachment,
  EnterOptions,
  GuestDisk,
  Loss,
  TapTarget,
} from "../capture/qmp/attachment.js";
import { readableFile } from "../capture/qmp/guest-disks.js";
import type { Log } from "../images/image.js";
import type { Tapping } from "./tapping.js";

/** ms until a disk whose mirror ended is mirrored again: at first, and at most. */
const RETRY = 500;
const LONGEST_RETRY = 30_000;

export interface MirrorOptions {
  readonly guest: string;
  /** The tap's socket that QEMU reaches. */
  readonly tapSocket: string;
  readonly tapping: Tapping;
  /** The writes of an export are told as this disk's from now on. */
  readonly offer: (name: string, disk: Omit<FeedDisk, "number" | "unknownLife">) => void;
  /** Or no longer. */
  readonly withdraw: (name: string) => void;
  readonly log: Log;
}

/** Has a guest mirrored. Throws errors of one line, and has changed nothing then. */
export async function mirrorGuest(enter: EnterOptions, options: MirrorOptions): Promise<MirroredGuest> {
  const { guest, tapping, tapSocket } = options;
  const exports = new Map<number, string>();
  const tapFor = async ({ index, size }: GuestDisk): Promise<TapTarget> => {
    const exportName = `${guest}/${index}`;
    await tapping.add({ kind: "mirror", name: exportName, size, tellsData: false });
    exports.set(index, exportName);
    return { socket: tapSocket, exportName };
  };
  try {
    return new MirroredGuest(await attachGuest({ ...enter, tapFor }), exports, options);
  } catch (error) {
    await takeBack(exports, options);
    throw error;
  }
}

async function takeBack(
  exports: ReadonlyMap<number, string>,
  { withdraw, tapping }: MirrorOptions,
): Promise<void> {
  for (const name of exports.values()) {
    withdraw(name);
    await tapping.remove(name);
  }
}

class MirroredGuest {
  readonly #attachment: Attachment;
  /** By the numbers of the disks. */
  readonly #exports: ReadonlyMap<number, string>;
  readonly #options: MirrorOptions;
  #isOver = false;
  #lostFor: string | undefined;
  #gone: (reason: string) => void = () => {};

  constructor(attachment: Attachment, exports: ReadonlyMap<number, string>, options: MirrorOptions) {
    this.#attachment = attachment;
    this.#exports = exports;
    this.#options = options;
    for (const disk of attachment.disks) this.#offer(disk);
    attachment.onLost((loss) => this.#lost(loss));
  }

  /** A raw disk's file is read itself, where it is within reach; what has a format, by way of QEMU. */
  get images(): readonly string[] {
    return this.#attachment.disks.map((disk) => readableFile(disk) ?? disk.exportUrl);
  }

  /** Called once, also if that was before: the guest has gone, and need not be detached. */
  onLost(listener: (reason: string) => void): void {
    this.#gone = listener;
    if (this.#lostFor !== undefined) listener(this.#lostFor);
  }

  /** Throws errors of one line. */
  async detach(): Promise<void> {
    this.#isOver = true;
    try {
      await this.#attachment.detach();
    } finally {
      await takeBack(this.#exports, this.#options);
    }
  }

  #offer({ index, size }: AttachedDisk): void {
    const { guest, offer } = this.#options;
    const name = this.#exports.get(index);
    const disk = this.#attachment.disks.findIndex((one) => one.index === index);
    if (name !== undefined && disk >= 0) offer(name, { guest, disk, size, capture: "qmp" });
  }

  #lost({ disk, reason, canReattach }: Loss): void {
    const { guest, withdraw, log } = this.#options;
    if (this.#isOver) return;
    if (disk === undefined) {
      this.#isOver = true;
      takeBack(this.#exports, this.#options).catch(({ message }: Error) =>
        log(`${guest}: ${message}`, { guest }),
      );
      this.#lostFor = reason;
      this.#gone(reason);
      return;
    }
    const name = this.#exports.get(disk.index);
    if (name !== undefined) withdraw(name);
    log(`${guest}: ${reason}`, { guest });
    if (canReattach) this.#reattach(disk, RETRY);
  }

  #reattach(disk: AttachedDisk, wait: number): void {
    const { guest, log } = this.#options;
    setTimeout(() => {
      if (this.#isOver || !this.#attachment.disks.includes(disk)) return;
      this.#attachment.reattach(disk).then(
        () => {
          this.#offer(disk);
          log(`${guest}: ${disk.name} is mirrored again`, { level: "notice", guest });
        },
        () => this.#reattach(disk, Math.min(LONGEST_RETRY, 2 * wait)),
      );
    }, wait);
  }
}
