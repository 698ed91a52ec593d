/** Reads a log while the test's thread writes it: follows each scope's file over rotations, as `tail -F` would. */
import { parentPort, workerData } from "node:worker_threads";

const { dist, shared, scope, last, followed, which: place } = workerData;
const { LogReaders } = await import(`${dist}/events/log-reader.js`);
const reader = new LogReaders(shared).guest("web");
const target = Buffer.alloc(10_000);
const ids = [];
let segment = 0;
let position = 0;
let rest = "";
let problem = "";

function take(which) {
  for (;;) {
    const length = 1 + ((position * 7919) % target.length);
    const got = reader.read(scope, which, position, length, target, 0);
    if (got === 0) break;
    position += got;
    const lines = (rest + target.toString("latin1", 0, got)).split("\n");
    rest = lines.pop();
    for (const line of lines) ids.push(JSON.parse(line).id);
  }
}

while (ids.at(-1) !== last && problem === "") {
  const now = reader.segment("current");
  if (segment !== 0 && now !== segment) {
    if (reader.segment("previous") !== segment)
      problem = `too slow: ${segment} is gone, it is ${now} already`;
    else take("previous");
    if (rest !== "") problem = `a segment ends with ${rest}`;
    position = 0;
    segment = 0;
    continue;
  }
  segment = now;
  Atomics.store(followed, place, segment);
  take("current");
  if (reader.size(scope, "current") < position) problem = "it shrank";
}
parentPort.postMessage({ ids, problem });
