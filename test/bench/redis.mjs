// A guest that appends to a log and fsyncs, as in live.mjs: how long each event takes to one who listens on Redis.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, fsyncSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { deserialize } from "bson";
import { Redis } from "ioredis";
import { folder } from "./images.mjs";
import { serving } from "./mounts.mjs";

/** ms from the return of fsync, `count` times, to the message on the log's channel. */
export async function redisLatency(count) {
  const image = join(folder, "redis.img");
  const inside = join(folder, "guest");
  const socket = join(folder, "redis.sock");
  mkdirSync(inside, { recursive: true });
  rmSync(image, { force: true });
  execFileSync("truncate", ["-s", "256M", image]);
  execFileSync("mkfs.ext4", ["-q", "-F", image]);
  const server = spawn(
    "redis-server",
    ["--port", "0", "--unixsocket", socket, "--save", "", "--dir", folder],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  const end = () => server.kill("SIGKILL");
  process.on("exit", end);
  try {
    for await (const text of server.stdout) if (/ready to accept/i.test(String(text))) break;
    const mounted = await serving([`guest=${image}`], ["--redis", `redis+unix://${socket}`]);
    const client = new Redis({ path: socket, protocol: 2 });
    try {
      execFileSync("mount", ["-o", "loop,noatime", image, inside]);
      try {
        return await measure(client, join(inside, "log"), count);
      } finally {
        execFileSync("umount", [inside]);
      }
    } finally {
      client.disconnect();
      await mounted.end();
    }
  } finally {
    process.off("exit", end);
    const closed = once(server, "close");
    end();
    await closed;
  }
}

async function measure(client, path, count) {
  let size = 0;
  let heard = () => {};
  client.on("pmessageBuffer", (_pattern, _channel, document) => {
    if (deserialize(document).new?.size === size) heard(performance.now());
  });
  await client.psubscribe("bench:guest:/log");
  const log = openSync(path, "a");
  const times = [];
  try {
    // The first ones, before the guest's names are known, have no path.
    await sleep(2000);
    for (let n = -5; n < count; n++) {
      const coming = new Promise((resolve) => {
        heard = resolve;
      });
      size += writeSync(log, `a line of a log ${String(n).padStart(6)}\n`);
      fsyncSync(log);
      const start = performance.now();
      // Without a message the first lines are passed over.
      const at = await Promise.race([coming, sleep(n < 0 ? 1000 : 60_000)]);
      if (n >= 0 && at === undefined) throw new Error("an event did not come");
      if (n >= 0) times.push(at - start);
      // Not in step with anything.
      await sleep(((Math.abs(n) * 37) % 100) / 2);
    }
  } finally {
    closeSync(log);
  }
  times.sort((a, b) => a - b);
  return { median: times[Math.floor(count / 2)], p99: times[Math.floor((count * 99) / 100)] };
}
