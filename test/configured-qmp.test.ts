/** Guests of a configuration that are attached to as their QEMU comes and goes. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
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
      expect(own.command("detach", "db").stderr).toMatch(/db: is attached to for the configuration/);
      own.write(webText);
      expect(own.command("reload")).toMatchObject({
        status: 0,
        stdout: "slashcloud: db: is no longer wanted\n",
      });
      await own.shows("web");
      const monitor = await QmpClient.connect(other);
      for (const limit = performance.now() + 10_000; performance.now() < limit; ) {
        const jobs = (await monitor.execute("query-block-jobs")) as unknown[];
        if (jobs.length === 0) break;
      }
      expect(await monitor.execute("query-block-jobs")).toEqual([]);
      monitor.close();
    }
    qemu.kill("SIGKILL");
    await once(qemu, "exit");
    await own.shows("web");
  }
  expect(own.unavailable()).toEqual({});
  expect(await own.stop()).toBe(0);
}, 120_000);
