/**
 * The thread that serves: it owns the views that users read, opens the guests, and then blocks in reads of the FUSE
 * descriptor until the tree is unmounted.
 */
import { writeSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { FuseServer } from "../fuse/kernel/server.js";
import type { GuestSpec } from "./guest-name.js";
import { openTree } from "./open-tree.js";

/** What the thread is started with. */
export interface ServingData {
  readonly host: string;
  readonly guests: readonly GuestSpec[];
}

/** What the thread tells: the guests are open, or why they are not. Then it waits for the descriptor. */
export type ServingMessage =
  | { readonly kind: "open" }
  | { readonly kind: "failed"; readonly message: string };

/** What the thread is told, once the tree is mounted. */
export interface ServeMessage {
  readonly fd: number;
}

/** The thread's own standard error would need its event loop, which stands still while it serves. */
function log(line: string): void {
  try {
    writeSync(2, `slashcloud: ${line}\n`);
  } catch {
    // Nobody listens.
  }
}

function start(): void {
  const port = parentPort;
  if (port === null) return;
  const { host, guests } = workerData as ServingData;
  let opened: ReturnType<typeof openTree>;
  try {
    opened = openTree(host, guests, log);
  } catch (error) {
    port.postMessage({ kind: "failed", message: (error as Error).message } satisfies ServingMessage);
    return;
  }
  port.once("message", ({ fd }: ServeMessage) => {
    new FuseServer({ fd, tree: opened.tree, log }).serve();
    port.close();
  });
  port.postMessage({ kind: "open" } satisfies ServingMessage);
}

start();
