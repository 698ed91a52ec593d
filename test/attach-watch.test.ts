/** A running guest that is attached to by watching its disks: nothing is mirrored, and snapshots and block jobs go on. */
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { QmpClient } from "../src/capture/qmp/qmp-client.js";
import { guestImage, Machine } from "./support/guest-machine.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { host, main, type Served, serve } from "./support/images-serve.js";
import { blockState, waitForState, writes } from "./support/qmp-guest.js";

const folder = workFolder("attach-watch");

afterAll(cleanUp);

/** How long what is expected may take on a machine that has other things to do, ms. */
const LIMIT = 20_000;

/** What a file has, or why it cannot be read. */
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    return (error as Error).message;
  }
}

async function until(holds: () => boolean | Promise<boolean>, tell: () => string): Promise<void> {
  for (const limit = performance.now() + LIMIT; !(await holds()); await sleep(10))
    if (performance.now() > limit) throw new Error(tell());
}

const lines = (count: number) =>
  Array.from({ length: count }, (_, i) => `${i + 1} a line of the log\n`).join("");

/** The guest, its root on a qcow2 disk and `/srv` on a raw one, with the monitor that the test has for itself. */
class Scene {
  readonly machine: Machine;
  readonly monitor: QmpClient;
  #count = 0;

  constructor(machine: Machine, monitor: QmpClient) {
    this.machine = machine;
    this.monitor = monitor;
  }

  /** Has the guest write to both disks, and waits until the tree shows it. */
  async isFollowed(served: Served): Promise<void> {
    await this.writes();
    const expected = lines(this.#count);
    for (const path of [".volumes/sda/var/log/app.log", ".volumes/sdb/app.log"]) {
      const file = join(served.guest("web"), path);
      await until(
        () => read(file) === expected,
        () => `${path} is not followed: ${read(file)}\n${expected}\n${served.log()}`,
      );
    }
  }

  async writes(): Promise<void> {
    this.#count = await this.machine.does("lines 2");
    await this.machine.does("cp /var/log/app.log /srv/app.log");
    await this.machine.does("sync");
  }

  /** What is exported, and how many jobs there are. */
  async made(): Promise<{ exports: number; jobs: number }> {
    const [exports, jobs] = await Promise.all(
      ["query-block-exports", "query-jobs"].map((query) => this.monitor.execute(query)),
    );
    return { exports: (exports as unknown[]).length, jobs: (jobs as unknown[]).length };
  }

  /** A snapshot of each disk: from then on the guest writes to another file. */
  async snapshot(place: string): Promise<void> {
    for (const device of ["disk0", "disk1"]) {
      const file = join(place, `${device}.overlay`);
      const args = { device, "snapshot-file": file, format: "qcow2" };
      await this.monitor.execute("blockdev-snapshot-sync", args);
    }
  }

  /** Has what was written since go back to the disks' own files. */
  async commit(): Promise<void> {
    for (const device of ["disk0", "disk1"]) {
      const id = `commit-${device}`;
      await this.monitor.execute("block-commit", { device, "job-id": id });
      const status = async () =>
        ((await this.monitor.execute("query-jobs")) as Array<{ id: string; status: string }>).find(
          (job) => job.id === id,
        )?.status;
      await until(
        async () => (await status()) === "ready",
        () => `${id} does not come to its end`,
      );
      await this.monitor.execute("job-complete", { id });
      await until(
        async () => (await status()) === undefined,
        () => `${id} does not end`,
      );
    }
  }
}

test("a guest on a qcow2 and a raw disk is watched over snapshots, commits, a reset and whatever dies here; QEMU mirrors nothing, and is as before when it is let go of", async () => {
  mkdirSync(join(folder, "raw"));
  const root = await guestImage(join(folder, "raw"));
  const images = ["root.qcow2", "data.img"].map((name) => join(folder, name)) as [string, string];
  await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", root, images[0]]);
  await run("truncate", ["-s", "16M", images[1]]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", images[1]]);
  const [socket, second] = [join(folder, "web.qmp"), join(folder, "second.qmp")];
  const drives = [`file=${images[0]},format=qcow2`, `file=${images[1]},format=raw`];
  const machine = await Machine.pc(drives, [socket, second]);
  await machine.started();
  await machine.does("mount -t ext4 /dev/nvme1n1 /srv");
  const monitor = await QmpClient.connect(second);
  const scene = new Scene(machine, monitor);
  await scene.writes();
  const state = await blockState(monitor);
  let served = await serve(join(folder, "cloud"), {});
  const own = ["--state", `${served.mountPoint}-state`];
  const attach = () => run(process.execPath, [main, "attach", "--qmp", socket, "--capture", "watch", ...own]);
  const told = (await attach()).split("\n");
  expect(told[0]).toMatch(
    /^slashcloud: web: nbd\+unix:\/\/\/slashcloud-.*disks\.sock#file=\/.*\/root\.qcow2$/,
  );
  expect(told[1]).toBe(`slashcloud: web: ${images[1]}`);
  await scene.isFollowed(served);
  expect(await scene.made()).toEqual({ exports: 1, jobs: 0 });
  const status = JSON.parse(await run(process.execPath, [main, "status", "--json", ...own]));
  expect(status.volumes.map(({ capture }: { capture: string }) => capture)).toEqual(["watch", "watch"]);
  // What mirrors refuse.
  await scene.snapshot(folder);
  await scene.isFollowed(served);
  expect(await scene.made()).toEqual({ exports: 2, jobs: 0 });
  await scene.commit();
  await scene.isFollowed(served);
  await until(
    async () => (await scene.made()).exports === 1,
    () => `the raw disk is read by QEMU still\n${served.log()}`,
  );
  await monitor.execute("system_reset");
  await machine.started();
  await machine.does("mount -t ext4 /dev/nvme1n1 /srv");
  await scene.isFollowed(served);
  const tap = Number(await run("pgrep", ["-P", `${served.pid}`, "-f", "/tap.js$"]));
  expect(tap).toBeGreaterThan(1);
  process.kill(tap, "SIGKILL");
  await until(
    () => /web: is attached again/.test(served.log()),
    () => `it is not attached again\n${served.log()}`,
  );
  await scene.isFollowed(served);
  await run(process.execPath, [main, "detach", "web", ...own]);
  expect(readdirSync(join(served.mountPoint, host))).toEqual([]);
  expect(await blockState(monitor)).toEqual(state);
  // QEMU has one such server.
  const addr = { type: "unix", data: { path: join(folder, "other.sock") } };
  await monitor.execute("nbd-server-start", { addr });
  await monitor.execute("nbd-server-stop");
  await attach();
  await scene.isFollowed(served);
  process.kill(served.pid, "SIGKILL");
  await waitForState(monitor, state);
  served = await serve(served.mountPoint, {});
  await attach();
  await scene.isFollowed(served);
  expect((await writes(monitor)).failed).toBe(0);
  monitor.close();
  machine.tell("off");
  await machine.ended();
  await until(
    () => readdirSync(join(served.mountPoint, host)).length === 0,
    () => `the guest does not leave\n${served.log()}`,
  );
  expect(await served.stop()).toBe(0);
}, 300_000);
