/** What the daemon logs: as text, as JSON, for systemd's journal; and guests whose names would command a terminal. */
import { spawn } from "node:child_process";
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { eventually, statusOf } from "./support/control-socket.js";
import { cleanUp, endWithTests, onEnd, run, unmountNow, workFolder } from "./support/images-mount.js";
import { main, serve } from "./support/images-serve.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("log-forms");
let count = 0;

afterAll(cleanUp);

/** A guest's name that colours what follows, ends the line, and turns it round. */
const NAME = "\x1b[31mw\neb\u202e\x9b";

/** An image that says it is ext4, and needs what nobody knows. */
async function brokenImage(): Promise<string> {
  const image = join(folder, `broken-${++count}.img`);
  writeFileSync(image, "");
  truncateSync(image, 16 << 20);
  await run("mkfs.ext4", ["-q", image]);
  await run("debugfs", ["-w", "-R", "set_super_value feature_incompat 0x40000242", image]);
  return image;
}

test("JSON is an object a line, with a level and what it is about, from all of the daemon's processes", async () => {
  const image = await brokenImage();
  const options = ["--log", "json", "--tap", `unix:${folder}/json.sock`];
  const served = await serve(join(folder, "json"), { [NAME]: image }, options);
  const lines = () =>
    served
      .log()
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const shown = lines();
  for (const line of shown) {
    expect(Object.keys(line).slice(0, 2)).toEqual(["time", "level"]);
    expect(new Date(line.time as string).toISOString()).toBe(line.time);
    expect(["error", "warning", "notice", "info"]).toContain(line.level);
  }
  expect(shown).toContainEqual({
    time: expect.any(String),
    level: "error",
    guest: NAME,
    volume: "sda",
    message: expect.stringMatching(/: sda: cannot be shown: needs the feature 0x40000000/),
    pid: expect.any(Number),
  });
  const server = statusOf(`${served.mountPoint}-state`).pid;
  expect(new Set(shown.map(({ pid }) => pid))).toEqual(new Set([server]));
  process.kill(server, "SIGKILL");
  const died = await eventually(
    () => lines().find(({ message }) => /died/.test(String(message))),
    (line) => line !== undefined,
  );
  expect(died).toMatchObject({
    level: "error",
    pid: served.pid,
    message: expect.stringContaining("SIGKILL"),
  });
  await eventually(
    () => {
      try {
        return statusOf(`${served.mountPoint}-state`).pid;
      } catch {
        return server;
      }
    },
    (pid) => pid !== server,
  );
  process.kill(served.pid, "SIGUSR2");
  const taken = await eventually(
    () => lines().find(({ message }) => message === "another server has taken over"),
    (line) => line !== undefined,
  );
  expect(taken).toMatchObject({ level: "info" });
  expect(harmful(served.log())).toEqual([]);
  expect(await served.stop()).toBe(0);
});

test("text is a line for people, in which a guest's name does nothing to the terminal", async () => {
  const served = await serve(join(folder, "text"), { [NAME]: await brokenImage() });
  expect(served.log()).toMatch(
    /^slashcloud: \\x1b\[31mw\\x0aeb\\u\{202e\}\\x9b: sda: cannot be shown: needs the feature 0x40000000.*$/m,
  );
  for (const line of served.log().trimEnd().split("\n")) expect(line).toMatch(/^slashcloud: /);
  expect(harmful(served.log())).toEqual([]);
  expect(await served.stop()).toBe(0);
});

/** What a terminal would obey, but for the ends of lines. */
function harmful(text: string): string[] {
  return (
    text.match(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu)?.filter((each) => each !== "\n") ?? []
  );
}

/** Serves a broken image with its standard error in a file, as systemd has it lead to the journal; returns what is logged. */
async function logged(
  variables: (stream: string) => NodeJS.ProcessEnv,
  ...options: string[]
): Promise<string> {
  const mountPoint = join(folder, `journal-${++count}`);
  mkdirSync(mountPoint);
  const file = `${mountPoint}.log`;
  const fd = openSync(file, "w");
  const { dev, ino } = fstatSync(fd, { bigint: true });
  const args = ["up", "--mount", mountPoint, "--state", `${mountPoint}-state`, ...options];
  const child = spawn(process.execPath, [main, ...args, `web=${await brokenImage()}`], {
    stdio: ["ignore", "pipe", fd],
    env: { ...process.env, ...variables(`${dev}:${ino}`) },
  });
  closeSync(fd);
  endWithTests(child);
  const forget = onEnd(() => {
    try {
      unmountNow(mountPoint);
    } catch {
      // Not mounted any more.
    }
  });
  let output = "";
  child.stdout!.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  await eventually(
    () => output,
    (text) => text.includes("serving"),
  );
  child.kill("SIGTERM");
  expect(await ended).toBe(0);
  forget();
  return readFileSync(file, "utf8");
}

test("for the journal each line has its priority; it is chosen where standard error is the journal's, and only there", async () => {
  const prefixed = /^<3>web: sda: cannot be shown: needs the feature 0x40000000.*$/m;
  const plain = /^slashcloud: web: sda: cannot be shown: /m;
  const itself = await logged((stream) => ({ JOURNAL_STREAM: stream }));
  expect(itself).toMatch(prefixed);
  for (const line of itself.trimEnd().split("\n")) expect(line).toMatch(/^<[3-6]>/);
  // Inherited by somebody whose standard error leads elsewhere.
  expect(await logged(() => ({ JOURNAL_STREAM: "8:12345" }))).toMatch(plain);
  expect(await logged(() => ({}), "--log", "journal")).toMatch(prefixed);
  expect(await logged((stream) => ({ JOURNAL_STREAM: stream }), "--log", "text")).toMatch(plain);
  expect(await logged((stream) => ({ JOURNAL_STREAM: stream, SLASHCLOUD_LOG: "text" }))).toMatch(plain);
});

test("an error that ends the daemon has the form that was asked for, too", async () => {
  const child = spawn(
    process.execPath,
    [
      main,
      "up",
      "--log",
      "json",
      "--mount",
      folder,
      "--state",
      `${folder}/ends-state`,
      `web=${folder}/none.img`,
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  endWithTests(child);
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  expect(await new Promise((resolve) => child.on("close", resolve))).toBe(1);
  expect(JSON.parse(errors)).toMatchObject({ level: "error", message: expect.stringContaining("none.img") });
});
