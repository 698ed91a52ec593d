/** `slashcloud renew`: another daemon takes the place of the one that runs, and nobody who reads notices. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { guestImage, Machine } from "./support/guest-machine.js";
import { cleanUp, endWithTests, mount, run, workFolder } from "./support/images-mount.js";
import { main, type Served, serve } from "./support/images-serve.js";
import { nbdfuse } from "./support/nbd-tap.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const folder = workFolder("renew");
const source = join(folder, "source");
const big = join(folder, "big.img");
/** ms that what is expected may take on a machine that has other things to do. */
const LIMIT = 90_000;

beforeAll(async () => {
  for (let directory = 0; directory < 60; directory++) {
    const path = join(source, `directory ${directory}`, "deep");
    mkdirSync(path, { recursive: true });
    for (let file = 0; file < 100; file++)
      writeFileSync(join(path, `file ${file}`), `line of ${directory}/${file}\nneedle ${directory * file}\n`);
  }
  await run("truncate", ["-s", "64M", big]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-d", source, big]);
});

afterAll(cleanUp);

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const limit = performance.now() + LIMIT; !(await holds()); await sleep(20))
    if (performance.now() > limit) throw new Error(`never: ${what}`);
}

const stateOf = ({ mountPoint }: Served): string[] => ["--state", `${mountPoint}-state`];

/** Renews the daemon; returns the number of its process. */
async function renew(served: Served, program = main): Promise<number> {
  const said = await run(process.execPath, [program, "renew", ...stateOf(served)]);
  const pid = Number(/^slashcloud: process (\d+) is the daemon now$/m.exec(said)?.[1]);
  expect(pid).toBeGreaterThan(1);
  return pid;
}

async function status(served: Served): Promise<{
  processes: Array<{ role: string; pid: number }>;
  volumes: Array<{ guest: string; state: string; capture: string }>;
  guests: string[];
}> {
  return JSON.parse(
    (await run("sh", ["-c", `"$@" || [ $? = 3 ]`, "sh", ...statusCommand(served)])) as string,
  );
}

const statusCommand = (served: Served): string[] => [
  process.execPath,
  main,
  "status",
  "--json",
  ...stateOf(served),
];

async function pidOf(served: Served, role: string): Promise<number | undefined> {
  return (await status(served)).processes.find((process) => process.role === role)?.pid;
}

const isRunning = (pid: number): boolean => existsSync(`/proc/${pid}/exe`);

const isMounted = (path: string): boolean =>
  readFileSync("/proc/self/mountinfo", "utf8").includes(` ${path} `);

/** A copy of the program, which can be given faults. */
function copyOfProgram(name: string): {
  readonly main: string;
  /** Changes a module; the function returned takes that back. */
  plant(file: string, change: (sound: string) => string): () => void;
} {
  const top = join(folder, name);
  mkdirSync(top);
  cpSync(dirname(main), join(top, "dist"), { recursive: true });
  cpSync(join(dirname(main), "../package.json"), join(top, "package.json"));
  execFileSync("ln", ["-s", join(import.meta.dirname, "../node_modules"), join(top, "node_modules")]);
  return {
    main: join(top, "dist/main.js"),
    plant: (file, change) => {
      const path = join(top, "dist", file);
      const sound = readFileSync(path, "utf8");
      writeFileSync(path, change(sound));
      return () => writeFileSync(path, sound);
    },
  };
}

function printed(command: string, args: string[], cwd: string): { child: ChildProcess; text: () => string } {
  const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
  endWithTests(child);
  let text = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (more: string) => {
      text += more;
    });
  return { child, text: () => text };
}

test("grep -r runs through it with the same output, open files and tail -F go on", async () => {
  const image = join(folder, "live.img");
  await run("truncate", ["-s", "64M", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", image]);
  const inside = join(folder, "live-inside");
  const unmount = await mount(image, inside, "loop");
  const log = join(inside, "log");
  writeFileSync(log, "line 0\n");
  execFileSync("sync", ["-f", inside]);

  const served = await serve(join(folder, "through"), { g: big, live: image });
  const sorted = (text: string): string[] => text.split("\n").sort();
  const expected = sorted(execFileSync("grep", ["-r", "needle", "."], { cwd: source, encoding: "utf8" }));
  expect(expected).toHaveLength(6001);
  const held = openSync(join(served.guest("g"), "directory 3/deep/file 5"), "r");
  const before = statSync(join(served.guest("g"), "directory 3/deep/file 5"));
  const tail = printed("tail", ["-F", "-s", "0.1", "-n", "+1", "log"], served.guest("live"));
  let isSearching = true;
  const pids = new Set([served.pid]);
  let lines = 0;
  const searching = (async () => {
    for (let round = 0; round < 2 || isSearching; round++) {
      const found = printed("grep", ["-r", "needle", "."], served.guest("g"));
      const [code] = await once(found.child, "close");
      expect(sorted(found.text())).toEqual(expected);
      expect(code).toBe(0);
    }
  })();
  for (let round = 0; round < 3; round++) {
    pids.add(await renew(served));
    appendFileSync(log, `line ${++lines}\n`);
    execFileSync("sync", ["-f", inside]);
  }
  isSearching = false;
  await searching;
  expect(pids.size).toBe(4);
  const buffer = Buffer.alloc(100);
  expect(buffer.toString("utf8", 0, readSync(held, buffer, 0, 100, 0))).toBe("line of 3/5\nneedle 15\n");
  closeSync(held);
  expect(statSync(join(served.guest("g"), "directory 3/deep/file 5")).ino).toBe(before.ino);
  await until("the lines", () => tail.text() === "line 0\nline 1\nline 2\nline 3\n");
  tail.child.kill();
  // The log of events goes on, too: each line was told once.
  const told = await run(process.execPath, [main, "events", "--json", ...stateOf(served), "*:live:/log"]);
  const sizes = told
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { event: string; new?: { size?: number } })
    .flatMap(({ event, new: now }) => (event === "content" ? (now?.size ?? []) : []));
  expect(sizes.slice(-3)).toEqual([14, 21, 28]);
  unmount();
  // Who has started it waits for it as before, and its signals count.
  expect(await served.stop()).toBe(0);
  expect(isMounted(served.mountPoint)).toBe(false);
  for (const pid of pids) expect(isRunning(pid)).toBe(false);
});

test("by a program that does not start, or does not serve, it leaves all as it is", async () => {
  const copy = copyOfProgram("faulty");
  const served = await serve(join(folder, "faulty-cloud"), { g: big }, [], copy.main);
  const file = join(served.guest("g"), "directory 1/deep/file 1");
  const held = openSync(file, "r");
  const reads = (): string => {
    const buffer = Buffer.alloc(100);
    return buffer.toString("utf8", 0, readSync(held, buffer, 0, 100, 0));
  };
  const adding = (code: string) => (sound: string) => `${sound}\n${code}\n`;
  const faults: Array<[file: string, change: (sound: string) => string, why: RegExp]> = [
    ["cli/up.js", adding('throw new Error("a planted fault");'), /does not take over: exit code 1/],
    ["server.js", adding("process.exit(7);"), /the server did not start: exit code 7/],
    [
      "daemon/succession/handed-over.js",
      (sound) => sound.replace("FORM = 1", "FORM = 2"),
      /another version; start the daemon again/,
    ],
  ];
  for (const [where, change, why] of faults) {
    const mend = copy.plant(where, change);
    await expect(run(process.execPath, [main, "renew", ...stateOf(served)])).rejects.toThrow(why);
    mend();
    expect(await pidOf(served, "supervisor")).toBe(served.pid);
    expect(reads()).toBe("line of 1/1\nneedle 1\n");
    expect(served.log()).toMatch(/the daemon stays as it is/);
  }
  // One that fails when nobody serves the mount any more: there is a server again.
  const mend = copy.plant(
    "daemon/supervisor.js",
    adding("process.on('message', ({ kind }) => kind === 'serve' && process.kill(process.pid, 'SIGKILL'));"),
  );
  await expect(run(process.execPath, [main, "renew", ...stateOf(served)])).rejects.toThrow(
    /has not been replaced; its log tells why/,
  );
  expect(served.log().split("the daemon stays as it is")).toHaveLength(faults.length + 2);
  mend();
  expect(reads()).toBe("line of 1/1\nneedle 1\n");
  expect(await pidOf(served, "supervisor")).toBe(served.pid);
  // Nothing of all that keeps it from being renewed, and who is killed after that leaves nothing behind.
  const pid = await renew(served);
  expect(reads()).toBe("line of 1/1\nneedle 1\n");
  process.kill(served.pid, "SIGKILL");
  await until("it ends with the one before", () => !isRunning(pid));
  expect(isMounted(served.mountPoint)).toBe(false);
  try {
    closeSync(held);
  } catch (error) {
    // If it was cut off.
    expect((error as Error).message).toMatch("ENOTCONN");
  }
});

test("guests at the tap and those that are attached to notice nothing, and their writes are told on", async () => {
  const image = join(folder, "tapped.img");
  await run("truncate", ["-s", "64M", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", image]);
  const place = join(folder, "attached");
  mkdirSync(place);
  const monitor = join(place, "web.qmp");
  const machine = await Machine.qemu(await guestImage(place), monitor, "none");
  await machine.started();
  const tap = join(folder, "tap.sock");
  const served = await serve(join(folder, "tapped"), { g: image }, ["--tap", `unix:${tap}`]);
  const disk = await nbdfuse(`nbd+unix:///g?socket=${tap}`, join(folder, "disk"));
  const inside = join(folder, "tapped-inside");
  const unmount = await mount(disk.file, inside, "loop");
  writeFileSync(join(inside, "log"), "before\n");
  execFileSync("sync", ["-f", inside]);
  await run(process.execPath, [main, "attach", "--qmp", monitor, ...stateOf(served)]);
  const taps = [await pidOf(served, "tap"), await pidOf(served, "attached")];
  await machine.does("lines 2");
  const log = join(served.guest("web"), "var/log/app.log");
  const lines = (count: number) => Array.from({ length: count }, (_, i) => `${i + 1} a line of the log\n`);
  await until("the first lines", () => readFileSync(log, "utf8") === lines(2).join(""));

  for (let round = 1; round <= 2; round++) {
    await renew(served);
    expect([await pidOf(served, "tap"), await pidOf(served, "attached")]).toEqual(taps);
    appendFileSync(join(inside, "log"), `after ${round}\n`);
    execFileSync("sync", ["-f", inside]);
    await machine.does(`lines ${round}`);
  }
  await until("the lines of one", () => readFileSync(log, "utf8") === lines(5).join(""));
  await until(
    "the lines of the other",
    () => readFileSync(join(served.guest("g"), "log"), "utf8") === "before\nafter 1\nafter 2\n",
  );
  await until("both streams are heard", async () =>
    (await status(served)).volumes.every(({ capture }) => capture === "stream"),
  );
  await run(process.execPath, [main, "detach", "web", ...stateOf(served)]);
  expect((await status(served)).guests).toEqual(["g"]);
  await machine.does("lines 1");
  unmount();
  await disk.end();
  // One that dies is started again by the keeper that was handed it.
  const [first] = taps;
  process.kill(first as number, "SIGKILL");
  await until("there is another", async () => ![first, undefined].includes(await pidOf(served, "tap")));
  expect(await served.stop()).toBe(0);
  expect(taps.some((pid) => isRunning(pid as number))).toBe(false);
  await machine.pullPlug();
});
