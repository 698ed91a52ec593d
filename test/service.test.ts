/** The service, under a systemd of its own: with all that its unit forbids it, and as a host sees it. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { cleanUp, endWithTests, onEnd, run, unmountNow, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";
import { SystemdHost } from "./support/systemd-host.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 300_000 });

const folder = workFolder("service");
const units = join(import.meta.dirname, "../systemd");
const SERVICE = "slashcloud.service";
/** Seconds of the watchdog in these tests. */
const WATCHDOG = 10;

let host: SystemdHost;

/** Guests by these names, all with the one image. */
function writeConfiguration(root: string, guests: readonly string[]): void {
  const list = guests.map((name) => `  - {name: ${name}, disks: [/srv/web.img]}\n`).join("");
  writeFileSync(join(root, "etc/slashcloud/slashcloud.yaml"), `guests:\n${list}`);
}

const file = `/cloud/${hostname()}/web/etc/motd`;

beforeAll(async () => {
  host = await SystemdHost.boot(join(folder, "host"), async (root) => {
    const source = join(folder, "source/etc");
    mkdirSync(source, { recursive: true });
    writeFileSync(join(source, "motd"), "hello\n");
    const image = join(root, "srv/web.img");
    await run("truncate", ["-s", "16M", image]);
    await run("mke2fs", ["-q", "-F", "-t", "ext4", "-d", join(folder, "source"), image]);
    await run(process.execPath, [main, "install", "--root", root]);
    const dropIn = join(root, "etc/systemd/system/slashcloud.service.d");
    mkdirSync(dropIn, { recursive: true });
    writeConfiguration(root, ["web"]);
    writeFileSync(
      join(dropIn, "test.conf"),
      `[Unit]\nStartLimitIntervalSec=0\n[Service]\nWatchdogSec=${WATCHDOG}s\nTimeoutAbortSec=2s\nRestartSec=100ms\n`,
    );
  });
});

afterAll(cleanUp);

const answers = async (): Promise<boolean> => (await host.try("cat", file)).out === "hello\n";

/** Throws if it does not run: no signal is to go to 0, which is this process' own group. */
async function mainPid(): Promise<string> {
  const pid = await host.property(SERVICE, "MainPID");
  if (!(Number(pid) > 1)) throw new Error(`the service does not run: ${await host.journal(SERVICE)}`);
  return pid;
}

/** The server, which the first process has started. */
async function serverPid(): Promise<string> {
  const pid = (await host.run("pgrep", "-f", "-P", await mainPid(), "server.js")).trim();
  if (!(Number(pid) > 1)) throw new Error(`not one server, but ${pid}`);
  return pid;
}

/** Waits until another process than that one is ready. */
async function startedAgain(pid: string): Promise<void> {
  await host.until("it is started again", async () => {
    const isOther = !["0", pid].includes(await host.property(SERVICE, "MainPID"));
    return isOther && (await host.property(SERVICE, "ActiveState")) === "active";
  });
}

test("units are valid, and what systemd-analyze thinks of their exposure is OK or better", () => {
  for (const unit of ["slashcloud", "slashcloud-nfs", "slashcloud-smb"]) {
    const args = ["security", "--offline=true", "--threshold=50", join(units, `${unit}.service`)];
    expect(execFileSync("systemd-analyze", args, { encoding: "utf8" })).toMatch(
      /exposure level for \S+: \S+ OK/,
    );
  }
});

test("systemctl start returns when the tree answers, and the host sees it", async () => {
  await host.run("systemctl", "start", SERVICE);
  expect(await answers()).toBe(true);
  expect(await host.property(SERVICE, "StatusText")).toBe("serving /cloud (1 guest)");
  // Whoever is in the host's own mount namespace, as its first process is.
  expect(await host.run("grep", "-c", "fuse.slashcloud", "/proc/1/mountinfo")).toBe("1\n");
  const namespace = async (pid: string) => host.run("readlink", `/proc/${pid}/ns/mnt`);
  expect(await namespace(await mainPid())).toBe(await namespace("1"));
  const status = await host.run("/usr/local/bin/slashcloud", "status", "--json");
  expect(JSON.parse(status)).toMatchObject({ volumes: [{ guest: "web", state: "followed" }] });
});

test("it starts with the host", async () => {
  expect((await host.run("systemctl", "is-enabled", SERVICE)).trim()).toBe("enabled");
});

test("it is not ended by the watchdog as long as it is well", async () => {
  const pid = await mainPid();
  await new Promise((resolve) => setTimeout(resolve, 2500 * WATCHDOG));
  expect(await mainPid()).toBe(pid);
  expect(await host.journal(SERVICE)).not.toContain("Watchdog timeout");
});

test("a server that hangs is replaced, and who reads waits and notices nothing", async () => {
  const pid = await mainPid();
  await host.run("kill", "-STOP", await serverPid());
  expect(await host.run("ls", `/cloud/${hostname()}/web/etc`)).toBe("motd\n");
  await host.until("the server is replaced", async () =>
    /the tree has not answered .*is replaced/.test(await host.journal(SERVICE)),
  );
  await host.until("the tree answers", answers);
  expect(await mainPid()).toBe(pid);
});

test("another server takes over while a file is open", async () => {
  const before = await serverPid();
  const upgrade = `systemctl kill --kill-who=main --signal=USR2 ${SERVICE}`;
  expect(await host.run("sh", "-c", `exec 3< ${file}; ${upgrade}; sleep 2; cat <&3`)).toBe("hello\n");
  // For a moment there are two.
  await host.until("another server", async () => (await serverPid().catch(() => before)) !== before);
});

test("a reload shows the guests that the configuration has now, and nothing of a wrong one", async () => {
  const shown = async () => (await host.run("ls", `/cloud/${hostname()}`)).trim().split("\n");
  writeConfiguration(host.root, ["web", "other"]);
  await host.run("systemctl", "reload", SERVICE);
  await host.until("the other one is shown", async () => (await shown()).includes("other"));
  expect(await host.run("cat", file.replace("/web/", "/other/"))).toBe("hello\n");
  await host.until("it says so", async () =>
    (await host.property(SERVICE, "StatusText")).includes("2 guests"),
  );
  writeFileSync(join(host.root, "etc/slashcloud/slashcloud.yaml"), "guests: wrong\n");
  await host.run("systemctl", "reload", SERVICE);
  await host.until("it says so", async () =>
    (await host.journal(SERVICE)).includes("the configuration is wrong, and all stays as it is"),
  );
  expect(await shown()).toEqual(["other", "web"]);
  writeConfiguration(host.root, ["web"]);
  await host.run("systemctl", "reload", SERVICE);
  await host.until("the other one is gone", async () => !(await shown()).includes("other"));
});

test("renewed, it goes on with another main process, which systemd watches, and open files stay open", async () => {
  const pid = await mainPid();
  const renewals = "/usr/local/bin/slashcloud renew && /usr/local/bin/slashcloud renew >&2";
  expect(await host.run("sh", "-c", `exec 3< ${file}; ${renewals}; cat <&3`)).toMatch(
    /^slashcloud: process \d+ is the daemon now\nhello\n$/,
  );
  const now = await mainPid();
  expect(now).not.toBe(pid);
  expect(await host.property(SERVICE, "ActiveState")).toBe("active");
  expect(await host.property(SERVICE, "StatusText")).toBe("serving /cloud (1 guest)");
  expect(await host.property(SERVICE, "NRestarts")).toBe("0");
  await host.until("the ones before have ended", async () => {
    const processes = await host.run("pgrep", "-f", "main.js up");
    return processes.trim() === now;
  });
  // The watchdog hears it.
  await new Promise((resolve) => setTimeout(resolve, 1500 * WATCHDOG));
  expect(await mainPid()).toBe(now);
  expect(await host.journal(SERVICE)).not.toContain("Watchdog timeout");
  await host.run("systemctl", "reload", SERVICE);
  expect(await answers()).toBe(true);
});

test("a daemon that hangs as a whole is ended by the watchdog, and the tree is there again", async () => {
  const pid = await mainPid();
  await host.run("kill", "-STOP", pid);
  await startedAgain(pid);
  await host.until("the tree answers", answers);
  expect(await host.journal(SERVICE)).toContain("Watchdog timeout");
});

test.each(["the supervisor", "all of it"])(
  "killed, %s is started again over the mount that it has left",
  async (what) => {
    const pid = await mainPid();
    const others = what === "all of it" ? [await serverPid()] : [];
    await host.run("kill", "-KILL", ...others, pid);
    await startedAgain(pid);
    await host.until("the tree answers", answers);
    expect(await host.run("grep", "-c", "fuse.slashcloud", "/proc/1/mountinfo")).toBe("1\n");
  },
);

test("systemctl stop unmounts the tree and leaves no process", async () => {
  await host.run("systemctl", "stop", SERVICE);
  expect((await host.try("grep", "-c", "fuse.slashcloud", "/proc/1/mountinfo")).out).toBe("0\n");
  expect((await host.try("pgrep", "-f", "slashcloud/dist")).out).toBe("");
  expect(await host.property(SERVICE, "Result")).toBe("success");
});

test("without a systemd-notify, it serves all the same and says so once", async () => {
  const point = join(folder, "alone");
  mkdirSync(point);
  const image = join(host.root, "srv/web.img");
  const bin = join(folder, "bin");
  mkdirSync(bin);
  for (const program of ["mount", "umount", "stat", "setpriv"])
    execFileSync("ln", [
      "-s",
      execFileSync("which", [program], { encoding: "utf8" }).trim(),
      join(bin, program),
    ]);
  const child: ChildProcess = spawn(
    process.execPath,
    [main, "up", "--mount", point, "--state", `${point}-state`, `web=${image}`],
    {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: bin, NOTIFY_SOCKET: join(folder, "nobody"), WATCHDOG_USEC: "1000000" },
    },
  );
  endWithTests(child);
  onEnd(() => readFileSync("/proc/self/mounts", "utf8").includes(` ${point} `) && unmountNow(point));
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  await once(child.stdout!, "data");
  await vi.waitFor(() => expect(said).toMatch(/cannot be told/), 5000);
  child.kill("SIGTERM");
  await once(child, "close");
  expect(said.match(/cannot be told/g)).toHaveLength(1);
});
