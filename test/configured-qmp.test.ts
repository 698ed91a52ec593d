/** Guests of a configuration that are attached to as their QEMU comes and goes. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { QmpClient } from "../src/capture/qmp/qmp-client.js";
import { Configured, makeImage } from "./support/configured.js";
import { cleanUp, endWithTests, workFolder } from "./support/images-mount.js";

const folder = workFolder("configured-qmp");
const socket = join(folder, "db.qmp");
const other = join(folder, "db.other.qmp");

afterAll(cleanUp);

/** A guest that has a disk and never runs; it is there when its monitors are. */
function startQemu(disk: string): ChildProcess {
  const child = spawn(
    "qemu-system-x86_64",
    [
      ...["-machine", "q35", "-accel", "tcg", "-nodefaults", "-display", "none", "-S"],
      ...[socket, other].flatMap((path) => ["-qmp", `unix:${path},server=on,wait=off`]),
      ...["-drive", `file=${disk},format=qcow2,if=none,id=disk0`, "-device", "virtio-blk,drive=disk0"],
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  endWithTests(child);
  return child;
}

/** What there is in QEMU of ours. */
async function made(): Promise<string> {
  const monitor = await QmpClient.connect(other);
  const [jobs, exports] = await Promise.all(
    ["query-block-jobs", "query-block-exports"].map((query) => monitor.execute(query)),
  );
  monitor.close();
  const { length } = exports as unknown[];
  return `${(jobs as unknown[]).length} jobs, ${length} export${length === 1 ? "" : "s"}`;
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (const limit = performance.now() + 20_000; !(await holds()); await sleep(50))
    if (performance.now() > limit) throw new Error(`QEMU has ${await made()}`);
}

test("a guest is attached to when its QEMU is there, again when it comes back, and let go of by a reload", async () => {
  const own = new Configured(join(folder, "daemon"));
  mkdirSync(own.folder);
  const web = makeImage(join(folder, "web.img"), "web");
  const raw = makeImage(join(folder, "db.img"), "db");
  const disk = join(folder, "db.qcow2");
  execFileSync("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, disk]);
  const webText = `guests:\n  - {name: web, disks: ${web}}\n`;
  own.write(`${webText}  - {name: db, qmp: ${socket}, nodes: disk0}\n`);
  await own.start();
  expect(own.guests()).toEqual(["web"]);
  expect(own.unavailable()).toEqual({ db: `${socket}: is not there: the guest is not running` });
  for (let round = 0; round < 2; round++) {
    const qemu = startQemu(disk);
    await own.shows("db", "web");
    expect(readFileSync(join(own.served.guest("db"), "name"), "utf8")).toBe("db\n");
    if (round === 1) {
      own.write(`${webText}  - {name: db, qmp: ${socket}, nodes: disk0, capture: watch}\n`);
      expect(own.command("reload").status).toBe(0);
      await until(async () => (await made()) === "0 jobs, 1 export");
      await own.shows("db", "web");
      expect(readFileSync(join(own.served.guest("db"), "name"), "utf8")).toBe("db\n");
      expect(own.command("detach", "db").stderr).toMatch(/db: is attached to for the configuration/);
      own.write(webText);
      expect(own.command("reload")).toMatchObject({
        status: 0,
        stdout: "slashcloud: db: is no longer wanted\n",
      });
      await own.shows("web");
      await until(async () => (await made()) === "0 jobs, 0 exports");
    }
    qemu.kill("SIGKILL");
    await once(qemu, "exit");
    await own.shows("web");
  }
  expect(own.unavailable()).toEqual({});
  expect(await own.stop()).toBe(0);
}, 120_000);
