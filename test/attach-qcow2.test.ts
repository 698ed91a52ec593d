/** A running guest on a qcow2 disk that is attached to: it is shown by way of its QEMU. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { guestImage, Machine } from "./support/guest-machine.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { main, serve } from "./support/images-serve.js";

const folder = workFolder("attach-qcow2");

afterAll(cleanUp);

test("a guest on a qcow2 disk is shown as it writes, while QEMU has the disk, whatever dies here", async () => {
  mkdirSync(join(folder, "raw"));
  const image = join(folder, "guest.qcow2");
  const raw = await guestImage(join(folder, "raw"));
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, image]);
  const monitor = join(folder, "web.qmp");
  const served = await serve(join(folder, "cloud"), {});
  const machine = await Machine.pc([`file=${image},format=qcow2`], [monitor]);
  await machine.started();
  await machine.does("lines 2");
  const state = ["--state", `${served.mountPoint}-state`];
  await run(process.execPath, [main, "attach", "--qmp", monitor, ...state]);
  const log = join(served.guest("web"), "var/log/app.log");
  const read = (): string => {
    try {
      return readFileSync(log, "utf8");
    } catch (error) {
      return (error as Error).message;
    }
  };
  for (let count = 3; count < 30; count++) {
    if (count === 15) {
      const tap = await run("pgrep", ["-P", `${served.pid}`, "-f", "/tap.js$"]);
      expect(Number(tap)).toBeGreaterThan(1);
      process.kill(Number(tap), "SIGKILL");
      for (const start = performance.now(); performance.now() - start < 90_000; await sleep(20))
        if (/web: is attached again/.test(served.log())) break;
      expect(served.log()).toMatch(/web: is attached again/);
    }
    await machine.does("lines 1");
    const lines = Array.from({ length: count }, (_, line) => `${line + 1} a line of the log\n`).join("");
    for (const start = performance.now(); read() !== lines && performance.now() - start < 90_000; )
      await sleep(5);
    expect(read(), served.log()).toBe(lines);
  }
  await run(process.execPath, [main, "detach", "web", ...state]);
  machine.tell("off");
  await machine.ended();
  expect(await served.stop()).toBe(0);
}, 300_000);
