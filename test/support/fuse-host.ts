/**
 * Serves the sample tree at a mount point until it is unmounted: `node fuse-host.js DIR '{…HostOptions}'`. Prints
 * "ready" when it is mounted; takes orders as JSON lines and answers each with a JSON line.
 */
import { createInterface } from "node:readline";
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { mount } from "../../src/fuse/kernel/mount.js";
import { Notifier } from "../../src/fuse/kernel/notify.js";
import { OPCODES } from "../../src/fuse/kernel/protocol.js";
import { mountLibfuse } from "../../src/fuse/libfuse.js";
import { MountError } from "../../src/fuse/mountpoint.js";
import type { Change } from "./fuse-change.js";
import { sampleTree } from "./fuse-sample.js";

export interface HostOptions {
  driver: "kernel" | "libfuse";
  /** How long the kernel may keep names and attributes, ms. */
  timeout: number;
  longTimeouts: boolean;
  /** Mounts, and answers nothing, as if the serving thread had died. */
  unserved: boolean;
}

/** An order, as one line of JSON. */
export type Order =
  | { order: "requests" }
  | { order: "held" }
  | { order: "change"; change: Change }
  | { order: "inode"; high: number; low: number; offset?: number; length?: number }
  | { order: "entry"; high: number; low: number; name: string }
  | { order: "delete"; high: number; low: number; childHigh: number; childLow: number; name: string }
  | { order: "epoch" }
  | { order: "unmount"; busy: "detach" | "abort" };

/** What the serving thread is given. */
export interface WorkerInput {
  fd: number;
  timeout: number;
  longTimeouts: boolean;
  requests: SharedArrayBuffer;
  /** How many nodes the kernel has. */
  held: SharedArrayBuffer;
  changes: MessagePort;
}

function serveKernel(path: string, options: HostOptions): (order: Order) => unknown {
  const mounted = mount(path);
  if (options.unserved) {
    return () => {
      process.stdin.destroy();
      return mounted.unmount("abort");
    };
  }
  const requests = new SharedArrayBuffer(OPCODES * 8);
  const held = new SharedArrayBuffer(4);
  const { port1, port2 } = new MessageChannel();
  const workerData: WorkerInput = { fd: mounted.fd, ...options, requests, held, changes: port2 };
  const worker = new Worker(new URL("./fuse-worker.js", import.meta.url), {
    workerData,
    transferList: [port2],
  });
  worker.on("error", (error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exitCode = 3;
  });
  worker.on("exit", () => {
    mounted.close();
    port1.close();
    process.stdin.destroy();
  });
  const notifier = new Notifier(mounted.fd);
  return (order) => {
    switch (order.order) {
      case "requests":
        return [...new Float64Array(requests)];
      case "held":
        return new Int32Array(held)[0];
      case "change":
        port1.postMessage(order.change);
        return true;
      case "inode":
        return notifier.invalidateInode(order.high, order.low, order.offset, order.length);
      case "entry":
        return notifier.invalidateEntry(order.high, order.low, Buffer.from(order.name, "latin1"));
      case "delete": {
        const name = Buffer.from(order.name, "latin1");
        return notifier.deleteEntry(order.high, order.low, order.childHigh, order.childLow, name);
      }
      case "epoch":
        return notifier.increaseEpoch();
      case "unmount":
        return mounted.unmount(order.busy);
    }
  };
}

async function serveLibfuse(path: string, options: HostOptions): Promise<(order: Order) => unknown> {
  const log = (line: string) => process.stderr.write(`${line}\n`);
  const mounted = await mountLibfuse({ path, tree: sampleTree(options.timeout), log });
  return async (order) => {
    if (order.order !== "unmount") throw new Error(`no ${order.order} here`);
    await mounted.unmount();
    process.stdin.destroy();
    return "unmounted";
  };
}

const [, , path, json] = process.argv;
const options = JSON.parse(json as string) as HostOptions;
try {
  const obey =
    options.driver === "kernel"
      ? serveKernel(path as string, options)
      : await serveLibfuse(path as string, options);
  process.stdout.write("ready\n");
  createInterface({ input: process.stdin }).on("line", async (line) => {
    const answer = await obey(JSON.parse(line) as Order);
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  });
} catch (error) {
  if (!(error instanceof MountError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(error.exitCode);
}
