/**
 * The thread that tells the kernel what to drop of one guest. To drop a file's pages the kernel waits until they have been
 * read, so this thread waits as long as the guest's storage, and nobody waits for it.
 */
import { type MessagePort, workerData } from "node:worker_threads";
import { Notifier } from "../fuse/kernel/notify.js";
import type { Notice } from "./notifying.js";

/** What the thread is started with. */
export interface NotifyingData {
  readonly guest: string;
  /** Of /dev/fuse. */
  readonly fd: number;
  readonly hostDirectory: number;
  /** Notices come here. */
  readonly notices: MessagePort;
}

function start({ guest, fd, hostDirectory, notices }: NotifyingData): void {
  const notifier = new Notifier(fd);
  notices.on("message", (notice: Notice) => {
    switch (notice.kind) {
      case "inode":
        notifier.invalidateInode(notice.high, notice.low, notice.offset, notice.length);
        break;
      case "entry":
        notifier.invalidateEntry(notice.high, notice.low, Buffer.from(notice.name));
        break;
      case "names":
        if (!notifier.increaseEpoch()) notifier.invalidateEntry(0, hostDirectory, Buffer.from(guest));
        break;
    }
  });
}

start(workerData as NotifyingData);
