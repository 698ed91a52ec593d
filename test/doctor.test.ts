/** `slashcloud doctor`, on hosts that have what it looks for. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { cleanUp, endWithTests, onEnd, run, unmountNow, workFolder } from "./support/images-mount.js";
import { main, serve } from "./support/images-serve.js";
import { RedisServer } from "./support/redis-server.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 300_000 });

const folder = workFolder("doctor");
const image = join(folder, "web.img");
const cloud = join(folder, "cloud");

beforeAll(async () => {
  mkdirSync(cloud);
  await makeImage(image);
});

afterAll(cleanUp);

interface Finding {
  check: string;
  level: string;
  message: string;
  advice?: string;
}

interface Report {
  code: number;
  findings: Finding[];
}

async function makeImage(path: string): Promise<void> {
  await run("truncate", ["-s", "16M", path]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", path]);
}

/** Runs it as JSON; `etc`: files that are in /etc for it alone. `before`: words that the command begins with. */
async function examine(
  args: readonly string[],
  { etc = {}, before = [] }: { etc?: Record<string, string>; before?: string[] } = {},
): Promise<Report> {
  const own = mkdtempSync(join(folder, "etc-"));
  const [upper, work] = [join(own, "upper"), join(own, "work")];
  for (const each of [upper, work]) mkdirSync(each);
  for (const [name, text] of Object.entries(etc)) {
    mkdirSync(dirname(join(upper, name)), { recursive: true });
    writeFileSync(join(upper, name), text);
  }
  const overlay = `mount -t overlay -o lowerdir=/etc,upperdir=${upper},workdir=${work} overlay /etc && exec "$@"`;
  const alone = ["unshare", "--mount", "--propagation", "private", "sh", "-c", overlay, "sh"];
  const options = args.includes("--mount") ? [] : ["--mount", cloud, "--state", join(folder, "state")];
  const words = [...alone, ...before, process.execPath, main, "doctor", "--json", ...options, ...args];
  return new Promise((resolve, reject) => {
    execFile(words[0] as string, words.slice(1), (error, stdout, stderr) => {
      const code = error === null ? 0 : Number(error.code);
      try {
        resolve({ code, findings: (JSON.parse(stdout) as { findings: Finding[] }).findings });
      } catch {
        reject(new Error(`${stdout}${stderr}`));
      }
    });
  });
}

const of = ({ findings }: Report, check: string): Finding[] =>
  findings.filter((finding) => finding.check === check);

/** A process that holds a file open, with flags of Python's os module. */
async function holdOpen(path: string, flags: string): Promise<number> {
  const code = `import os, sys, time; os.open(sys.argv[1], ${flags}); print("open", flush=True); time.sleep(600)`;
  const child = spawn("/usr/bin/python3", ["-c", code, path], { stdio: ["ignore", "pipe", "inherit"] });
  endWithTests(child);
  await Promise.race([
    once(child.stdout, "data"),
    once(child, "exit").then(() => Promise.reject(new Error("ended"))),
  ]);
  return child.pid as number;
}

/** A QEMU with a disk, whose guest does not run yet. */
async function startQemu(disk: string, format: string, cache: string): Promise<number> {
  const drive = `file=${disk},format=${format},if=virtio,cache=${cache}`;
  const child = spawn(
    "qemu-system-x86_64",
    ["-S", "-m", "64", "-display", "none", "-nodefaults", "-monitor", "stdio", "-drive", drive],
    { stdio: ["pipe", "pipe", "inherit"] },
  );
  endWithTests(child);
  // Its monitor greets when all is open.
  await once(child.stdout, "data");
  return child.pid as number;
}

test("a host without faults: a line for each check, and exit code 0", async () => {
  const report = await examine([image]);
  expect(report.code).toBe(0);
  expect(report.findings.filter(({ level }) => level === "fail")).toEqual([]);
  expect(of(report, "images")).toEqual([
    { check: "images", level: "ok", message: `${image} (raw) can be read` },
  ]);
  expect(of(report, "fuse")[0]?.level).toBe("ok");
  expect(of(report, "rights")[0]?.message).toContain("CAP_SYS_ADMIN");
  const text = await run(process.execPath, [main, "doctor", "--mount", cloud, image]);
  expect(text).toMatch(/^ok {4}images {4}\S+web\.img \(raw\) can be read$/m);
  expect(text.split("\n").every((line) => line === "" || /^(ok|warn) {2,}\S+ +\S/.test(line))).toBe(true);
});

test("a configuration that is wrong, and one that names an image that is not there", async () => {
  const wrong = join(folder, "wrong.yaml");
  writeFileSync(wrong, "guests: 3\n");
  const bad = await examine(["--config", wrong]);
  expect(bad.code).toBe(1);
  expect(of(bad, "configuration")).toEqual([
    expect.objectContaining({ level: "fail", message: expect.stringContaining(`${wrong}:1: guests:`) }),
  ]);
  writeFileSync(wrong, `guests:\n  - {name: web, disks: [${folder}/missing.img]}\n`);
  const late = await examine(["--config", wrong]);
  expect(late.code).toBe(0);
  expect(of(late, "configuration")[0]).toMatchObject({ level: "warn" });
});

describe("images", () => {
  test("one that is not there, and one that is not what its name says", async () => {
    const disguised = join(folder, "disguised.img");
    await run("qemu-img", ["create", "-q", "-f", "qcow2", disguised, "16M"]);
    const missing = join(folder, "missing.img");
    const report = await examine([missing, disguised]);
    expect(report.code).toBe(1);
    expect(of(report, "images")).toEqual([
      expect.objectContaining({
        level: "fail",
        message: `${missing} cannot be read: No such file or directory`,
      }),
      expect.objectContaining({ level: "ok" }),
      expect.objectContaining({
        level: "warn",
        message: expect.stringContaining("begins like a qcow2 disk"),
      }),
    ]);
  });

  test("one that another process writes to past the page cache, and one that goes through it", async () => {
    const pid = await holdOpen(image, "os.O_RDWR | os.O_DIRECT");
    const [first] = of(await examine([image]), "use");
    expect(first).toEqual({
      check: "use",
      level: "ok",
      message: `${image} is written to by python3 (process ${pid}) past the page cache (O_DIRECT), which local storage tells of`,
    });
    process.kill(pid, "SIGKILL");
    const other = join(folder, "cached.img");
    await makeImage(other);
    await holdOpen(other, "os.O_RDWR");
    expect(of(await examine([other]), "use")[0]?.message).toContain("through the page cache");
    await holdOpen(image, "os.O_RDONLY");
    expect(of(await examine([image]), "use")).toEqual([]);
  });

  test("one on a FUSE file system, where writing past the page cache matters", async () => {
    const outer = join(folder, "outer.img");
    await run("truncate", ["-s", "64M", outer]);
    await run("mke2fs", ["-q", "-F", "-t", "ext4", outer]);
    const point = join(folder, "fuse");
    mkdirSync(point);
    await run("fuse2fs", [outer, point]);
    onEnd(() => unmountNow(point));
    const inner = join(point, "web.img");
    writeFileSync(inner, "");
    truncateSync(inner, 1 << 20);
    await holdOpen(inner, "os.O_RDWR | os.O_DIRECT");
    const report = await examine([inner]);
    expect(of(report, "images")).toEqual([
      expect.objectContaining({
        level: "warn",
        message: expect.stringMatching(/can stall \(fuse\S* at \S+fuse\)/),
      }),
    ]);
    expect(of(report, "use")).toEqual([
      expect.objectContaining({
        level: "warn",
        message: expect.stringContaining("does not always tell of it"),
      }),
    ]);
    expect(report.code).toBe(0);
  });

  test("a qcow2 disk that a QEMU has in use is attached to instead", async () => {
    const disk = join(folder, "used.qcow2");
    await run("qemu-img", ["create", "-q", "-f", "qcow2", disk, "16M"]);
    const pid = await startQemu(disk, "qcow2", "writeback");
    const report = await examine([disk]);
    expect(report.code).toBe(1);
    expect(of(report, "use")).toEqual([
      {
        check: "use",
        level: "fail",
        message: `${disk} is a qcow2 disk that qemu-system-x86 (process ${pid}) has in use, so it cannot be read past it`,
        advice: expect.stringContaining("slashcloud attach --qmp"),
      },
    ]);
    // Where the process itself cannot be seen, its locks tell.
    const hidden = await examine([disk], { before: ["unshare", "--pid", "--fork", "--mount-proc"] });
    expect(of(hidden, "use")[0]).toMatchObject({
      level: "fail",
      message: expect.stringContaining("another process"),
    });
  });
});

describe("servers that show the tree to others", () => {
  test("Samba: settings by which clients keep what is no longer so", async () => {
    const conf = (share: string): string =>
      `[global]\n${share.includes("leases") ? "" : "smb2 leases = yes\n"}[tree]\npath = ${cloud}\n${share}`;
    const report = await examine([], { etc: { "samba/smb.conf": conf("read only = yes\noplocs = no\n") } });
    const messages = of(report, "samba").map(({ level, message }) => `${level} ${message}`);
    expect(messages).toContain("warn /etc/samba/smb.conf has a parameter that Samba does not know: oplocs");
    for (const parameter of [
      "oplocks = yes",
      "level2 oplocks = yes",
      "smb2 leases = yes",
      "csc policy = manual",
    ])
      expect(
        messages.filter((message) => message.includes(`share tree of /etc/samba/smb.conf: ${parameter}:`)),
      ).toHaveLength(1);
    const good = `[global]
smb2 leases = no
getwd cache = no
kernel change notify = no
[tree]
path = ${cloud}
oplocks = no
level2 oplocks = no
csc policy = disable
[other]
path = /srv
`;
    expect(of(await examine([], { etc: { "samba/smb.conf": good } }), "samba")).toEqual([
      { check: "samba", level: "ok", message: "shares of /etc/samba/smb.conf are as the tree needs them" },
    ]);
  });

  test("NFS: an export that the kernel refuses, and attributes that NFS-Ganesha keeps", async () => {
    const ganesha = (time: string): string =>
      `EXPORT { Export_Id = 1; Path = "${cloud}"; Pseudo = /cloud; ${time} FSAL { Name = VFS; } }\nEXPORT { Path = /srv; }\n`;
    const bad = await examine([], {
      etc: {
        exports: `# nothing\n/srv *(ro)\n${cloud} 192.0.2.0/24(ro,crossmnt)\n`,
        "ganesha/ganesha.conf": ganesha(""),
      },
    });
    expect(bad.code).toBe(1);
    expect(of(bad, "nfs")).toEqual([
      expect.objectContaining({
        level: "fail",
        message: expect.stringContaining(`exports ${cloud} without fsid=`),
      }),
      expect.objectContaining({
        level: "warn",
        message: expect.stringContaining("keeps attributes for 60 s"),
      }),
    ]);
    const good = await examine([], {
      etc: {
        exports: `${cloud} 192.0.2.0/24(ro,crossmnt,fsid=7)\n`,
        "ganesha/ganesha.conf": ganesha("Attr_Expiration_Time = 0;"),
      },
    });
    expect(good.code).toBe(0);
    expect(of(good, "nfs").map(({ level }) => level)).toEqual(["ok", "ok"]);
  });
});

test("the crawler of locate, until it leaves the tree out", async () => {
  const conf = (paths: string): { etc: Record<string, string> } => ({
    etc: { "updatedb.conf": `PRUNEFS="NFS tmpfs"\nPRUNEPATHS="/tmp-not ${paths}"\n` },
  });
  expect(of(await examine([], conf("/var/spool")), "crawlers")[0]).toEqual({
    check: "crawlers",
    level: "warn",
    message: `updatedb reads ${cloud}, every guest's directories, each day`,
    advice: `add ${cloud} to PRUNEPATHS in /etc/updatedb.conf`,
  });
  expect(of(await examine([], conf(cloud)), "crawlers")[0]?.level).toBe("ok");
});

test("a state directory without room", async () => {
  const small = join(folder, "small");
  mkdirSync(small);
  await run("mount", ["-t", "tmpfs", "-o", "size=1M", "tmpfs", small]);
  onEnd(() => unmountNow(small));
  const report = await examine(["--mount", cloud, "--state", join(small, "state")]);
  expect(report.code).toBe(1);
  expect(of(report, "state")[0]?.message).toMatch(/has only \d MB left/);
});

test("few files that may be open, and no right to mount", async () => {
  const few = await examine([image], { before: ["prlimit", "--nofile=200:200"] });
  expect(of(few, "limits")[0]).toMatchObject({
    level: "warn",
    message: expect.stringContaining("only 200 files"),
  });
  const weak = await examine([image], { before: ["setpriv", "--bounding-set=-sys_admin"] });
  expect(weak.code).toBe(1);
  expect(of(weak, "rights")[0]?.level).toBe("fail");
});

test("Redis that answers, and one that does not", async () => {
  const redis = await RedisServer.start(join(folder, "redis"));
  expect(of(await examine(["--redis", redis.url]), "redis")).toEqual([
    { check: "redis", level: "ok", message: `${redis.url} answers` },
  ]);
  const absent = await examine(["--redis", "redis://127.0.0.1:1"]);
  expect(absent.code).toBe(1);
  expect(of(absent, "redis")[0]?.message).toContain("ECONNREFUSED");
});

describe("a daemon that runs", () => {
  test("its images are looked at, and what follows them", async () => {
    const served = await serve(join(folder, "live"), { web: image });
    const report = await examine(["--mount", served.mountPoint, "--state", `${served.mountPoint}-state`]);
    expect(of(report, "mount")[0]).toMatchObject({
      level: "ok",
      message: `${served.mountPoint} is mounted, and answers`,
    });
    expect(of(report, "daemon")[0]?.message).toBe(
      `process ${served.pid} serves 1 guests, and follows 1 volumes`,
    );
    expect(of(report, "images").map(({ message }) => message)).toEqual([`${image} (raw) can be read`]);
    await served.stop();
  });

  test("a file that its output goes to is no image", async () => {
    const point = join(folder, "logged");
    mkdirSync(point);
    const log = openSync(join(folder, "logged.txt"), "w");
    const words = [main, "up", "--mount", point, "--state", `${point}-state`, `web=${image}`];
    const child = spawn(process.execPath, words, { stdio: ["ignore", log, log] });
    closeSync(log);
    endWithTests(child);
    const unmount = onEnd(() => unmountNow(point));
    const ended = once(child, "exit");
    await expect.poll(() => existsSync(join(point, hostname())), { timeout: 20_000 }).toBe(true);
    const report = await examine(["--mount", point, "--state", `${point}-state`]);
    expect(of(report, "images").map(({ message }) => message)).toEqual([`${image} (raw) can be read`]);
    child.kill("SIGTERM");
    await ended;
    expect(unmount).toThrow(/not mounted/);
  });

  test("in a mount namespace of its own, as a service's sandbox gives it, is found out", async () => {
    const point = join(folder, "sandboxed");
    mkdirSync(point);
    const words = ["--mount", "--propagation", "slave", process.execPath, main, "up"];
    const child = spawn(
      "unshare",
      [...words, "--mount", point, "--state", `${point}-state`, `web=${image}`],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    endWithTests(child, "SIGTERM");
    await once(child.stdout, "data");
    const report = await examine(["--mount", point, "--state", `${point}-state`]);
    expect(report.code).toBe(1);
    expect(of(report, "mount")[0]).toMatchObject({
      level: "fail",
      message: expect.stringContaining("has mounts of its own"),
      advice: expect.stringContaining("ProtectSystem"),
    });
    child.kill("SIGTERM");
    await once(child, "exit");
  });

  test("that was killed leaves a dead mount, which is no failure", async () => {
    const point = join(folder, "dead");
    mkdirSync(point);
    onEnd(() => unmountNow(point));
    const words = [main, "up", "--mount", point, "--state", `${point}-state`, `web=${image}`];
    const served = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "inherit"] });
    endWithTests(served);
    await once(served.stdout, "data");
    const children = (await run("pgrep", ["-P", String(served.pid)])).trim().split("\n").map(Number);
    // So that no other server takes over.
    served.kill("SIGSTOP");
    for (const pid of children) process.kill(pid, "SIGKILL");
    served.kill("SIGKILL");
    await vi.waitFor(() => run("sh", ["-c", `! stat ${point}`]), 5000);
    const report = await examine(["--mount", point, "--state", `${point}-state`]);
    expect(of(report, "mount")[0]).toMatchObject({ level: "warn", message: `${point} is a dead mount` });
    expect(report.code).toBe(0);
  });
});
