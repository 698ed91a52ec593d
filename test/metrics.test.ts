/** Metrics as Prometheus reads them, and the other examples of docs/control.md, each run as it stands there. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { ask, eventually, guestsOf, slashcloud, statusOf } from "./support/control-socket.js";
import { type Family, parseExposition } from "./support/exposition.js";
import { cleanUp, endWithTests, onEnd, workFolder } from "./support/images-mount.js";
import { host, serve } from "./support/images-serve.js";
import { freePort, RedisServer } from "./support/redis-server.js";
import { writtenGuest } from "./support/written-guest.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("metrics");

afterAll(cleanUp);

/** The value of a sample; undefined: there is none. */
function value(families: ReadonlyMap<string, Family>, name: string, labels: Record<string, string> = {}) {
  const wanted = JSON.stringify(Object.entries(labels).sort());
  for (const { samples } of families.values()) {
    for (const sample of samples)
      if (sample.name === name && JSON.stringify(Object.entries(sample.labels).sort()) === wanted)
        return sample.value;
  }
  return undefined;
}

test("metrics are told at the control socket and by TCP, in the form that Prometheus reads, and count what happens", async () => {
  // What a label must not take for its end.
  const name = 'we"b\\n';
  const guest = await writtenGuest(folder, "counted");
  const redis = await RedisServer.start(join(folder, "redis"));
  const port = await freePort();
  const served = await serve(join(folder, "counted"), { [name]: guest.image }, [
    "--metrics",
    `127.0.0.1:${port}`,
    "--redis",
    redis.url,
  ]);
  const state = `${served.mountPoint}-state`;
  const scrape = async () => {
    const { code, type, text } = await ask(state, "/v1/metrics");
    expect([code, type]).toEqual([200, "text/plain; version=0.0.4; charset=utf-8"]);
    return parseExposition(text);
  };
  await eventually(
    () => statusOf(state),
    ({ volumes }) => volumes[0]?.hasPaths === true,
  );
  const before = await scrape();
  for (const [family, { help, type }] of before) {
    expect(family).toMatch(/^slashcloud_[a-z_]+$/);
    expect([family, help]).toEqual([family, expect.stringMatching(/\.$/)]);
    expect([family, type === "counter"]).toEqual([family, family.endsWith("_total")]);
  }
  const at = { guest: name, volume: "sda" };
  expect(value(before, "slashcloud_guests")).toBe(1);
  expect(value(before, "slashcloud_problems")).toBe(0);
  expect(value(before, "slashcloud_volume_stale", at)).toBe(0);
  expect(value(before, "slashcloud_commits_total", at)).toBe(0);
  for (let n = 0; n < 3; n++) guest.write(`secret-${n}`);
  const wanted = { ...at, kind: "created" };
  const after = await eventually(
    scrape,
    (families) =>
      value(families, "slashcloud_events_total", wanted) === 3 &&
      value(families, "slashcloud_redis_events_waiting") === 0,
  );
  const commits = value(after, "slashcloud_commits_total", at) as number;
  expect(commits).toBeGreaterThanOrEqual(1);
  expect(value(after, "slashcloud_take_seconds_count", at)).toBe(commits);
  expect(value(after, "slashcloud_commit_lag_seconds_count", at)).toBe(commits);
  expect(value(after, "slashcloud_commit_lag_seconds_bucket", { ...at, le: "+Inf" })).toBe(commits);
  expect(value(after, "slashcloud_written_bytes_total", at)).toBeGreaterThan(0);
  expect(value(after, "slashcloud_redis_connected")).toBe(1);
  expect(value(after, "slashcloud_redis_events_published_total")).toBeGreaterThanOrEqual(3);
  expect(value(after, "slashcloud_process_resident_memory_bytes", { process: "server" })).toBeGreaterThan(
    1e7,
  );
  // What a user asks of the tree is counted by what it is, and so is what there is not.
  const lookups = (families: ReadonlyMap<string, Family>) =>
    value(families, "slashcloud_fuse_requests_total", { operation: "lookup" }) ?? 0;
  const missing = (families: ReadonlyMap<string, Family>) =>
    value(families, "slashcloud_fuse_errors_total", { operation: "lookup", errno: "ENOENT" }) ?? 0;
  const tree = served.guest(name);
  for (let n = 0; n < 10; n++) expect(existsSync(join(tree, `not-there-${n}`))).toBe(false);
  readFileSync(join(tree, "secret-1"));
  readdirSync(tree);
  const asked = await scrape();
  expect(lookups(asked) - lookups(after)).toBeGreaterThanOrEqual(10);
  expect(missing(asked) - missing(after)).toBe(10);
  expect(value(asked, "slashcloud_fuse_requests_total", { operation: "read" })).toBeGreaterThanOrEqual(1);
  expect(value(asked, "slashcloud_cache_misses_total")).toBeGreaterThanOrEqual(1);
  // Paths are nobody's business here.
  expect((await ask(state, "/v1/metrics")).text).not.toContain("secret");
  const tcp = await fetch(`http://127.0.0.1:${port}/metrics`);
  expect([...parseExposition(await tcp.text()).keys()]).toEqual([...asked.keys()]);
  expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(404);
  expect((await fetch(`http://127.0.0.1:${port}/metrics`, { method: "POST" })).status).toBe(405);
  expect((await fetch(`http://127.0.0.1:${port}/v1/status`)).status).toBe(404);
  // It is there again when another server has taken over.
  const { pid } = statusOf(state);
  process.kill(pid, "SIGKILL");
  await eventually(
    async () =>
      fetch(`http://127.0.0.1:${port}/metrics`).then(
        (answer) => answer.text(),
        () => "",
      ),
    (text) => text !== "" && value(parseExposition(text), "slashcloud_server_starts_total") === 2,
  );
  guest.unmount();
  expect(await served.stop()).toBe(0);
});

test("metrics are refused where others could read them, or somebody else listens, before anything is mounted", async () => {
  const mount = join(folder, "refused");
  mkdirSync(mount);
  const up = (...args: string[]) => slashcloud("up", "--mount", mount, "--state", `${mount}-state`, ...args);
  const other = createServer();
  const port = await freePort();
  await new Promise<void>((resolve) => other.listen(port, "127.0.0.1", resolve));
  try {
    expect(up("--metrics", `127.0.0.1:${port}`)).toEqual({
      code: 1,
      output: "",
      errors: `slashcloud: metrics cannot be told at 127.0.0.1:${port}: another program listens there; name another address with --metrics\n`,
    });
  } finally {
    other.close();
  }
  expect(up("--metrics", "0.0.0.0:9477")).toMatchObject({
    code: 2,
    errors: expect.stringMatching(/^slashcloud: 0\.0\.0\.0:9477: metrics are told on this host alone: .*\n$/),
  });
  expect(up("--metrics", "web=/srv/web.img")).toMatchObject({
    code: 2,
    errors: expect.stringMatching(/^slashcloud: web=\/srv\/web\.img: is no address for --metrics: .*\n$/),
  });
  expect(readFileSync("/proc/mounts", "utf8")).not.toContain(mount);
});

/** The lines of curl in docs/control.md. */
const examples = readFileSync(join(import.meta.dirname, "../docs/control.md"), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("    curl "))
  .map((line) => line.trim());

test("each example of docs/control.md does what it is there for", async () => {
  const guest = await writtenGuest(folder, "examples");
  const served = await serve(join(folder, "examples"), { web: guest.image });
  const state = `${served.mountPoint}-state`;
  await eventually(
    () => statusOf(state),
    ({ volumes }) => volumes[0]?.hasPaths === true,
  );
  mkdirSync(join(guest.inside, "etc"));
  for (let n = 0; n < 12; n++) guest.write(`etc/file-${n}`);
  await eventually(
    () => statusOf(state),
    ({ events }) => events.total >= 13,
  );
  const qmp = await stoppedQemu("examples");
  const other = `${guest.image}.other`;
  copyFileSync(guest.image, other);
  const followed: string[] = [];
  const ran: string[] = [];
  for (const example of examples) {
    const command = example.replace("/run/vm.qmp", qmp).replace("/srv/db.img", other);
    const env = { ...process.env, SOCKET: join(state, "control.sock") };
    if (example.includes("follow=1")) {
      const child = spawn("sh", ["-c", `exec ${command}`], { env, stdio: ["ignore", "pipe", "inherit"] });
      endWithTests(child);
      child.stdout.setEncoding("utf8").on("data", (text: string) => followed.push(text));
      await eventually(
        () => {
          guest.write("etc/followed");
          return followed.join("");
        },
        (text) => text.includes('"path":"/etc/followed"'),
      );
      child.kill("SIGTERM");
      ran.push(example);
      continue;
    }
    const { status, stdout, stderr } = spawnSync("sh", ["-c", command], { env, encoding: "utf8" });
    expect([example, status, stderr]).toEqual([example, 0, ""]);
    check(example, stdout);
    ran.push(example);
    // Another server takes over meanwhile.
    const [, done = "", name = ""] =
      /v1\/(attach|detach|add|remove) -d '\{"guest": "(\w+)"/.exec(example) ?? [];
    if (done !== "")
      await eventually(
        () => guestsOf(state),
        (guests) => guests?.includes(name) === ["attach", "add"].includes(done),
      );
  }
  expect(ran).toEqual(examples);
  expect(ran.length).toBeGreaterThanOrEqual(9);
  guest.unmount();
  expect(await served.stop()).toBe(0);
});

/** What an example prints. */
function check(example: string, output: string): void {
  if (example.includes("problems")) expect(output).toBe("");
  else if (example.includes(".volumes"))
    expect(JSON.parse(output)).toMatchObject({ guest: "web", volume: "sda", isStale: false, problem: "" });
  else if (example.includes("/v1/metrics")) expect(parseExposition(output).size).toBeGreaterThan(20);
  else if (example.includes("/v1/status"))
    expect(JSON.parse(output)).toMatchObject({ host, guests: ["web"], problems: [] });
  else if (example.includes("/v1/events")) {
    const ids = output
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line).id as number);
    const first = example.includes("after=") ? 11 : 1;
    expect(ids[0]).toBe(first);
    expect(ids.length).toBeGreaterThanOrEqual(3);
  } else if (/attach|detach|add|remove/.test(example)) expect(JSON.parse(output)).toHaveProperty("done");
  else {
    const index = JSON.parse(output) as Record<string, string>;
    const documented = readFileSync(join(import.meta.dirname, "../docs/control.md"), "utf8");
    for (const route of Object.keys(index)) expect(documented).toContain(route);
  }
}

/** A QEMU whose guest does nothing; returns its monitor. */
async function stoppedQemu(name: string): Promise<string> {
  const image = join(folder, `${name}-vm.img`);
  execFileSync("sh", ["-c", `truncate -s 32M ${image} && mkfs.ext4 -q ${image}`]);
  const socket = join(folder, `${name}.qmp`);
  const child = spawn(
    "qemu-system-x86_64",
    [
      ...["-S", "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none"],
      ...["-drive", `file=${image},format=raw,if=virtio`, "-qmp", `unix:${socket},server=on,wait=off`],
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  endWithTests(child);
  await eventually(
    () => existsSync(socket),
    (isThere) => isThere,
  );
  return socket;
}

test("prom-client is not needed until metrics are asked for", async () => {
  const guest = await writtenGuest(folder, "without");
  // The program, where its packages are but for that one.
  const copy = join(folder, "copy");
  mkdirSync(join(copy, "node_modules"), { recursive: true });
  const root = join(import.meta.dirname, "..");
  execFileSync("cp", ["-r", join(root, "dist"), join(root, "package.json"), copy]);
  for (const name of readdirSync(join(root, "node_modules")))
    if (name !== "prom-client" && !name.startsWith("."))
      symlinkSync(join(root, "node_modules", name), join(copy, "node_modules", name));
  onEnd(() => rmSync(copy, { recursive: true, force: true }));
  const served = await serve(join(folder, "without"), { web: guest.image }, [], join(copy, "dist/main.js"));
  const state = `${served.mountPoint}-state`;
  expect((await ask(state, "/v1/status")).code).toBe(200);
  const { code, text } = await ask(state, "/v1/metrics");
  expect([code, JSON.parse(text).error]).toEqual([500, expect.stringContaining("prom-client")]);
  writeFileSync(join(guest.inside, "still"), "x");
  guest.unmount();
  await eventually(
    () => existsSync(join(served.guest("web"), "still")),
    (isThere) => isThere,
  );
  expect(await served.stop()).toBe(0);
});
