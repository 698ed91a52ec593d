/** Mounting and unmounting with the kernel driver: what a user is told, and what is left behind. */
import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, readSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { mount } from "../src/fuse/kernel/mount.js";
import { MountError, mountAt } from "../src/fuse/mountpoint.js";
import { FuseTests } from "./support/fuse-served.js";
import { AS_USER, output, run } from "./support/fuse-tools.js";

const tests = new FuseTests();
afterAll(() => tests.end());

/** The error that mounting at a path ends with. */
function refusal(path: string): MountError {
  try {
    mount(path).unmount("detach");
  } catch (error) {
    if (error instanceof MountError) return error;
    throw error;
  }
  throw new Error(`${path} was mounted`);
}

describe("mounting says in one line what is wrong when the mount point", () => {
  const { directory } = tests;

  test("does not exist", () => {
    const path = join(directory, "missing");
    expect(refusal(path)).toMatchObject({
      exitCode: 1,
      code: "mountpoint",
      message: `mount point ${path} does not exist: make it first (mkdir -p ${path})`,
    });
  });

  test("is a file, or lies below one", () => {
    const path = join(directory, "file");
    writeFileSync(path, "");
    expect(refusal(path).message).toBe(`mount point ${path} is not a directory: choose a directory`);
    expect(refusal(`${path}/below`).message).toContain("is not a directory");
  });

  test("is not empty", () => {
    const path = join(directory, "full");
    mkdirSync(join(path, "something"), { recursive: true });
    expect(refusal(path).message).toBe(`mount point ${path} is not empty: choose an empty directory`);
  });

  test("has something mounted on it, also when it is reached through a link", async () => {
    const served = await tests.serve();
    const link = join(directory, "link");
    symlinkSync(served.path, link);
    for (const path of [served.path, link]) {
      expect(refusal(path)).toMatchObject({
        code: "busy",
        message: `${path} is already a mount point (fuse.slashcloud): unmount it, or choose another directory`,
      });
    }
    expect(await served.stop()).toBe(0);
  }, 120_000);
});

describe("mounting says in one line what is missing", () => {
  /** Starts a host that must not come to serve; returns what it says. */
  async function says(prefix: string[], env: Record<string, string> = {}): Promise<string> {
    const path = tests.mountPoint();
    expect(await tests.start({ path, prefix, env })).toBe(1);
    expect(mountAt(path)).toBeUndefined();
    return tests.lastLog.replaceAll(path, "DIR");
  }

  test("the right to mount", async () => {
    expect(await says(AS_USER)).toBe("mounting at DIR needs root: run as root, or use the libfuse driver\n");
  });

  test("the right to mount, of a root without its powers", async () => {
    const powerless = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"];
    expect(await says(powerless)).toMatch(/^no right to mount: .*permission denied.*\n$/);
  });

  test("/dev/fuse", async () => {
    const without = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev && exec "$@"', "sh"];
    expect(await says(without)).toBe(
      "/dev/fuse is missing (ENOENT): load the kernel's module (modprobe fuse)\n",
    );
  });

  test("the mount command", async () => {
    expect(await says([], { PATH: "/nowhere" })).toBe("cannot run mount (ENOENT): install util-linux\n");
  });
});

describe("a mount that a killed process left dead", () => {
  test("is recognised and replaced", async () => {
    const killed = await tests.serve();
    await killed.kill();
    expect(run("ls", killed.path).errors).toContain("Transport endpoint is not connected");
    const next = await tests.serve({ path: killed.path });
    expect(output("cat", `${next.path}/five/a`)).toBe("I am a\n");
    expect(await next.stop()).toBe(0);
    expect(mountAt(next.path)).toBeUndefined();
  }, 120_000);

  test("is left alone if it is another program's", () => {
    const path = tests.mountPoint();
    const fd = openSync("/dev/fuse", "r+");
    const options = "fd=3,rootmode=40000,user_id=0,group_id=0";
    execFileSync("mount", ["-i", "-t", "fuse.other", "-o", options, "other", path], {
      stdio: ["ignore", "ignore", "inherit", fd],
    });
    closeSync(fd);
    expect(refusal(path).message).toBe(
      `${path} is a dead mount (fuse.other): unmount it, or choose another directory`,
    );
    output("umount", path);
  });
});

describe("unmounting", () => {
  test("ends the server, and leaves an empty directory", async () => {
    const served = await tests.serve();
    expect(await served.order({ order: "unmount", busy: "detach" })).toBe("unmounted");
    expect(await served.ended).toBe(0);
    expect(output("ls", "-A", served.path)).toBe("");
  }, 120_000);

  test("by umount(8) ends the server too", async () => {
    const served = await tests.serve();
    expect(await served.stop()).toBe(0);
    expect(served.log()).toBe("");
  }, 120_000);

  test("with a file open serves it until it is closed", async () => {
    const served = await tests.serve();
    const fd = openSync(`${served.path}/big`, "r");
    const bytes = Buffer.alloc(100);
    expect(await served.order({ order: "unmount", busy: "detach" })).toBe("detached");
    expect(output("ls", "-A", served.path)).toBe("");
    expect(readSync(fd, bytes, 0, 100, 20_000_000)).toBe(100);
    closeSync(fd);
    expect(await served.ended).toBe(0);
  }, 120_000);

  test("with a file open can end at once instead, and the file answers errors from then on", async () => {
    const served = await tests.serve();
    const fd = openSync(`${served.path}/big`, "r");
    expect(await served.order({ order: "unmount", busy: "abort" })).toBe("aborted");
    expect(await served.ended).toBe(0);
    expect(mountAt(served.path)).toBeUndefined();
    expect(() => readSync(fd, Buffer.alloc(100), 0, 100, 20_000_000)).toThrow(/ENOTCONN/);
    expect(() => closeSync(fd)).toThrow(/ENOTCONN/);
  }, 120_000);

  test("is possible also when the serving thread has died", async () => {
    const prefix = ["timeout", "-s", "KILL", "10"];
    const served = await tests.serve({ unserved: true, prefix });
    expect(await served.order({ order: "unmount", busy: "abort" })).toBe("unmounted");
    expect(await served.ended).toBe(0);
    expect(mountAt(served.path)).toBeUndefined();
  }, 120_000);

  test("a mount point with blanks, commas and a backslash in its name works like any other", async () => {
    const path = join(tests.directory, "a, b\\c\td");
    mkdirSync(path);
    const served = await tests.serve({ path });
    expect(readFileSync(join(path, "five/a"), "utf8")).toBe("I am a\n");
    expect(await served.order({ order: "unmount", busy: "detach" })).toBe("unmounted");
    expect(await served.ended).toBe(0);
  }, 120_000);
});
