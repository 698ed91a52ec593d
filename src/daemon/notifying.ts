/** What a guest's own thread has the kernel told, by a third thread: see notifying-thread.ts. */
import type { MessagePort } from "node:worker_threads";

/** Has the kernel drop what it has; see Notifier of fuse/kernel/notify.ts. */
export interface Notifications {
  /** `offset`, `length`: of a file's bytes; a length of 0 is all that follows. */
  invalidateInode(high: number, low: number, offset?: number, length?: number): void;
  invalidateEntry(high: number, low: number, name: Buffer): void;
  /** False: it cannot be done. */
  increaseEpoch(): boolean;
}

/** What is to be dropped. */
export type Notice =
  | {
      readonly kind: "inode";
      readonly high: number;
      readonly low: number;
      readonly offset: number;
      readonly length: number;
    }
  | { readonly kind: "entry"; readonly high: number; readonly low: number; readonly name: Uint8Array }
  /** All names. */
  | { readonly kind: "names" };

/** Has another thread tell the kernel. */
export class PostedNotifications implements Notifications {
  readonly #port: MessagePort;

  constructor(port: MessagePort) {
    this.#port = port;
  }

  invalidateInode(high: number, low: number, offset = 0, length = 0): void {
    this.#port.postMessage({ kind: "inode", high, low, offset, length } satisfies Notice);
  }

  invalidateEntry(high: number, low: number, name: Buffer): void {
    this.#port.postMessage({ kind: "entry", high, low, name: new Uint8Array(name) } satisfies Notice);
  }

  /** The other thread knows what to do where it cannot be done. */
  increaseEpoch(): boolean {
    this.#port.postMessage({ kind: "names" } satisfies Notice);
    return true;
  }
}
