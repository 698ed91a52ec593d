/** Attaching to guests that run in an unmodified QEMU. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test, vi } from "vitest";
import { QmpClient } from "../src/capture/qmp/qmp-client.js";
import { guestImage, Machine } from "./support/guest-machine.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";
import { until } from "./support/nbd-tap.js";
import { Attaching, blockState, timeWrites, waitForState, writes } from "./support/qmp-guest.js";

vi.setConfig({ testTimeout: 180_000 });

const folder = workFolder("qmp");

afterAll(cleanUp);

interface Scene {
  readonly place: string;
  readonly machine: Machine;
  /** The disks' files and formats. */
  readonly images: ReadonlyArray<{ readonly path: string; readonly format: string }>;
  /** The monitor that slashcloud is given, and a second one for the test. */
  readonly socket: string;
  readonly monitor: QmpClient;
  /** What QEMU tells before anybody has attached. */
  readonly state: unknown;
}

/** A guest that has started and writes to two disks: the first, of the format given, has its files. */
async function scene(name: string, format: "raw" | "qcow2"): Promise<Scene> {
  const place = join(folder, name);
  mkdirSync(place);
  const raw = await guestImage(place);
  const other = format === "raw" ? "qcow2" : "raw";
  const images = [
    { path: join(place, `disk0.${format}`), format },
    { path: join(place, `disk1.${other}`), format: other },
  ];
  await run("qemu-img", ["convert", "-f", "raw", "-O", format, raw, images[0]!.path]);
  await run("qemu-img", ["create", "-q", "-f", other, images[1]!.path, "16M"]);
  const [socket, second] = [join(place, "monitor"), join(place, "second")];
  const machine = await Machine.pc(
    images.map(({ path, format }) => `file=${path},format=${format}`),
    [socket, second],
  );
  await machine.started();
  await write(machine);
  const monitor = await QmpClient.connect(second);
  return { place, machine, images, socket, monitor, state: await blockState(monitor) };
}

/** Has the guest write to both disks, until it is told to be quiet. */
async function write(machine: Machine): Promise<void> {
  await machine.does("busy");
  await machine.does("scribble /dev/nvme1n1");
}

/** Waits until the guest has done some more writes. */
async function moreWrites(monitor: QmpClient, count: number): Promise<void> {
  const start = (await writes(monitor)).count;
  const limit = performance.now() + 90_000;
  while ((await writes(monitor)).count < start + count) {
    if (performance.now() > limit) throw new Error("the guest does not write any more");
    await sleep(20);
  }
}

/** The guest has had no error from its disks, and goes on. */
async function checkGuest({ machine, monitor }: Scene): Promise<void> {
  await moreWrites(monitor, 20);
  expect((await writes(monitor)).failed).toBe(0);
  expect(machine.console).not.toMatch(/error|panic/i);
}

const sizes = async (path: string) => run("stat", ["-c", "%s", path]);

test.concurrent.each(["raw", "qcow2"] as const)(
  "two disks (the root's is %s) are attached to while the guest writes; it is reset and goes on; what is told of each makes an early copy equal to the disk, and detaching leaves no trace",
  async (format) => {
    const guest = await scene(`mirror-${format}`, format);
    const { machine, monitor, place, images } = guest;
    const attaching = new Attaching(join(place, "tap"), { socket: guest.socket });
    const disks = await attaching.attached();
    expect(disks.map((disk) => [disk.index, disk.name, disk.format, disk.isRaw, disk.size])).toEqual([
      [0, "disk0", format, format === "raw", 64 << 20],
      [1, "disk1", format === "raw" ? "qcow2" : "raw", format !== "raw", 16 << 20],
    ]);
    const copies = disks.map(({ index }) => join(place, `copy${index}.img`));
    await moreWrites(monitor, 50);
    for (const [i, { exportUrl }] of disks.entries()) await run("nbdcopy", [exportUrl, copies[i]!]);
    await moreWrites(monitor, 50);
    await monitor.execute("system_reset");
    await machine.started();
    await write(machine);
    await moreWrites(monitor, 100);
    await machine.does("quiet");
    const ends = disks.map(({ index }) => join(place, `end${index}.img`));
    for (const [i, { exportUrl }] of disks.entries()) await run("nbdcopy", [exportUrl, ends[i]!]);
    await attaching.detach();
    expect(attaching.find("lost")).toBeUndefined();
    expect(await blockState(monitor)).toEqual(guest.state);
    expect((await writes(monitor)).failed).toBe(0);
    monitor.close();
    machine.tell("off");
    await machine.ended();
    for (const [i, { path, format }] of images.entries()) {
      const recording = join(place, "tap", `disk${i}.rec`);
      expect(Number(await sizes(recording))).toBeGreaterThan(4096);
      const same = (other: string) =>
        run("qemu-img", ["compare", "-f", format, "-F", "raw", path, other], { accept: [1] });
      expect(await same(ends[i]!)).toContain("Images are identical");
      expect(await same(copies[i]!)).toContain("Content mismatch");
      await run(process.execPath, [main, "replay", recording, "--onto", copies[i]!]);
      expect(await same(copies[i]!)).toContain("Images are identical");
    }
  },
);

test.concurrent("the process that mirrors a guest's writes is killed at any moment, also with its watchdog: the guest goes on without an error, and QEMU is as before", async () => {
  const guest = await scene("killed", "qcow2");
  const { monitor, place, socket, state } = guest;
  await timeWrites(monitor);
  for (let round = 0; round < 8; round++) {
    const attaching = new Attaching(join(place, `tap${round}`), { socket });
    // Before, while and after it attaches.
    if (round % 2 === 0) await attaching.attached();
    await sleep(Math.random() * (round % 2 === 0 ? 300 : 400));
    attaching.kill("SIGKILL");
    await attaching.ended();
    await waitForState(monitor, state);
    await checkGuest(guest);
  }
  const attaching = new Attaching(join(place, "both"), { socket });
  await attaching.attached();
  process.kill(attaching.watchdog, "SIGKILL");
  attaching.kill("SIGKILL");
  await checkGuest(guest);
  expect(await blockState(monitor)).not.toEqual(state);
  const next = new Attaching(join(place, "next"), { socket });
  await next.attached();
  await moreWrites(monitor, 20);
  await next.detach();
  expect(await blockState(monitor)).toEqual(state);
  const { count, slow, longest } = await writes(monitor);
  console.log(`killed: of ${count} writes ${slow} took over 1 s; the longest took up to ${longest} ms`);
  monitor.close();
  await guest.machine.pullPlug();
});

test.concurrent("the process that mirrors a guest's writes is stopped, or caught in its own work: the watchdog ends it, the guest goes on without an error, and QEMU is as before", async () => {
  const guest = await scene("hung", "raw");
  const { monitor, place, socket, state } = guest;
  const hang = async (
    name: string,
    thread: boolean,
    action: (attaching: Attaching) => Promise<void> | void,
  ) => {
    await timeWrites(monitor);
    const attaching = new Attaching(join(place, name), { socket, thread });
    await attaching.attached();
    await moreWrites(monitor, 20);
    await action(attaching);
    await attaching.ended();
    await waitForState(monitor, state);
    await checkGuest(guest);
    expect(attaching.complaints).toContain("does not acknowledge guests' writes any more and is killed");
    const { count, slow, longest } = await writes(monitor);
    console.log(`${name}: of ${count} writes ${slow} took over 1 s; the longest took up to ${longest} ms`);
    return longest;
  };
  const stop = (attaching: Attaching) => attaching.kill("SIGSTOP");
  const longest: number[] = [];
  for (const name of ["stopped", "stopped again"]) longest.push(await hang(name, true, stop));
  longest.push(await hang("waiting", false, (attaching) => attaching.tell("hang")));
  longest.push(await hang("busy", false, (attaching) => attaching.tell("spin")));
  longest.push(
    await hang("stopped with a new watchdog", true, async (attaching) => {
      process.kill(attaching.watchdog, "SIGKILL");
      await until(() => attaching.find("log") !== undefined, "nobody misses the watchdog");
      await sleep(2000);
      attaching.kill("SIGSTOP");
    }),
  );
  // The machine that runs the tests may itself stand still for a time, but not each time.
  expect(Math.min(...longest)).toBeLessThanOrEqual(1000);
  monitor.close();
  await guest.machine.pullPlug();
});
