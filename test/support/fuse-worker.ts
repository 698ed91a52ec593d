/** The serving thread of fuse-host. */
import { receiveMessageOnPort, workerData } from "node:worker_threads";
import { FuseServer } from "../../src/fuse/kernel/server.js";
import { applyChange, type Change } from "./fuse-change.js";
import type { WorkerInput } from "./fuse-host.js";
import { sampleTree } from "./fuse-sample.js";

const { fd, timeout, longTimeouts, requests, changes } = workerData as WorkerInput;
const tree = sampleTree(timeout);
tree.onRefresh = () => {
  for (let got = receiveMessageOnPort(changes); got !== undefined; got = receiveMessageOnPort(changes)) {
    applyChange(tree, got.message as Change);
  }
};
const log = (line: string) => process.stderr.write(`${line}\n`);
new FuseServer({ fd, tree, log, longTimeouts, requests: new Float64Array(requests) }).serve();
