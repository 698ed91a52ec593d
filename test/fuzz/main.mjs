/**
 * `npm run fuzz`: reads damaged images completely, each within 2 s and 256 MB, and with no failure but an error that is
 * an answer. Options: --count N, --seed S, --jobs N, --image NAME, --library DIR, --milliseconds N (instead of 2 s). Time
 * that a process waits for a core is no time of its own.
 */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { imageNames } from "./images.mjs";
import { OwnTime } from "./own-time.mjs";

/** The most that one mutant may take. */
const MEBIBYTES = 256;
/** A process that is loading the library and its first image has this long, ms. */
const START = 20_000;
/** Failures that are told one by one. */
const MOST_TOLD = 50;

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "100000" },
    seed: { type: "string", default: "1" },
    jobs: { type: "string", default: "2" },
    image: { type: "string" },
    milliseconds: { type: "string", default: "2000" },
    library: { type: "string", default: fileURLToPath(new URL("../../dist", import.meta.url)) },
  },
});
const number = (name, least) => {
  const value = Number(values[name]);
  if (Number.isSafeInteger(value) && value >= least) return value;
  console.error(`fuzz: --${name} ${values[name]}: a whole number from ${least} on is needed`);
  process.exit(2);
};
const count = number("count", 1);
const seed = number("seed", 0);
const jobs = number("jobs", 1);
const milliseconds = number("milliseconds", 1);
if (values.image !== undefined && !imageNames.includes(values.image)) {
  console.error(`fuzz: --image ${values.image}: there are ${imageNames.join(", ")}`);
  process.exit(2);
}

let mutants = 0;
let failures = 0;
let slowest = 0;
let slowestSeed = seed;
let peak = 0;
let answered = 0;
let refused = 0;

function fail(image, failed, what) {
  failures++;
  slowest = Math.max(slowest, what.startsWith("no answer") ? milliseconds : 0);
  if (failures > MOST_TOLD) return;
  console.log(
    `FAILED  --image ${image} --seed ${failed} --count 1\n        ${what.replaceAll("\n", "\n        ")}`,
  );
}

/** Runs the mutants of one job from seed `first` on; a process that had to be ended is followed by another. */
async function run(first) {
  for (let next = first; next < seed + count; ) next = await part(next);
}

/** Runs one process; returns the seed to go on with. */
function part(first) {
  return new Promise((resolve) => {
    const options = {
      library: values.library,
      first,
      count: seed + count - first,
      step: jobs,
      image: values.image,
      milliseconds,
      mebibytes: MEBIBYTES,
    };
    const worker = fileURLToPath(new URL("worker.mjs", import.meta.url));
    const child = spawn(process.execPath, ["--max-old-space-size=512", worker, JSON.stringify(options)], {
      stdio: ["ignore", "inherit", "inherit", "pipe"],
    });
    let current;
    let ended = false;
    let why;
    const time = new OwnTime(child.pid);
    let last = time.now();
    let rest = "";
    child.stdio[3].setEncoding("utf8").on("data", (text) => {
      last = time.now();
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        const message = JSON.parse(line);
        if (message.begin !== undefined) {
          current = message;
          mutants++;
        } else if (message.failure !== undefined) fail(message.image, message.seed, message.failure);
        else {
          ended = message.end;
          if (message.slowest > slowest) ({ slowest, slowestSeed } = message);
          peak = Math.max(peak, message.peak);
          answered += message.answered;
          refused += message.refused;
        }
      }
    });
    const watch = setInterval(() => {
      const limit = current === undefined ? START : milliseconds * 1.5;
      if (time.now() - last < limit) return;
      why = `no answer after ${limit} ms: an endless loop, or nearly`;
      child.kill("SIGKILL");
    }, 200);
    child.on("close", (code, signal) => {
      clearInterval(watch);
      if (ended) return resolve(seed + count);
      if (current === undefined) {
        console.error(`fuzz: a process could not be started: ${why ?? signal ?? `exit code ${code}`}`);
        process.exit(2);
      }
      fail(current.image, current.begin, why ?? `the process died: ${signal ?? `exit code ${code}`}`);
      resolve(current.begin + jobs);
    });
  });
}

await Promise.all(Array.from({ length: Math.min(jobs, count) }, (_, job) => run(seed + job)));
const share = Math.round((answered / Math.max(1, answered + refused)) * 100);
console.log(
  `${answered + refused} calls, ${share} % of them answered without an error; slowest: seed ${slowestSeed}`,
);
console.log(
  `${mutants} mutants, ${failures} failures, slowest ${Math.round(slowest)} ms, peak RSS ${Math.round(peak)} MB`,
);
process.exitCode = failures > 0 ? 1 : 0;
