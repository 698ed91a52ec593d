/** Running guests that are attached to: shown while they run, without a word to them, and let go again. */
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { guestImage, Machine } from "./support/guest-machine.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { host, main, type Served, serve } from "./support/images-serve.js";

const folder = workFolder("attach");

afterAll(cleanUp);

/** How long what is expected may take on a machine that has other things to do, ms. */
const LIMIT = 90_000;

async function until(what: string, holds: () => boolean, served: Served): Promise<void> {
  const limit = performance.now() + LIMIT;
  while (!holds()) {
    if (performance.now() > limit) throw new Error(`never: ${what}\n${served.log()}`);
    await sleep(20);
  }
}

/** What QEMU answers to a command. */
async function ask(socket: string, command: string): Promise<unknown> {
  const monitor = createConnection(socket);
  let text = "";
  try {
    return await new Promise((resolve, reject) => {
      monitor.on("error", reject);
      monitor.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
        const answers = text.split("\n").filter((line) => line.includes('"return"'));
        if (answers.length === 2) resolve(JSON.parse(answers[1] as string).return);
      });
      monitor.write(`{"execute":"qmp_capabilities"}\n{"execute":"${command}"}\n`);
    });
  } finally {
    monitor.destroy();
  }
}

/** All that a capture changes in QEMU. */
async function block(socket: string): Promise<unknown> {
  const nodes = (await ask(socket, "query-named-block-nodes")) as Array<{ "node-name": string }>;
  return {
    nodes: nodes.map((node) => node["node-name"]).sort(),
    jobs: await ask(socket, "query-jobs"),
    exports: await ask(socket, "query-block-exports"),
  };
}

test("a running guest is shown as it writes, once attached to, and no longer when let go", async () => {
  const place = join(folder, "raw");
  mkdirSync(place);
  const image = await guestImage(place);
  const socket = join(place, "web.qmp");
  const served = await serve(join(place, "cloud"), {});
  expect(readdirSync(join(served.mountPoint, host))).toEqual([]);
  const machine = await Machine.qemu(image, socket, "none");
  await machine.started();
  await machine.does("lines 2");
  const before = await block(socket);
  const state = ["--state", `${served.mountPoint}-state`];
  await run(process.execPath, [main, "attach", "--qmp", socket, ...state]);
  const log = join(served.guest("web"), "var/log/app.log");
  await machine.does("lines 3");
  const lines = (count: number) => Array.from({ length: count }, (_, i) => `${i + 1} a line of the log\n`);
  await until("the lines", () => readFileSync(log, "utf8") === lines(5).join(""), served);
  await expect(run(process.execPath, [main, "attach", "--qmp", socket, ...state, "web"])).rejects.toThrow(
    /there is a guest web already/,
  );
  await expect(run(process.execPath, [main, "attach", "--qmp", socket, ...state, "other"])).rejects.toThrow(
    /is web, which is attached already/,
  );
  const tap = await run("pgrep", ["-P", `${served.pid}`, "-f", "/tap.js$"]);
  expect(Number(tap)).toBeGreaterThan(1);
  process.kill(Number(tap), "SIGKILL");
  await until("it is attached again", () => /web: is attached again/.test(served.log()), served);
  const events = await run(process.execPath, [main, "events", "--json", ...state, "*:web:/var/log/*"]);
  expect(events).toMatch(/"path":"\/var\/log\/app.log"/);
  await run(process.execPath, [main, "detach", "web", ...state]);
  expect(readdirSync(join(served.mountPoint, host))).toEqual([]);
  expect(await block(socket)).toEqual(before);
  await machine.does("lines 1");
  await run(process.execPath, [main, "attach", "--qmp", socket, ...state, "web"]);
  expect(readFileSync(log, "utf8")).toBe(lines(6).join(""));
  machine.tell("off");
  await machine.ended();
  await until("the guest leaves", () => readdirSync(join(served.mountPoint, host)).length === 0, served);
  const none = [main, "attach", "--qmp", join(place, "none.qmp"), ...state];
  await expect(run(process.execPath, none)).rejects.toThrow(/none\.qmp: there is no such socket/);
  expect(await served.stop()).toBe(0);
}, 300_000);
