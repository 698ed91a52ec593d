/** rsyslog reads a guest's log in the tree, as log shippers do on a host. */
import { execFileSync, spawn } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { cleanUp, endWithTests, mount, run, workFolder } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";

const folder = workFolder("rsyslog");

afterAll(cleanUp);

/** ms until all lines must have come: it looks once a second. */
const LIMIT = 15_000;

/** Starts rsyslogd on a file, in a folder of its own; `lines` are what it has delivered. */
function rsyslogd(name: string, file: string): { lines: () => string[]; stop: () => Promise<void> } {
  const work = join(folder, name);
  mkdirSync(work);
  const out = join(work, "delivered");
  writeFileSync(
    join(work, "conf"),
    `global(workDirectory="${work}")
module(load="imfile" mode="polling" pollingInterval="1")
input(type="imfile" file="${file}" tag="guest" reopenOnTruncate="on")
template(name="line" type="string" string="%msg%\\n")
action(type="omfile" file="${out}" template="line")
`,
  );
  const child = spawn("rsyslogd", ["-n", "-f", join(work, "conf"), "-i", join(work, "pid")], {
    stdio: "ignore",
  });
  const forget = endWithTests(child);
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  return {
    lines: () => (existsSync(out) ? readFileSync(out, "utf8").split("\n").slice(0, -1) : []),
    stop: async () => {
      child.kill("SIGTERM");
      await ended;
      forget();
    },
  };
}

async function eventually(read: () => number, expected: number): Promise<void> {
  const until = performance.now() + LIMIT;
  while (read() < expected && performance.now() < until) await sleep(50);
}

test.concurrent.each([
  ["is renamed and begun anew", (log: string, n: number) => renameSync(log, `${log}.${n}`)],
  [
    "is copied and truncated",
    (log: string, n: number) => {
      copyFileSync(log, `${log}.${n}`);
      truncateSync(log, 0);
    },
  ],
] as const)(
  "rsyslog delivers each line of a log once, in order, while the log %s",
  async (name, rotate) => {
    const kind = name.replace(/\W+/g, "-");
    const image = join(folder, `${kind}.img`);
    await run("truncate", ["-s", "64M", image]);
    await run("mke2fs", ["-q", "-F", "-t", "ext4", image]);
    const inside = join(folder, `${kind}-inside`);
    const unmount = await mount(image, inside, "loop");
    const log = join(inside, "log");
    const expected: string[] = [];
    const put = (): void => {
      const line = `line ${expected.length} of the guest's log`;
      expected.push(line);
      const file = openSync(log, "a");
      appendFileSync(file, `${line}\n`);
      fsyncSync(file);
      closeSync(file);
    };
    put();
    const served = await serve(join(folder, `${kind}-cloud`), { g: image });
    const shipper = rsyslogd(kind, join(served.guest("g"), "log"));
    try {
      for (let rotation = 1; rotation <= 3; rotation++) {
        for (let n = 0; n < 60; n++) {
          put();
          await sleep(10);
        }
        // What a log has when it is rotated must have been read: no shipper finds the lines that came after its last look.
        await eventually(() => shipper.lines().length, expected.length);
        rotate(log, rotation);
        // A log that was cut short and has grown past where it was between two looks could not be told from one that grew.
        execFileSync("sync", ["-f", inside]);
        await sleep(1500);
      }
      put();
      await eventually(() => shipper.lines().length, expected.length);
      expect(shipper.lines(), served.log()).toEqual(expected);
    } finally {
      await shipper.stop();
    }
    unmount();
    expect(await served.stop()).toBe(0);
  },
  60_000,
);
