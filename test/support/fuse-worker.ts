/** The serving thread of fuse-host. */
import { writeSync } from "node:fs";
import { receiveMessageOnPort, workerData } from "node:worker_threads";
import { FuseServer } from "../../src/fuse/kernel/server.js";
import { applyChange, type Change } from "./fuse-change.js";
import type { WorkerInput } from "./fuse-host.js";
import { sampleTree } from "./fuse-sample.js";

const { fd, timeout, longTimeouts, requests, held, changes } = workerData as WorkerInput;
const tree = sampleTree(timeout);
tree.onRefresh = () => {
  for (let got = receiveMessageOnPort(changes); got !== undefined; got = receiveMessageOnPort(changes)) {
    applyChange(tree, got.message as Change);
  }
};
const heldNow = new Int32Array(held);
tree.onHeld = (count) => {
  heldNow[0] = count;
};
const log = (line: string): void => {
  // process.stderr of a worker waits for its event loop, which does not turn while it serves.
  writeSync(2, `${line}\n`);
};
new FuseServer({ fd, tree, log, longTimeouts, requests: new Float64Array(requests) }).serve();
