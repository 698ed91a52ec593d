/** A file is never shown longer than its bytes are there. */
import { execFileSync, spawn } from "node:child_process";
import { appendFileSync, closeSync, fsyncSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test, vi } from "vitest";
import { cleanUp, mount, onEnd, run, workFolder } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("sizes");

afterAll(cleanUp);

test.each([
  ["4 KiB blocks", ["-t", "ext4"]],
  ["1 KiB blocks", ["-t", "ext4", "-b", "1024"]],
  ["ext3", ["-t", "ext3"]],
])("a log that nobody fsyncs: tail -F prints no byte that is not there yet (%s)", async (name, make) => {
  const image = join(folder, `${name}.img`);
  await run("truncate", ["-s", "64M", image]);
  await run("mke2fs", ["-q", "-F", ...make, image]);
  const inside = join(folder, `${name}-inside`);
  const unmount = await mount(image, inside, "loop");
  writeFileSync(join(inside, "log"), "the first line\n");
  writeFileSync(join(inside, "other"), "");
  execFileSync("sync", ["-f", inside]);
  const served = await serve(join(folder, `${name}-cloud`), { g: image });
  const log = join(served.guest("g"), "log");
  const tail = spawn("tail", ["-n", "+1", "-s", "0.02", "-F", log], { stdio: ["ignore", "pipe", "ignore"] });
  onEnd(() => tail.kill());
  let printed = "";
  tail.stdout.setEncoding("latin1").on("data", (text: string) => {
    printed += text;
  });
  const other = openSync(join(inside, "other"), "a");
  let expected = "the first line\n";
  for (let n = 0; n < 150; n++) {
    const line = `line ${n} ${"x".repeat(n % 50)}\n`;
    appendFileSync(join(inside, "log"), line);
    expected += line;
    // Has the guest commit its metadata, but not write the log's bytes.
    appendFileSync(other, "y");
    fsyncSync(other);
    const seen = readFileSync(log, "latin1");
    expect(expected.startsWith(seen), JSON.stringify(seen.slice(-100))).toBe(true);
    if (n % 50 === 49) {
      execFileSync("sync", ["-d", join(inside, "log")]);
      const end = performance.now() + 60_000;
      while (readFileSync(log, "latin1") !== expected && performance.now() < end) await sleep(5);
      expect(readFileSync(log, "latin1")).toBe(expected);
    }
  }
  await sleep(200);
  expect(printed).toBe(expected);
  closeSync(other);
  tail.kill();
  unmount();
  expect(await served.stop()).toBe(0);
});
