/**
 * Linux before 6.9 cannot hand out again what a server has read and not answered. On a kernel of Debian 12 (as a user-mode
 * kernel), readers notice as little of servers that are killed and replaced.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";
import { inUml } from "./support/uml-kernel.js";

/** ms: some 50 s are enough on a machine that has nothing else to do. */
const LIMIT = 600_000;
vi.setConfig({ testTimeout: LIMIT, hookTimeout: 60_000 });

const folder = workFolder("old-kernel");
const source = join(folder, "source");
const image = join(folder, "big.img");
const script = join(import.meta.dirname, "support/old-kernel.mjs");

interface Noticed {
  readonly kills: number;
  readonly lost: number;
  readonly lostWhenPlanned: number;
  readonly stale: number;
  readonly wrong: readonly string[];
  readonly planned: number;
  readonly held: readonly string[];
  readonly isSameMount: boolean;
  readonly exit: number;
  readonly log: string;
}

beforeAll(async () => {
  for (let directory = 0; directory < 20; directory++) {
    const path = join(source, `directory ${directory}`, "deep");
    mkdirSync(path, { recursive: true });
    for (let file = 0; file < 100; file++)
      writeFileSync(join(path, `file ${file}`), `line of ${directory}/${file}\nneedle ${directory * file}\n`);
  }
  await run("truncate", ["-s", "32M", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-d", source, image]);
});

afterAll(cleanUp);

test("Linux 6.1: grep -r goes on over kills of the server, SIGUSR2 and renew, and a file held open is read on", async () => {
  const output = join(folder, "noticed.json");
  const printed = await inUml(
    folder,
    [],
    `uname -r
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev || true
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
busybox ifconfig lo 127.0.0.1 up
cp ${image} /run/big.img
TMPDIR=/run ${process.execPath} ${script} ${main} /run/big.img ${source} /run 4 1 > ${output}`,
    { drivers: ["fuse/fuse.ko"], memory: 1536, limit: LIMIT - 10_000 },
  );
  expect(printed).toMatch(/^6\.1\./m);
  const noticed = JSON.parse(readFileSync(output, "utf8")) as Noticed;
  expect(noticed.wrong, noticed.log).toEqual([]);
  // What was lost with a server was answered with ESTALE; most who get that ask again by themselves.
  expect(noticed.stale).toBeLessThanOrEqual(noticed.lost);
  expect(noticed.lost).toBeLessThanOrEqual(noticed.kills);
  expect([noticed.kills, noticed.planned, noticed.lostWhenPlanned]).toEqual([4, 2, 0]);
  expect(new Set(noticed.held)).toEqual(new Set(["line of 3/5\nneedle 15\n"]));
  expect(noticed.isSameMount).toBe(true);
  expect(noticed.log.split("the server died (SIGKILL) and is started again")).toHaveLength(5);
  expect(noticed.log).not.toContain("mounted anew");
  expect(noticed.exit).toBe(0);
  // Nothing of it was done by the host's kernel.
  expect(execFileSync("findmnt", ["-rn", "-o", "TARGET"], { encoding: "utf8" })).not.toContain("/run/cloud");
});
