/** The thread that has the connection of one image. */
import { workerData } from "node:worker_threads";
import { Link } from "./link.js";
import { Mailbox } from "./mailbox.js";
import type { NbdAddress } from "./url.js";

/** What the thread is started with. */
export interface LinkData {
  readonly shared: SharedArrayBuffer;
  readonly address: NbdAddress;
}

const { shared, address } = workerData as LinkData;
const link = new Link(new Mailbox(shared), address);
process.on("uncaughtException", ({ message }) => link.fail(`the thread that reads it failed: ${message}`));
