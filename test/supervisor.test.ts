import { execFileSync, spawn } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  cpSync,
  existsSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { cleanUp, endWithTests, mount, onEnd, run, unmountNow, workFolder } from "./support/images-mount.js";
import { host, main, type Served, serve } from "./support/images-serve.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const folder = workFolder("supervisor");
/** What the big image was filled from: 10,000 files in 100 directories. */
const source = join(folder, "source");
const big = join(folder, "big.img");

beforeAll(async () => {
  for (let directory = 0; directory < 100; directory++) {
    const path = join(source, `directory ${directory}`, "below", "deep");
    mkdirSync(path, { recursive: true });
    for (let file = 0; file < 100; file++) {
      writeFileSync(join(path, `file ${file}`), `line of ${directory}/${file}\nneedle ${directory * file}\n`);
    }
    symlinkSync(`/directory ${directory}/below/deep/file 7`, join(path, "absolute"));
    symlinkSync("../../below/deep/file 8", join(path, "climbing"));
  }
  await run("truncate", ["-s", "128M", big]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "4096", "-d", source, big]);
});

afterAll(cleanUp);

/** The server's process; undefined while there is none. */
function serverOf(served: Pick<Served, "pid">): number | undefined {
  const children = readFileSync(`/proc/${served.pid}/task/${served.pid}/children`, "utf8").split(" ");
  return children.map(Number).find((pid) => {
    try {
      return pid !== 0 && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("server.js");
    } catch {
      return false;
    }
  });
}

let asked = 0;

/** Waits for an answer that only the server can give. */
async function answered(tree: string): Promise<void> {
  await expect(stat(join(tree, `not there ${asked++}`))).rejects.toThrow("ENOENT");
}

/** Kills the server as it is answering, or not. */
async function killServer(served: Pick<Served, "pid">): Promise<void> {
  const pid = await eventually(() => serverOf(served));
  process.kill(pid, "SIGKILL");
  await eventually(() => (existsSync(`/proc/${pid}/fd/3`) ? undefined : true));
}

/** Waits until there is a value. */
async function eventually<T>(read: () => T | undefined, limit = 60_000): Promise<T> {
  const until = performance.now() + limit;
  for (;;) {
    const value = read();
    if (value !== undefined) return value;
    if (performance.now() > until) throw new Error("it never came");
    await sleep(5);
  }
}

/** Runs a program in a folder; resolves with what it printed, and how it ended. */
async function output(command: string, args: string[], cwd: string): Promise<string> {
  const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
  endWithTests(child);
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (more) => {
    text += more;
  });
  child.stderr.setEncoding("utf8").on("data", (more) => {
    text += more;
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  return `${text}exit ${code}\n`;
}

const sorted = (text: string): string[] => text.split("\n").sort();

function isMounted(path: string): boolean {
  return readFileSync("/proc/self/mountinfo", "utf8").includes(` ${path} `);
}

function isDead(path: string): boolean {
  try {
    statSync(path);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOTCONN";
  }
}

/** A copy of the program, which can be given faults. */
function copyOfProgram(name: string): string {
  const copy = join(folder, name, "dist");
  mkdirSync(dirname(copy));
  cpSync(dirname(main), copy, { recursive: true });
  cpSync(join(dirname(main), "../package.json"), join(folder, name, "package.json"));
  execFileSync("ln", [
    "-s",
    join(import.meta.dirname, "../node_modules"),
    join(folder, name, "node_modules"),
  ]);
  return copy;
}

/** Replaces `sound` in a file of a copy by `faulty`. */
function plant(copy: string, file: string, sound: string, faulty: string): void {
  const path = join(copy, file);
  const code = readFileSync(path, "utf8");
  expect(code.split(sound).length).toBe(2);
  writeFileSync(path, code.replace(sound, faulty));
}

describe("a server that is killed", () => {
  test("in a loop during grep -r over 10,000 files leaves the output as it is", async () => {
    const served = await serve(join(folder, "loop"), { g: big });
    const tree = served.guest("g");
    const expected = sorted(await output("grep", ["-r", "needle", "."], source));
    expect(expected.length).toBe(10_002);
    let kills = 0;
    do {
      let isRunning = true;
      const found = output("grep", ["-r", "needle", "."], tree).finally(() => {
        isRunning = false;
      });
      for (let inThisRun = 0; isRunning && inThisRun < 6; inThisRun++) {
        await answered(tree);
        await sleep(50 * (kills % 4));
        await killServer(served);
        kills++;
      }
      expect(sorted(await found)).toEqual(expected);
    } while (kills < 6);
    await answered(tree);
    expect(await served.stop()).toBe(0);
  });

  test("is not noticed by who has a file open, or works in a directory", async () => {
    const served = await serve(join(folder, "held"), { g: big });
    const deep = join(served.guest("g"), "directory 3/below/deep");
    const fd = openSync(join(deep, "file 5"), "r");
    const shell = spawn("bash", [], { cwd: deep, stdio: ["pipe", "pipe", "inherit"] });
    endWithTests(shell);
    await answered(deep);
    await killServer(served);
    shell.stdin.end(`
      cat absolute; cat climbing; cat 'file 9'; cat ../deep/absolute; (cd ../..; pwd -P; ls); ls | wc -l; stat -c %F .
    `);
    let text = "";
    for await (const more of shell.stdout.setEncoding("utf8")) text += more;
    expect(text).toBe(
      [
        "line of 3/7\nneedle 21",
        "line of 3/8\nneedle 24",
        "line of 3/9\nneedle 27",
        "line of 3/7\nneedle 21",
        join(served.guest("g"), "directory 3"),
        "below\n102\ndirectory\n",
      ].join("\n"),
    );
    const buffer = Buffer.alloc(100);
    expect(buffer.toString("utf8", 0, readSync(fd, buffer, 0, 100, 0))).toBe("line of 3/5\nneedle 15\n");
    expect(fstatSync(fd).size).toBe(22);
    closeSync(fd);
    expect(await served.stop()).toBe(0);
  });

  test("misses no change: names, attributes and data of open files are current when the next one answers", async () => {
    const image = join(folder, "changing.img");
    await run("truncate", ["-s", "64M", image]);
    await run("mke2fs", ["-q", "-F", "-t", "ext4", image]);
    const inside = join(folder, "changing-inside");
    let unmount = await mount(image, inside, "loop");
    mkdirSync(join(inside, "a/b"), { recursive: true });
    const put = (path: string, text: string): void => writeFileSync(join(inside, path), text);
    put("grows", "one\n");
    put("overwritten", "before\n");
    put("a/b/moved", "moved\n");
    put("deleted", "deleted\n");
    put("cached", "before\n");
    put("replaced", "old\n");
    put("renamed", "renamed\n");
    symlinkSync("/grows", join(inside, "a/b/link"));
    execFileSync("sync", ["-f", inside]);
    const served = await serve(join(folder, "changing"), { g: image });
    const tree = served.guest("g");
    const text = (path: string): string => readFileSync(join(tree, path), "utf8");
    const held = ["grows", "overwritten", "replaced"].map((name) => openSync(join(tree, name), "r"));
    const contents = (): string[] =>
      held.map((fd) => {
        const buffer = Buffer.alloc(100);
        try {
          return buffer.toString("utf8", 0, readSync(fd, buffer, 0, 100, 0));
        } catch (error) {
          return (error as NodeJS.ErrnoException).errno === -116 ? "ESTALE" : String(error);
        }
      });
    expect(contents()).toEqual(["one\n", "before\n", "old\n"]);
    expect([text("a/b/moved"), text("deleted"), text("a/b/link"), text("renamed")]).toEqual([
      "moved\n",
      "deleted\n",
      "one\n",
      "renamed\n",
    ]);
    expect(readdirSync(tree)).toContain("deleted");

    process.kill(served.pid, "SIGSTOP");
    await killServer(served);
    appendFileSync(join(inside, "grows"), "two\n");
    const fd = openSync(join(inside, "overwritten"), "r+");
    writeSync(fd, "after!\n");
    fsyncSync(fd);
    closeSync(fd);
    renameSync(join(inside, "a/b"), join(inside, "c"));
    renameSync(join(inside, "renamed"), join(inside, "renamed so"));
    rmSync(join(inside, "deleted"));
    rmSync(join(inside, "replaced"));
    execFileSync("sync", ["-f", inside]);
    put("replaced", "something new\n");
    put("new", "new\n");
    execFileSync("sync", ["-f", inside]);
    // A reboot leaves nothing in the journal that would tell of the changes.
    unmount();
    unmount = await mount(image, inside, "loop");
    const cached = openSync(join(inside, "cached"), "r+");
    writeSync(cached, "after!\n");
    closeSync(cached);
    const other = openSync(join(inside, "new"), "r+");
    writeSync(other, "New\n");
    fsyncSync(other);
    closeSync(other);
    process.kill(served.pid, "SIGCONT");

    await answered(tree);
    expect(readdirSync(tree).sort()).toEqual(readdirSync(inside).sort());
    expect([text("c/moved"), text("new").toLowerCase(), text("replaced"), text("c/link")]).toEqual([
      "moved\n",
      "new\n",
      "something new\n",
      "one\ntwo\n",
    ]);
    for (const gone of ["deleted", "renamed", "a/b", "a/b/moved"]) {
      expect(existsSync(join(tree, gone)), gone).toBe(false);
    }
    const current = ["one\ntwo\n", "after!\n"];
    await eventually(
      () => (JSON.stringify(contents().slice(0, 2)) === JSON.stringify(current) ? true : undefined),
      500,
    );
    expect(held.slice(0, 2).map((fd) => fstatSync(fd).size)).toEqual([8, 7]);
    // The inode is another file's, or nobody's.
    expect(contents()[2]).toBe("ESTALE");
    for (const fd of held) closeSync(fd);

    // Bytes that the guest had not written back yet, of a change that it had committed.
    expect(text("cached")).toBe("before\n");
    execFileSync("sync", ["-f", inside]);
    await eventually(() => (text("cached") === "after!\n" ? true : undefined));

    // And it is followed on.
    appendFileSync(join(inside, "grows"), "three\n");
    execFileSync("sync", ["-f", inside]);
    await eventually(() => (text("grows") === "one\ntwo\nthree\n" ? true : undefined));
    unmount();
    expect(await served.stop()).toBe(0);
  });
});

describe("a server that crashes", () => {
  test("three times in ten seconds ends the program with one line that says why, and the tree is unmounted", async () => {
    const copy = copyOfProgram("crashing");
    plant(
      copy,
      "cloud/cloud-tree.js",
      "lookup(high, low, name, out) {",
      'lookup(high, low, name, out) {\nif (name.equals(Buffer.from("poison"))) { process.kill(process.pid, "SIGSEGV"); for (;;); }',
    );
    const served = await serve(join(folder, "crashing-cloud"), { g: big }, [], join(copy, "main.js"));
    await expect(stat(join(served.guest("g"), "poison"))).rejects.toThrow(/ECONNABORTED|ENOTCONN|EIO/);
    await eventually(() => (existsSync(`/proc/${served.pid}/fd/0`) ? undefined : true));
    expect(served.log()).toMatch(
      /^slashcloud: the server crashed 3 times within 10 s \(SIGSEGV\): .*crashing-cloud is unmounted$/m,
    );
    expect(isMounted(served.mountPoint)).toBe(false);
    expect(await served.stop()).toBe(1);
  });

  test("at its first request is no start: the program ends with the fault's message", async () => {
    const copy = copyOfProgram("failing");
    plant(
      copy,
      "fuse/kernel/server.js",
      "const { opcode } = this.#request;",
      'const { opcode } = this.#request;\nif (opcode === 1) throw new Error("a planted fault");',
    );
    const mountPoint = join(folder, "failing-cloud");
    await expect(serve(mountPoint, { g: big }, [], join(copy, "main.js"))).rejects.toThrow(
      /ended with 1[\s\S]*the server crashed 3 times within 10 s \(the serving thread failed: a planted fault\)/,
    );
    expect(isMounted(mountPoint)).toBe(false);
  });
});

describe("a kernel that cannot hand out requests again", () => {
  test("has the tree mounted anew when the server dies, and open files cut off", async () => {
    const copy = copyOfProgram("old-kernel");
    plant(copy, "fuse/kernel/protocol.js", "RESEND: 7,", "RESEND: 77,");
    const served = await serve(join(folder, "old-kernel-cloud"), { g: big }, [], join(copy, "main.js"));
    for (let round = 1; round <= 4; round++) {
      const fd = openSync(join(served.guest("g"), "directory 1/below/deep/file 1"), "r");
      await killServer(served);
      await eventually(() => (served.log().split("is mounted anew").length > round ? true : undefined));
      await eventually(() => (existsSync(served.guest("g")) ? true : undefined));
      await answered(served.guest("g"));
      expect(() => readSync(fd, Buffer.alloc(10), 0, 10, 0)).toThrow("ENOTCONN");
      expect(() => closeSync(fd)).toThrow("ENOTCONN");
    }
    expect(await served.stop()).toBe(0);
    expect(isMounted(served.mountPoint)).toBe(false);
  });
});

describe("SIGUSR2", () => {
  test("has the program on disk take over, under load", async () => {
    const copy = copyOfProgram("upgraded");
    const served = await serve(join(folder, "upgraded-cloud"), { g: big }, [], join(copy, "main.js"));
    const tree = served.guest("g");
    const expected = sorted(await output("grep", ["-r", "needle", "."], source));
    const mode = (): number => statSync(join(served.mountPoint, host)).mode & 0o777;
    expect(mode()).toBe(0o555);
    plant(copy, "cloud/cloud-tree.js", "0o555", "0o511");
    for (let round = 1; round <= 3; round++) {
      const before = serverOf(served);
      const found = output("grep", ["-r", "needle", "."], tree);
      process.kill(served.pid, "SIGUSR2");
      await eventually(() => (served.log().split("taken over").length > round ? true : undefined));
      expect(sorted(await found)).toEqual(expected);
      expect(serverOf(served)).not.toBe(before);
    }
    expect(mode()).toBe(0o511);

    plant(copy, "server.js", "runServer();", 'throw new Error("a planted fault");');
    const before = serverOf(served);
    process.kill(served.pid, "SIGUSR2");
    await eventually(() => /the new one does not start/.exec(served.log()) ?? undefined);
    await answered(tree);
    expect(serverOf(served)).toBe(before);
    expect(await served.stop()).toBe(0);
  });
});

/** Starts the program, to be killed: nobody but its server takes the mount away then. */
async function serveUntilKilled(mountPoint: string): Promise<number> {
  mkdirSync(mountPoint);
  onEnd(() => {
    if (isMounted(mountPoint)) unmountNow(mountPoint);
  });
  const child = spawn(process.execPath, [main, "up", "--mount", mountPoint, "--host", host, `g=${big}`], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  endWithTests(child);
  await new Promise((resolve) => child.stdout.once("data", resolve));
  return child.pid as number;
}

describe("a supervisor that is killed", () => {
  test("takes its server with it, and leaves nothing mounted, though files are open", async () => {
    const mountPoint = join(folder, "orphan");
    const pid = await serveUntilKilled(mountPoint);
    const server = serverOf({ pid }) as number;
    const fd = openSync(join(mountPoint, host, "g/directory 1/below/deep/file 1"), "r");
    process.kill(pid, "SIGKILL");
    await eventually(() => (isMounted(mountPoint) ? undefined : true));
    await eventually(() => (existsSync(`/proc/${server}/fd/0`) ? undefined : true));
    // The file is cut off.
    expect(() => closeSync(fd)).toThrow("ENOTCONN");
  });

  test("together with its server leaves a dead mount, which the next start replaces", async () => {
    const mountPoint = join(folder, "dead");
    const pid = await serveUntilKilled(mountPoint);
    process.kill(pid, "SIGSTOP");
    await killServer({ pid });
    process.kill(pid, "SIGKILL");
    await eventually(() => (isDead(mountPoint) ? true : undefined));
    const served = await serve(mountPoint, { g: big });
    expect(readdirSync(served.guest("g"))).toHaveLength(101);
    expect(await served.stop()).toBe(0);
    expect(isMounted(mountPoint)).toBe(false);
  });
});
