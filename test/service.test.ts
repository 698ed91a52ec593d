/** The service, under a systemd of its own: with all that its unit forbids it, and as a host sees it. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { cleanUp, endWithTests, mount, onEnd, run, unmountNow, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";
import { SystemdHost } from "./support/systemd-host.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 300_000 });

const folder = workFolder("service");
const units = join(import.meta.dirname, "../systemd");
const SERVICE = "slashcloud.service";
/** Seconds of the watchdog in these tests. */
const WATCHDOG = 10;

let host: SystemdHost;

/** Guests by these names, all with the one image but "live", which has its own. */
function writeConfiguration(root: string, guests: readonly string[], more = ""): void {
  const imageOf = (name: string): string => (name === "live" ? "live" : "web");
  const list = guests.map((name) => `  - {name: ${name}, disks: [/srv/${imageOf(name)}.img]}\n`).join("");
  writeFileSync(join(root, "etc/slashcloud/slashcloud.yaml"), `${more}guests:\n${list}`);
}

/** What the unit has besides, until the function that is returned is called. */
async function dropIn(text: string): Promise<() => Promise<void>> {
  const path = join(host.root, "etc/systemd/system/slashcloud.service.d/zz.conf");
  writeFileSync(path, text);
  await host.run("systemctl", "daemon-reload");
  return async () => {
    rmSync(path);
    await host.run("systemctl", "daemon-reload");
  };
}

/** `major:minor` of the trees that are mounted in the host's own namespace. */
async function trees(): Promise<string[]> {
  const mounts = await host.run("cat", "/proc/1/mountinfo");
  return mounts
    .split("\n")
    .flatMap((line) => (line.includes("fuse.slashcloud") ? (line.split(" ")[2] ?? []) : []));
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
    for (let directory = 0; directory < 40; directory++) {
      const path = join(folder, "live", `directory ${directory}`);
      mkdirSync(path, { recursive: true });
      for (let number = 0; number < 50; number++)
        writeFileSync(join(path, `file ${number}`), `needle ${directory * number}\n`);
    }
    writeFileSync(join(folder, "live/log"), "line 0\n");
    const live = join(root, "srv/live.img");
    await run("truncate", ["-s", "64M", live]);
    await run("mke2fs", ["-q", "-F", "-t", "ext4", "-d", join(folder, "live"), live]);
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
  for (const unit of ["slashcloud", "slashcloud-left@", "slashcloud-nfs", "slashcloud-smb"]) {
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
  await host.until("the ones before have ended", async () => {
    const processes = await host.run("pgrep", "-f", "main.js up");
    return processes.trim() === (await mainPid());
  });
  const now = await mainPid();
  expect(now).not.toBe(pid);
  expect(await host.property(SERVICE, "ActiveState")).toBe("active");
  expect(await host.property(SERVICE, "StatusText")).toBe("serving /cloud (1 guest)");
  expect(await host.property(SERVICE, "NRestarts")).toBe("0");
  // The watchdog hears it.
  await new Promise((resolve) => setTimeout(resolve, 1500 * WATCHDOG));
  expect(await mainPid()).toBe(now);
  expect(await host.journal(SERVICE)).not.toContain("Watchdog timeout");
  await host.run("systemctl", "reload", SERVICE);
  expect(await answers()).toBe(true);
});

/** Waits in the host for another main process than that one, which `action` is to bring about; the file is open all the time. */
async function withOpenFile(action: string): Promise<void> {
  const pid = await mainPid();
  const [tree] = await trees();
  const renewed = `until [ "$(systemctl show -P MainPID ${SERVICE})" != ${pid} ] && systemctl is-active -q ${SERVICE}; do sleep 0.1; done`;
  const script = `exec 3< ${file}; ${action.replaceAll("MAIN", pid)}; ${renewed}; cat <&3; ls -a ${file}`;
  expect(await host.run("sh", "-c", script)).toBe(`hello\n${file}\n`);
  expect(await trees()).toEqual([tree]);
  expect(await host.property(SERVICE, "NFileDescriptorStore")).toBe("2");
}

test("a daemon that hangs as a whole is ended by the watchdog, and the tree stays", async () => {
  await withOpenFile("kill -STOP MAIN");
  expect(await answers()).toBe(true);
  expect(await host.journal(SERVICE)).toContain("Watchdog timeout");
});

test("a daemon that is well, but is not heard, leaves the tree to the next one", async () => {
  const notify = "/usr/bin/systemd-notify";
  const isOther = `[ "$(systemctl show -P MainPID ${SERVICE})" != MAIN ]`;
  // The next one is heard.
  const script = `#!/bin/sh\n[ $PPID = MAIN ] || exec ${notify}.kept "$@"\n`;
  const deaf = `mv ${notify} ${notify}.kept; printf '%s' '${script}' > ${notify}; chmod 755 ${notify}; until ${isOther}; do sleep 0.1; done; mv ${notify}.kept ${notify}`;
  await withOpenFile(deaf);
  expect(await answers()).toBe(true);
});

test("killed, all of it is started again, and the tree stays", async () => {
  await withOpenFile(`kill -KILL ${await serverPid()} MAIN`);
  expect(await answers()).toBe(true);
});

test("grep -r and tail -F go on while it is restarted, killed and renewed, and files stay open", async () => {
  writeConfiguration(host.root, ["web", "live"]);
  await host.run("systemctl", "reload", SERVICE);
  const guest = `/cloud/${hostname()}/live`;
  await host.until("it is shown", async () => (await host.try("cat", `${guest}/log`)).out === "line 0\n");
  const inside = join(folder, "live-inside");
  const unmount = await mount(join(host.root, "srv/live.img"), inside, "loop");
  await host.run("sh", "-c", `tail -F -s 0.1 -n +1 ${guest}/log > /tmp/tail 2>&1 & echo $! > /tmp/tail.pid`);
  const searched = (await run("sh", ["-c", `cd ${inside} && grep -r needle . | sort | md5sum`])) as string;
  const search = `cd ${guest} && until [ -e /tmp/done ]; do grep -r needle . > /tmp/found || exit 1; sort /tmp/found | md5sum; done`;
  const searching = host.try("sh", "-c", search);
  let lines = 0;
  for (const action of [
    `systemctl restart ${SERVICE}`,
    "/usr/local/bin/slashcloud renew >&2",
    "kill -KILL MAIN",
    `systemctl restart ${SERVICE}`,
  ]) {
    await withOpenFile(action);
    appendFileSync(join(inside, "log"), `line ${++lines}\n`);
    execFileSync("sync", ["-f", inside]);
  }
  await host.run("touch", "/tmp/done");
  const { code, out, err } = await searching;
  expect([code, err]).toEqual([0, ""]);
  expect(new Set(out.trim().split("\n"))).toEqual(new Set([searched.trim()]));
  const said = Array.from({ length: lines + 1 }, (_, number) => `line ${number}\n`).join("");
  await host.until("the lines", async () => (await host.run("cat", "/tmp/tail")) === said);
  await host.run("sh", "-c", "kill $(cat /tmp/tail.pid)");
  unmount();
  const told = await host.journal(SERVICE);
  expect(
    told.match(/goes on with the tree that is still mounted at \/cloud/g)?.length,
  ).toBeGreaterThanOrEqual(5);
  expect(told).not.toContain("a restart of the service will unmount the tree");
});

test("restarted with another mount point, it takes the tree away from the one before", async () => {
  const at = async () => (await host.run("findmnt", "-rno", "TARGET", "-t", "fuse.slashcloud")).trim();
  await host.run("mkdir", "/elsewhere");
  for (const point of ["/elsewhere", "/cloud"]) {
    writeConfiguration(host.root, ["web"], `mount: ${point}\n`);
    await host.run("systemctl", "restart", SERVICE);
    expect(await at()).toBe(point);
    expect(await host.run("cat", file.replace("/cloud", point))).toBe("hello\n");
    expect(await host.property(SERVICE, "NFileDescriptorStore")).toBe("2");
  }
});

test("restarted with a configuration that is wrong, it leaves nobody waiting, and comes when that is mended", async () => {
  writeConfiguration(host.root, ["web"], "wrong: 1\n");
  expect((await host.try("systemctl", "restart", SERVICE)).code).toBe(1);
  expect((await host.try("cat", file)).code).toBe(1);
  expect(await trees()).toEqual([]);
  writeConfiguration(host.root, ["web"]);
  await host.until("the tree answers", answers);
});

test("stopped while it waits to be started again, it leaves no tree and nobody waiting", async () => {
  const takeBack = await dropIn("[Service]\nRestartSec=1h\n");
  await host.run("kill", "-KILL", await mainPid());
  await host.until("it waits", async () => (await host.property(SERVICE, "SubState")) === "auto-restart");
  expect(await trees()).toHaveLength(1);
  const reader = host.try("cat", `${file}.not-there`);
  await host.run("systemctl", "stop", SERVICE);
  expect((await reader).code).toBe(1);
  await host.until("the tree is taken away", async () => (await trees()).length === 0);
  await takeBack();
  await host.run("systemctl", "start", SERVICE);
});

test("when it is not to be started again, it leaves no tree and nobody waiting", async () => {
  const takeBack = await dropIn("[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=1\n");
  await host.until("it has failed", async () => {
    const pid = await host.property(SERVICE, "MainPID");
    if (Number(pid) > 1) await host.try("kill", "-KILL", pid);
    return (await host.property(SERVICE, "ActiveState")) === "failed";
  });
  await host.until("the tree is taken away", async () => (await trees()).length === 0);
  await takeBack();
  await host.run("systemctl", "reset-failed", SERVICE);
  await host.run("systemctl", "start", SERVICE);
});

test("where systemd does not keep it, a restart mounts it anew, and the journal says why", async () => {
  const takeBack = await dropIn("[Service]\nFileDescriptorStoreMax=0\n");
  await host.run("systemctl", "restart", SERVICE);
  expect(await answers()).toBe(true);
  expect(await host.journal(SERVICE)).toMatch(
    /a restart of the service will unmount the tree: .*FileDescriptorStoreMax/,
  );
  const pid = await mainPid();
  await host.run("kill", "-KILL", pid);
  await startedAgain(pid);
  expect(await answers()).toBe(true);
  expect(await trees()).toHaveLength(1);
  await takeBack();
  await host.run("systemctl", "restart", SERVICE);
});

test("on a kernel that cannot hand out requests again, a restart keeps the mount, too", async () => {
  const protocol = join(host.root, "usr/local/lib/slashcloud/dist/fuse/kernel/protocol.js");
  const sound = readFileSync(protocol, "utf8");
  expect(sound).toContain("RESEND: 7,");
  writeFileSync(protocol, sound.replace("RESEND: 7,", "RESEND: 77,"));
  await withOpenFile(`systemctl restart ${SERVICE}`);
  await withOpenFile(`systemctl restart ${SERVICE}`);
  expect(await trees()).toHaveLength(1);
  writeFileSync(protocol, sound);
  await withOpenFile(`systemctl restart ${SERVICE}`);
});

test("systemctl stop unmounts the tree and leaves no process, though a file is open", async () => {
  await host.run("sh", "-c", `exec 3< ${file}; systemctl stop ${SERVICE}`);
  expect(await trees()).toEqual([]);
  expect((await host.try("pgrep", "-f", "slashcloud/dist")).out).toBe("");
  expect(await host.property(SERVICE, "Result")).toBe("success");
  expect(await host.property(SERVICE, "NFileDescriptorStore")).toBe("0");
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
