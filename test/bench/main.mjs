// `npm run bench [-- --quick] [--only PART]`: slashcloud beside the kernel's own read-only loop mount of the same image,
// and fuse2fs, in one run. Prints Markdown; seconds are medians.
import { execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { parseArgs } from "node:util";
import { burst, report as burstReport } from "./burst.mjs";
import { crawl, crawlToFile, report, reportFile } from "./crawl.mjs";
import { formats, report as formatsReport } from "./formats.mjs";
import { idle } from "./idle.mjs";
import { image } from "./images.mjs";
import { latency } from "./live.mjs";
import { memory } from "./memory.mjs";
import { mounts, residentMegabytes, slashcloud } from "./mounts.mjs";
import { nbd, report as nbdReport } from "./nbd.mjs";
import { redisLatency } from "./redis.mjs";
import { scale, report as scaleReport } from "./scale.mjs";
import { slowdown, report as slowdownReport } from "./slowdown.mjs";
import { queue, tap, report as tapReport } from "./tap.mjs";

const { values } = parseArgs({ options: { quick: { type: "boolean" }, only: { type: "string" } } });
const repeats = values.quick ? 1 : 3;
/** What takes longer is not repeated, ms. */
const PATIENCE = 60_000;

const MEASURES = {
  many: {
    title: "100,000 files of 4 KiB in 1,000 directories",
    commands: {
      find: "find . | wc -l",
      "find -size": "find . -size +1M | wc -l",
      "ls -lR": "ls -lR . | wc -l",
      "grep -r": "(grep -r 'there is no such line' . || true) | wc -l",
    },
  },
  wide: {
    title: "one directory of 250,000 files",
    commands: { "ls -f": "ls -f wide | wc -l", "ls -l": "ls -l wide | wc -l" },
  },
  large: {
    title: "one file of 4 GiB",
    commands: { "dd bs=1M": "dd if=large of=/dev/null bs=1M status=none" },
  },
};

function time(command, cwd) {
  const start = performance.now();
  const { status, stderr } = spawnSync("bash", ["-c", `set -o pipefail; ${command}`], {
    cwd,
    encoding: "utf8",
  });
  if (status !== 0 && stderr !== "") throw new Error(`${command}: ${stderr}`);
  return performance.now() - start;
}

function dropCaches() {
  execFileSync("sync");
  writeFileSync("/proc/sys/vm/drop_caches", "3");
}

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

/** Times of one image: by command, then by way, { cold, warm } lists of ms. */
async function measure(name, { commands }) {
  const path = image(name);
  const times = {};
  let resident = 0;
  const skipped = new Set();
  for (let repeat = 0; repeat < repeats; repeat++) {
    for (const [label, command] of Object.entries(commands)) {
      for (const [way, mount] of Object.entries(mounts)) {
        const key = `${label} ${way}`;
        // It takes minutes, and is here for its order of magnitude.
        if (skipped.has(key) || (way === "fuse2fs" && (repeat > 0 || name === "wide"))) continue;
        dropCaches();
        const mounted = await mount(path);
        try {
          times[label] ??= {};
          times[label][way] ??= { cold: [], warm: [] };
          const of = times[label][way];
          of.cold.push(time(command, mounted.path));
          of.warm.push(time(command, mounted.path));
          if (Math.max(...of.cold) > PATIENCE / 2) skipped.add(key);
          if (mounted.pid !== 0) resident = Math.max(resident, residentMegabytes(mounted.pid));
        } finally {
          await mounted.end();
        }
      }
    }
  }
  return { times, resident };
}

function table(times) {
  const seconds = (list) => (median(list) / 1000).toFixed(median(list) < 100 ? 3 : 2);
  const rows = [
    "| | kernel cold / warm, s | slashcloud cold / warm, s | ratio cold / warm | fuse2fs (one run) cold / warm, s |",
    "|---|---|---|---|---|",
  ];
  for (const [label, { kernel, slashcloud: ours, fuse2fs }] of Object.entries(times)) {
    const ratio = (kind) => (median(ours[kind]) / median(kernel[kind])).toFixed(2);
    const cell = (of) => (of === undefined ? "not measured" : `${seconds(of.cold)} / ${seconds(of.warm)}`);
    rows.push(
      `| ${label} | ${cell(kernel)} | ${cell(ours)} | ${ratio("cold")} / ${ratio("warm")} | ${cell(fuse2fs)} |`,
    );
  }
  return rows.join("\n");
}

/** ms from the start of the program to the first `ls` of the guest's root, cold. */
async function firstListing(path) {
  const times = [];
  for (let repeat = 0; repeat < repeats; repeat++) {
    dropCaches();
    const start = performance.now();
    const mounted = await slashcloud(path);
    time("ls", mounted.path);
    times.push(performance.now() - start);
    await mounted.end();
  }
  return median(times);
}

const PARTS = [
  "many",
  "wide",
  "large",
  "start",
  "live",
  "redis",
  "crawl",
  "idle",
  "scale",
  "memory",
  "tap",
  "nbd",
  "slowdown",
  "formats",
];
if (values.only !== undefined && !PARTS.includes(values.only)) {
  console.error(`bench: --only takes one of ${PARTS.join(", ")}`);
  process.exit(2);
}
const wanted = (part) => values.only === undefined || values.only === part;

console.log(
  `Linux ${release()}, ${cpus().length} × ${cpus()[0].model}, Node ${process.version}, medians of ${repeats}\n`,
);
for (const [name, measures] of Object.entries(MEASURES)) {
  if (!wanted(name)) continue;
  const { times, resident } = await measure(name, measures);
  console.log(
    `**${measures.title}** (slashcloud's memory afterwards: ${resident.toFixed(0)} MB)\n\n${table(times)}\n`,
  );
}
if (wanted("start")) {
  console.log("| from start to the first `ls`, cold | ms |\n|---|---|");
  console.log(`| 100,000 files | ${(await firstListing(image("many"))).toFixed(0)} |`);
  console.log(`| 8 TiB disk | ${(await firstListing(image("empty"))).toFixed(0)} |\n`);
}
if (wanted("live")) {
  console.log(
    "| from the guest's fsync of an append to | times | median, ms | 99th percentile, ms | to hold |",
  );
  console.log("|---|---|---|---|---|");
  const counts = values.quick ? 100 : 500;
  for (const [who, label, target] of [
    ["size", "the new size in the tree", "50 / 250"],
    ["event", "the event in `.events`", "50 / 250"],
    ["tail", "the line of `tail -F -s 0.1`", "150 / 350"],
  ]) {
    const { median: middle, p99 } = await latency(who, counts);
    console.log(`| ${label} | ${counts} | ${middle.toFixed(1)} | ${p99.toFixed(1)} | ${target} |`);
  }
  console.log();
}
if (wanted("redis")) {
  const counts = values.quick ? 100 : 500;
  const { median: middle, p99 } = await redisLatency(counts);
  console.log(
    "| from the guest's fsync of an append to | times | median, ms | 99th percentile, ms |\n|---|---|---|---|",
  );
  console.log(`| the event on Redis | ${counts} | ${middle.toFixed(1)} | ${p99.toFixed(1)} |\n`);
}
if (wanted("idle")) {
  const percent = await idle(100, 20);
  console.log("| 100 watched guests at rest | to hold |\n|---|---|");
  console.log(`| ${percent.toFixed(2)} % of one core | below 1 % |\n`);
}
if (wanted("memory")) {
  const [name, inodes] = values.quick ? ["many", 101_000] : ["million", 1_001_000];
  const { without, watched, walked } = await memory(image(name));
  const most = 150 + (inodes * 64) / 1e6;
  console.log(
    `| resident memory, one guest of ${inodes.toLocaleString("en")} inodes | MB | to hold |\n|---|---|---|`,
  );
  console.log(`| no events | ${without.toFixed(0)} | 150 |`);
  console.log(`| watched for events | ${watched.toFixed(0)} | ${most.toFixed(0)} |`);
  console.log(`| the same after a \`find -size\` over all | ${walked.toFixed(0)} | ${most.toFixed(0)} |\n`);
}
if (wanted("crawl")) {
  // With --quick the image of 100,000 files, which is there already or soon made.
  const path = image(values.quick ? "many" : "million");
  console.log(`${report(await crawl(path, { repeats, before: dropCaches }))}\n`);
  console.log(`${reportFile(await crawlToFile(path))}\n`);
}
if (wanted("scale"))
  console.log(`${scaleReport(await scale(values.quick ? 50 : 200, values.quick ? 5 : 20))}\n`);
if (wanted("burst")) console.log(`${burstReport(await burst(values.quick ? 30 : 600))}\n`);
if (wanted("nbd")) console.log(`${nbdReport(await nbd(values.quick ? 1 : 5))}\n`);
if (wanted("formats")) {
  const options = { isQuick: values.quick === true, repeats, time, before: dropCaches };
  console.log(`${formatsReport(await formats(options))}\n`);
}
if (wanted("slowdown"))
  console.log(`${slowdownReport(await slowdown(values.quick ? 3 : 10, values.quick ? 1 : 3))}\n`);
if (wanted("tap")) console.log(`${tapReport(await tap(values.quick ? 2 : 10), await queue(1_000_000))}\n`);
