/** `slashcloud install` and the Debian package: what they put in place, what they leave alone, and that nothing stays. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";
import { SystemdHost } from "./support/systemd-host.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 300_000 });

const folder = workFolder("install");
const source = join(import.meta.dirname, "..");
const CONFIGURATION = "etc/slashcloud/slashcloud.yaml";

/** A copy of the program as it was built, of that version, with that configuration coming along. */
function program(version: string, configuration: string): string {
  const copy = join(folder, `program-${version}`);
  cpSync(dirname(main), join(copy, "dist"), { recursive: true, filter: (path) => !path.endsWith(".deb") });
  cpSync(join(source, "systemd"), join(copy, "systemd"), { recursive: true });
  symlinkSync(join(source, "node_modules"), join(copy, "node_modules"));
  const about = JSON.parse(readFileSync(join(source, "package.json"), "utf8")) as object;
  writeFileSync(join(copy, "package.json"), JSON.stringify({ ...about, version }));
  writeFileSync(join(copy, "systemd/slashcloud.yaml"), configuration);
  return copy;
}

const first = program("0.1.1", "# The first.\nmount: /cloud\n");
const second = program("0.1.2", "# The second.\nmount: /cloud\n");

afterAll(cleanUp);

/** All that is in a folder: paths, and what they hold. */
function contents(root: string): Map<string, string> {
  const found = new Map<string, string>();
  const visit = (path: string): void => {
    for (const name of readdirSync(join(root, path))) {
      const at = join(path, name);
      const stats = lstatSync(join(root, at));
      const mode = (stats.mode & 0o7777).toString(8);
      if (stats.isDirectory()) {
        found.set(at, `directory ${mode}`);
        visit(at);
      } else if (stats.isSymbolicLink()) found.set(at, `to ${readlinkSync(join(root, at))}`);
      else found.set(at, `${mode} ${readFileSync(join(root, at), "latin1")}`);
    }
  };
  visit("");
  return found;
}

function slashcloud(copy: string, ...args: string[]): { code: number; out: string; err: string } {
  const words = [join(copy, "dist/main.js"), ...args];
  try {
    return {
      code: 0,
      out: execFileSync(process.execPath, words, { encoding: "utf8", stdio: "pipe" }),
      err: "",
    };
  } catch (error) {
    const { status, stdout, stderr } = error as { status: number; stdout: string; stderr: string };
    return { code: status, out: stdout, err: stderr };
  }
}

describe("slashcloud install", () => {
  const root = join(folder, "root");
  mkdirSync(join(root, "usr/local/bin"), { recursive: true });
  writeFileSync(join(root, "usr/local/bin/other"), "another program");
  const before = contents(root);

  test("puts a program that runs, its services and its configuration in place, and enables it", async () => {
    expect(slashcloud(first, "install", "--root", root)).toMatchObject({ code: 0 });
    const installed = join(root, "usr/local/lib/slashcloud");
    expect(await run(join(root, "usr/local/bin/slashcloud"), ["--version"])).toBe("0.1.1\n");
    // All that it may load is there, and nothing of what it was made with.
    const script = readdirSync(join(installed, "node_modules")).includes("ioredis")
      ? "Promise.all(['commander','bson','ioredis','yaml','zod','prom-client','fast-xml-parser'].map((name)=>import(name)))"
      : "0";
    await run(process.execPath, [
      "--input-type=module",
      "-e",
      `process.chdir(${JSON.stringify(installed)});`,
    ]);
    writeFileSync(join(folder, "load.mjs"), `await ${script};`);
    cpSync(join(folder, "load.mjs"), join(installed, "load.mjs"));
    await run(process.execPath, [join(installed, "load.mjs")]);
    execFileSync("rm", [join(installed, "load.mjs")]);
    expect(existsSync(join(installed, "node_modules/vitest"))).toBe(false);
    const unit = readFileSync(join(root, "usr/local/lib/systemd/system/slashcloud.service"), "utf8");
    expect(unit).toContain(`ExecStart=${process.execPath} /usr/local/lib/slashcloud/dist/main.js up\n`);
    expect(readFileSync(join(root, CONFIGURATION), "utf8")).toContain("The first.");
    expect(lstatSync(join(root, CONFIGURATION)).mode & 0o777).toBe(0o600);
    expect(existsSync(join(root, "etc/slashcloud/guests.d"))).toBe(true);
    const wanted = join(root, "etc/systemd/system/multi-user.target.wants/slashcloud.service");
    expect(lstatSync(wanted).isSymbolicLink()).toBe(true);
    const share = join(root, "usr/local/share");
    expect(readdirSync(join(share, "man/man1"))).toContain("slashcloud-doctor.1");
    expect(readFileSync(join(share, "bash-completion/completions/slashcloud"), "utf8")).toContain("complete");
  });

  test("a later one replaces a configuration that nobody has changed, and what is no longer part of it goes", () => {
    writeFileSync(join(first, "dist/old.js"), "");
    slashcloud(first, "install", "--root", root);
    expect(existsSync(join(root, "usr/local/lib/slashcloud/dist/old.js"))).toBe(true);
    expect(slashcloud(second, "install", "--root", root).code).toBe(0);
    expect(readFileSync(join(root, CONFIGURATION), "utf8")).toContain("The second.");
    expect(existsSync(join(root, "usr/local/lib/slashcloud/dist/old.js"))).toBe(false);
  });

  test("a configuration that was changed stays, with what has come beside it", async () => {
    const own = "# Mine.\nmount: /cloud\n";
    writeFileSync(join(root, CONFIGURATION), own);
    const words = [join(first, "dist/main.js"), "install", "--root", root, "--no-enable"];
    const said = await run("sh", ["-c", 'exec "$0" "$@" 2>&1', process.execPath, ...words]);
    expect(said).toContain(
      `/${CONFIGURATION} was changed and stays as it is; what has come is in /${CONFIGURATION}.new`,
    );
    expect(readFileSync(join(root, CONFIGURATION), "utf8")).toBe(own);
    expect(readFileSync(join(root, `${CONFIGURATION}.new`), "utf8")).toContain("The first.");
  });

  test("uninstall removes all of it and nothing else", () => {
    mkdirSync(join(root, "var/lib/slashcloud/cloud"), { recursive: true });
    writeFileSync(join(root, "var/lib/slashcloud/cloud/events"), "kept");
    const installed = join(root, "usr/local/bin/slashcloud");
    expect(JSON.parse(JSON.stringify(slashcloud(first, "uninstall", "--root", root))).code).toBe(0);
    expect(existsSync(installed)).toBe(false);
    const left = [...contents(root)].filter(([path]) => !before.has(path)).map(([path]) => path);
    expect(left.filter((path) => !/^var/.test(path))).toEqual([
      "etc",
      "etc/slashcloud",
      CONFIGURATION,
      "etc/systemd",
      "etc/systemd/system",
    ]);
    for (const [path, what] of before) expect(contents(root).get(path)).toBe(what);
    expect(slashcloud(first, "uninstall", "--root", root)).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^slashcloud: \S+manifest\.json is not there: nothing was installed .*\n$/),
    });
  });

  test("the mount point goes if install has made it, also if it was in use when a later one came", () => {
    for (const isThere of [false, true]) {
      const own = join(folder, `mount-point-${isThere}`);
      const point = join(own, "cloud");
      mkdirSync(isThere ? point : own, { recursive: true });
      expect(slashcloud(first, "install", "--root", own, "--no-enable").code).toBe(0);
      execFileSync("mount", ["-t", "tmpfs", "tmpfs", point]);
      try {
        expect(slashcloud(second, "install", "--root", own, "--no-enable").code).toBe(0);
      } finally {
        execFileSync("umount", [point]);
      }
      expect(slashcloud(second, "uninstall", "--root", own).code).toBe(0);
      expect(existsSync(point)).toBe(isThere);
    }
  });

  test("a file of somebody else's is not written over, and nothing is changed", () => {
    const other = join(folder, "other");
    mkdirSync(join(other, "usr/local/bin"), { recursive: true });
    writeFileSync(join(other, "usr/local/bin/slashcloud"), "somebody else's");
    const there = contents(other);
    expect(slashcloud(first, "install", "--root", other)).toMatchObject({
      code: 1,
      err: expect.stringContaining("bin/slashcloud is there already"),
    });
    expect(contents(other)).toEqual(there);
    expect(slashcloud(first, "install", "--prefix", "here")).toMatchObject({ code: 2 });
  });
});

/** Builds a package; returns its file. How tight it is packed is of no interest here. */
async function deb(copy: string): Promise<string> {
  const words = [
    "DPKG_DEB_COMPRESSOR_LEVEL=0",
    "SOURCE_DATE_EPOCH=1767225600",
    process.execPath,
    join(copy, "systemd/deb/build.mjs"),
  ];
  return (await run("env", words)).trim();
}

describe("the Debian package", () => {
  let host: SystemdHost;
  let oldPackage: string;
  let newPackage: string;
  /** What has its name before it is installed. */
  let before: string[];

  /** All files of the host that have the package's name, but for what was said and the tests' own. */
  async function named(): Promise<string[]> {
    const places = ["/etc", "/usr", "/var/lib", "/var/cache", "/run"];
    const own = ["-not", "-path", "/etc/systemd/system/slashcloud.service.d*"];
    return (await host.run("find", ...places, "-xdev", ...own, "-name", "*slashcloud*")).split("\n").sort();
  }

  beforeAll(async () => {
    [oldPackage, newPackage] = await Promise.all([deb(first), deb(second)]);
    host = await SystemdHost.boot(join(folder, "host"), async (root) => {
      cpSync(oldPackage, join(root, "srv/old.deb"));
      cpSync(newPackage, join(root, "srv/new.deb"));
      await run("truncate", ["-s", "16M", join(root, "srv/web.img")]);
      await run("mke2fs", ["-q", "-F", "-t", "ext4", join(root, "srv/web.img")]);
      // This host's power is never cut: thousands of files need not be waited for until they are on the disk.
      mkdirSync(join(root, "etc/dpkg/dpkg.cfg.d"), { recursive: true });
      writeFileSync(join(root, "etc/dpkg/dpkg.cfg.d/unsafe-io"), "force-unsafe-io\n");
      // Images for containers have this, so that packages start no services.
      rmSync(join(root, "usr/sbin/policy-rc.d"), { force: true });
      for (const path of ["var/lib/slashcloud", "cloud"])
        rmSync(join(root, path), { recursive: true, force: true });
      // A host's administrator has a guest to show before the package comes.
      const dropIn = join(root, "etc/systemd/system/slashcloud.service.d");
      mkdirSync(dropIn, { recursive: true });
      writeFileSync(
        join(dropIn, "guest.conf"),
        "[Service]\nExecStart=\nExecStart=/usr/bin/slashcloud up web=/srv/web.img\n",
      );
    });
    before = await named();
  });

  test("is the same, byte by byte, however often it is built", async () => {
    const before = readFileSync(oldPackage);
    // The time and the rights of who builds it are nobody's concern.
    chmodSync(join(first, "package.json"), 0o600);
    expect((await deb(first)) === oldPackage && readFileSync(oldPackage).equals(before)).toBe(true);
  });

  test("says what it needs where Node is too old", async () => {
    const status = join(host.root, "var/lib/dpkg/status");
    const known = readFileSync(status, "utf8");
    writeFileSync(
      status,
      known.replace(/^(Package: nodejs\n(?:.+\n)*?Version: ).*$/m, "$118.20.4+dfsg-1~deb12u1"),
    );
    const { code, err } = await host.try("dpkg", "-i", "/srv/old.deb");
    expect(code).toBe(1);
    expect(err).toMatch(
      /slashcloud depends on nodejs \(>= 20\.15\); however:\s+Version of nodejs on system is 18\./,
    );
    await host.run("dpkg", "-P", "slashcloud");
    writeFileSync(status, known);
  });

  test("is installed, and serves", async () => {
    await host.run("dpkg", "-i", "/srv/old.deb");
    expect(await host.run("slashcloud", "--version")).toBe("0.1.1\n");
    expect((await host.run("systemctl", "is-enabled", "slashcloud")).trim()).toBe("enabled");
    expect(await host.run("ls", `/cloud/${hostname()}/web`)).toBe("lost+found\n");
    expect((await host.try("dpkg", "--verify", "slashcloud")).out).toBe("");
  });

  test("is replaced by a later one, with the tree in its place and the configuration as it was left", async () => {
    await host.run("sh", "-c", `echo '# Mine.' >> /${CONFIGURATION}`);
    const pid = await host.property("slashcloud.service", "MainPID");
    const mount = await host.run("grep", "fuse.slashcloud", "/proc/1/mountinfo");
    await host.run("dpkg", "--force-confold", "-i", "/srv/new.deb");
    expect(await host.run("slashcloud", "--version")).toBe("0.1.2\n");
    expect(await host.journal("slashcloud.service")).toMatch(/process \d+ has given way: serving \/cloud/);
    expect(await host.run("ls", `/cloud/${hostname()}/web`)).toBe("lost+found\n");
    expect(await host.property("slashcloud.service", "MainPID")).not.toBe(pid);
    expect(await host.property("slashcloud.service", "ActiveState")).toBe("active");
    expect(await host.run("grep", "fuse.slashcloud", "/proc/1/mountinfo")).toBe(mount);
    expect(await host.run("cat", `/${CONFIGURATION}`)).toContain("# Mine.");
  });

  test("is removed but for the configuration, and purged without a trace", async () => {
    await host.run("dpkg", "-r", "slashcloud");
    expect((await host.try("grep", "fuse.slashcloud", "/proc/1/mountinfo")).out).toBe("");
    expect((await host.try("pgrep", "-f", "slashcloud/dist")).out).toBe("");
    expect(await host.run("cat", `/${CONFIGURATION}`)).toContain("# Mine.");
    await host.run("dpkg", "-P", "slashcloud");
    expect((await named()).filter((path) => !before.includes(path))).toEqual([]);
    expect(await host.try("ls", "-d", "/cloud")).toMatchObject({ code: 2 });
  });

  test("leaves a mount point that was there before it came", async () => {
    await host.run("mkdir", "/cloud");
    await host.run("dpkg", "-i", "/srv/old.deb");
    expect(await host.run("ls", `/cloud/${hostname()}/web`)).toBe("lost+found\n");
    await host.run("dpkg", "-P", "slashcloud");
    expect(await host.run("ls", "-A", "/cloud")).toBe("");
  });
});
