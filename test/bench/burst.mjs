// Memory while a guest writes as fast as it can for minutes, by the tap, with nobody reading its tree.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { folder } from "./images.mjs";
import { byNbd } from "./slowdown.mjs";

/** The resident megabytes of a process. */
function resident(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;
}

/** By their programs (`server`, `tap`), the processes that a process has started. */
function childrenOf(parent) {
  const found = {};
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      if (Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) !== parent) continue;
      const program = /(\w+)\.js\0?$/.exec(readFileSync(`/proc/${pid}/cmdline`, "latin1"))?.[1];
      if (program !== undefined) found[program] = Number(pid);
    } catch (error) {
      if (error.code !== "ENOENT" && error.code !== "ESRCH") throw error;
    }
  }
  return found;
}

/** `seconds` of small files, appends with fsync and random writes; the most megabytes of each process, and writes. */
export async function burst(seconds) {
  const image = join(folder, "burst.img");
  const { inside, pid, end } = await byNbd(image, true);
  const peaks = {};

  const loads = [
    ["fio", "--name=random", "--rw=randwrite", "--bs=4k", "--size=256m", "--ioengine=psync", "--fsync=64"],
    ["fio", "--name=append", "--rw=write", "--bs=4k", "--size=256m", "--fsync=1", "--ioengine=psync"],
  ].map(([program, ...options]) =>
    spawn(
      program,
      [...options, `--directory=${inside}`, "--thread", "--time_based", `--runtime=${seconds}`],
      {
        stdio: "ignore",
        detached: true,
      },
    ),
  );
  loads.push(
    spawn(
      "sh",
      [
        "-c",
        'cd "$1"; while :; do mkdir d; for n in $(seq 500); do echo $n > d/$n; done; sync -f .; rm -r d; done',
        "sh",
        inside,
      ],
      { stdio: "ignore", detached: true },
    ),
  );
  try {
    for (const until = Date.now() + 1000 * seconds; Date.now() < until; await sleep(1000)) {
      for (const [name, child] of Object.entries({ supervisor: pid, ...childrenOf(pid) })) {
        const now = resident(child);
        peaks[name] ??= { peak: 0, last: 0 };
        peaks[name].peak = Math.max(peaks[name].peak, now);
        peaks[name].last = now;
      }
    }
  } finally {
    await Promise.all(
      loads.map((load) => {
        const ended = once(load, "exit");
        process.kill(-load.pid, "SIGKILL");
        return ended;
      }),
    );
    await sleep(1000);
    await end();
    rmSync(image, { force: true });
  }
  return peaks;
}

/** The figures as Markdown. */
export function report(peaks) {
  const rows = Object.entries(peaks).map(
    ([name, { peak, last }]) => `| ${name} | ${peak.toFixed(0)} | ${last.toFixed(0)} |`,
  );
  return [
    "| resident memory while a guest at the tap writes as fast as it can, MB | at most | at the end |",
    "|---|---|---|",
    ...rows,
  ].join("\n");
}

if (process.argv[1] === import.meta.filename) console.log(report(await burst(Number(process.argv[2] ?? 60))));
