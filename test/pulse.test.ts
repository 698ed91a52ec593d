/** What the service manager hears when a tree does not answer, and when the server that replaces it takes its time. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test, vi } from "vitest";
import { startPulse } from "../src/daemon/service/pulse.js";
import { ServiceManager } from "../src/daemon/service/service-manager.js";
import { cleanUp, onEnd, run, workFolder } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";

vi.setConfig({ testTimeout: 60_000 });

const folder = workFolder("pulse");
afterAll(cleanUp);

/** Counts what it would send. */
class Manager extends ServiceManager {
  told = 0;
  override async well(): Promise<void> {
    this.told++;
  }
}

test("the server that replaces one that hangs has a period of the watchdog of its own, and no second one", async () => {
  const image = join(folder, "guest.img");
  await run("truncate", ["-s", "8M", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", image]);
  const served = await serve(join(folder, "cloud"), { g: image });
  const children = readFileSync(`/proc/${served.pid}/task/${served.pid}/children`, "utf8").trim().split(" ");
  const server = children.map(Number).find((pid) => {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("server.js");
  }) as number;
  const manager = new Manager("/nowhere", 2000, () => {});
  process.kill(server, "SIGSTOP");
  const goOn = onEnd(() => process.kill(server, "SIGCONT"));
  let replaced = 0;
  const replace = () => {
    replaced++;
  };
  const end = startPulse({ manager, directory: served.mountPoint, replace, log: () => {} });
  await expect.poll(() => replaced, { timeout: 30_000 }).toBe(1);
  expect(manager.told).toBe(1);
  // It never answers: the service manager is told no more, whatever its limit.
  await sleep(3000);
  expect([replaced, manager.told]).toEqual([1, 1]);
  goOn();
  await expect.poll(() => manager.told, { timeout: 30_000 }).toBeGreaterThan(1);
  end();
  expect(await served.stop()).toBe(0);
});
