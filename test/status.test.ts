/** `slashcloud status`: what of a daemon is well, and what is not, and why. */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test, vi } from "vitest";
import { ask, eventually, slashcloud, statusOf } from "./support/control-socket.js";
import { cleanUp, endWithTests, run, workFolder } from "./support/images-mount.js";
import { host, serve } from "./support/images-serve.js";
import { nbdfuse } from "./support/nbd-tap.js";
import { freePort, RedisServer } from "./support/redis-server.js";
import { writtenGuest } from "./support/written-guest.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("status");

afterAll(cleanUp);

test("tells of each volume how far it is, of each process what it takes, and that all is well", async () => {
  const guest = await writtenGuest(folder, "well");
  const served = await serve(join(folder, "well"), { web: guest.image }, [
    "--tap",
    `unix:${folder}/well.sock`,
  ]);
  const state = `${served.mountPoint}-state`;
  const begun = statusOf(state);
  expect(begun).toMatchObject({
    code: 0,
    host,
    problems: [],
    unavailable: [],
    guests: ["web"],
    serverStarts: 1,
  });
  const before = await eventually(
    () => statusOf(state),
    ({ volumes }) => volumes[0]?.hasPaths === true,
  );
  guest.write("first");
  guest.write("second");
  const after = await eventually(
    () => statusOf(state),
    ({ events }) => events.total >= before.events.total + 2,
  );
  const [volume] = after.volumes;
  expect(volume).toMatchObject({
    guest: "web",
    volume: "sda",
    state: "followed",
    capture: "watch",
    isStale: false,
    problem: "",
    lag: { commit: expect.any(Number), take: expect.any(Number), look: expect.any(Number) },
  });
  const { lag, events, written, commits, transaction = 0 } = volume!;
  expect(transaction).toBeGreaterThan(before.volumes[0]?.transaction ?? 0);
  // The guest's clock is this one's, and what was found was written before.
  expect(lag.take).toBeGreaterThan(0);
  expect(lag.commit).toBeGreaterThan(0);
  expect(lag.look).toBeLessThan(5000);
  expect(events.perSecond).toBeGreaterThan(0);
  expect(commits.total).toBeGreaterThanOrEqual(1);
  expect(written.total).toBeGreaterThan(0);
  expect(after.activity).toMatchObject([{ guest: "web", events: { total: events.total }, isStale: false }]);
  expect(after.processes.map(({ role, problem }) => [role, problem])).toEqual([
    ["supervisor", ""],
    ["server", ""],
    ["tap", ""],
  ]);
  for (const { pid, rss = 0, heapUsed = 0 } of after.processes) {
    expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).toContain("node");
    expect(rss).toBeGreaterThan(heapUsed);
    expect(heapUsed).toBeGreaterThan(1 << 20);
  }
  expect(after.processes[0]?.pid).toBe(served.pid);
  readdirSync(served.guest("web"));
  expect(statusOf(state).requests?.total).toBeGreaterThan(after.requests?.total ?? 0);
  const { code, output } = slashcloud("status", "--state", state);
  expect(code).toBe(0);
  expect(output).toMatch(
    /^GUEST +VOLUME +STATE +CAPTURE +TRANSACTION +COMMIT LAG +TAKEN IN +LOOKED +EVENTS\/S/,
  );
  expect(output).toMatch(
    /^web +sda +followed +watch +\d+ +[\d.]+ ms +[\d.]+ ms +[\d.]+ ms ago +[\d.]+ +\d+ +yes +-$/m,
  );
  expect(output).toMatch(/^supervisor +\d+ +\d+M +[\d.]+M +[\d.]+ s +\S+Z$/m);
  guest.unmount();
  expect(await served.stop()).toBe(0);
  const none = slashcloud("status", "--state", state);
  expect(none).toMatchObject({ code: 1, output: "" });
  expect(none.errors).toMatch(/^slashcloud: no daemon keeps its state in .*\n$/);
});

test("is not well with a guest that cannot be opened, a volume that cannot be read, and Redis gone: with the reasons", async () => {
  const [guest, data] = [await writtenGuest(folder, "ill"), join(folder, "ill-data.img")];
  // A superblock that says ext4, and needs what nobody knows.
  writeFileSync(data, "");
  truncateSync(data, 16 << 20);
  await run("mkfs.ext4", ["-q", data]);
  await run("debugfs", ["-w", "-R", "set_super_value feature_incompat 0x40000242", data]);
  const redis = await RedisServer.start(join(folder, "redis"));
  const gone = `nbd://127.0.0.1:${await freePort()}/gone`;
  const served = await serve(join(folder, "ill"), { web: `${guest.image},${data}`, gone }, [
    "--redis",
    redis.url,
  ]);
  const state = `${served.mountPoint}-state`;
  const ill = await eventually(
    () => statusOf(state),
    ({ redis: told, unavailable }) =>
      told?.isConnected === true && unavailable.some(({ reason }) => reason.includes("ECONNREFUSED")),
  );
  expect(ill.code).toBe(3);
  expect(ill.unavailable).toEqual([{ guest: "gone", reason: expect.stringContaining(gone) }]);
  expect(ill.problems).toEqual([
    { what: "guest gone", reason: expect.stringContaining("ECONNREFUSED") },
    { what: "volume web/sdb", reason: expect.stringContaining("feature 0x40000000") },
  ]);
  expect(ill.volumes.map(({ volume, state: how }) => [volume, how])).toEqual([
    ["sda", "followed"],
    ["sdb", "damaged"],
  ]);
  await redis.kill();
  const without = await eventually(
    () => slashcloud("status", "--state", state),
    ({ output }) => output.includes("not connected"),
  );
  expect(without.code).toBe(3);
  expect(without.output).toMatch(/^redis: redis:\/\/127\.0\.0\.1:\d+: .+$/m);
  expect(without.output).toMatch(/^guest gone: .*ECONNREFUSED.*$/m);
  expect(slashcloud("top", "--state", state).output).toMatch(/^gone +not open /m);
  guest.unmount();
  expect(await served.stop()).toBe(0);
});

test("is not well while the tap, or the supervisor, does not answer, and says so in time", async () => {
  const guest = await writtenGuest(folder, "hung");
  const served = await serve(join(folder, "hung"), { web: guest.image }, [
    "--tap",
    `unix:${folder}/hung.sock`,
  ]);
  const state = `${served.mountPoint}-state`;
  const tap = statusOf(state).processes.find(({ role }) => role === "tap")?.pid as number;
  process.kill(tap, "SIGSTOP");
  try {
    const ill = statusOf(state);
    expect(ill).toMatchObject({
      code: 3,
      problems: [{ what: "process tap", reason: expect.stringContaining("does not answer") }],
    });
  } finally {
    process.kill(tap, "SIGCONT");
  }
  expect(
    (
      await eventually(
        () => statusOf(state),
        ({ code }) => code === 0,
      )
    ).problems,
  ).toEqual([]);
  process.kill(served.pid, "SIGSTOP");
  try {
    expect(statusOf(state).problems).toEqual([
      { what: "process supervisor", reason: expect.stringContaining("does not answer") },
    ]);
  } finally {
    process.kill(served.pid, "SIGCONT");
  }
  guest.unmount();
  expect(await served.stop()).toBe(0);
});

test("a volume whose storage has gone is stale, with the reason, and its last look grows older", async () => {
  const guest = await writtenGuest(folder, "stale");
  guest.unmount();
  const socket = join(folder, "stale.sock");
  const nbd = spawn("qemu-nbd", ["-f", "raw", "-t", "-r", "-k", socket, guest.image], { stdio: "ignore" });
  endWithTests(nbd);
  await eventually(
    () => readdirSync(folder),
    (names) => names.includes("stale.sock"),
  );
  const served = await serve(join(folder, "stale"), { web: `nbd+unix:///?socket=${socket}` });
  const state = `${served.mountPoint}-state`;
  await eventually(
    () => statusOf(state),
    ({ code, volumes }) => code === 0 && volumes[0]?.lag.look !== undefined,
  );
  nbd.kill("SIGKILL");
  const stale = await eventually(
    () => statusOf(state),
    ({ volumes }) => volumes[0]?.state === "unreadable",
  );
  expect(stale).toMatchObject({
    code: 3,
    volumes: [{ isStale: true, problem: expect.stringMatching(/./) }],
  });
  expect(stale.problems).toEqual([{ what: "volume web/sda", reason: stale.volumes[0]?.problem }]);
  const older = await eventually(
    () => statusOf(state).volumes[0]?.lag.look ?? 0,
    (look) => look > (stale.volumes[0]?.lag.look ?? 0) + 500,
  );
  expect(older).toBeGreaterThan(500);
  expect(await served.stop()).toBe(0);
});

test("all that a guest writes counts as written, where its writes are told; its queue is told of", async () => {
  const image = join(folder, "tapped.img");
  writeFileSync(image, "");
  truncateSync(image, 64 << 20);
  await run("mkfs.ext4", ["-q", image]);
  const socket = join(folder, "tapped.sock");
  const served = await serve(join(folder, "tapped"), { web: image }, ["--tap", `unix:${socket}`]);
  const state = `${served.mountPoint}-state`;
  const disk = await nbdfuse(`nbd+unix:///web?socket=${socket}`, join(folder, "tapped-nbd"));
  // Where no file system is, so that nothing else writes there.
  await run("dd", [
    "if=/dev/urandom",
    `of=${disk.file}`,
    "bs=64k",
    "count=16",
    "seek=512",
    "conv=notrunc,fsync",
  ]);
  const told = await eventually(
    () => statusOf(state),
    ({ volumes }) => (volumes[0]?.written.total ?? 0) >= 16 << 16,
  );
  expect(told.volumes[0]).toMatchObject({ capture: "stream", written: { total: 16 << 16 } });
  expect(told.queues).toMatchObject([
    { guest: "web", disk: "sda", capture: "tap", counters: { writes: expect.any(Number), droppedWrites: 0 } },
  ]);
  await disk.end();
  expect(await served.stop()).toBe(0);
});

test("the answer comes while another server takes over, and counts servers", async () => {
  const guest = await writtenGuest(folder, "over");
  const served = await serve(join(folder, "over"), { web: guest.image });
  const state = `${served.mountPoint}-state`;
  const [first] = [statusOf(state).pid];
  process.kill(served.pid, "SIGUSR2");
  const next = await eventually(
    async () => {
      const { text } = await ask(state, "/v1/status").catch(() => ({ text: "{}" }));
      return JSON.parse(text) as { pid?: number; serverStarts?: number };
    },
    ({ pid }) => pid !== undefined && pid !== first,
  );
  expect(next.serverStarts).toBe(2);
  await sleep(0);
  guest.unmount();
  expect(await served.stop()).toBe(0);
});
