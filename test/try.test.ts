/** `npm run try` as a newcomer runs it. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test } from "vitest";
import { cleanUp, endWithTests, onEnd, run, unmountNow, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";

const folder = workFolder("try");
const script = join(import.meta.dirname, "try.sh");

afterAll(cleanUp);

/** A terminal in which it runs. */
class Terminal {
  shown = "";
  readonly child: ChildProcess;
  readonly mount: string;
  readonly sample: string;

  constructor(name: string, images: readonly string[]) {
    this.mount = join(folder, `${name}-cloud`);
    this.sample = join(folder, name);
    this.child = spawn(script, images, {
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        ...process.env,
        SLASHCLOUD_MAIN: main,
        SLASHCLOUD_MOUNT: this.mount,
        SLASHCLOUD_TRY: this.sample,
      },
    });
    onEnd(() => {
      try {
        process.kill(-(this.child.pid as number), "SIGKILL");
      } catch {
        // It has ended.
      }
      if (this.left().some((line) => line.includes(" fuse"))) unmountNow(this.mount);
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.shown += text;
      });
    }
  }

  /** As the terminal does it: every process that runs in it is told. */
  async controlC(): Promise<number | null> {
    process.kill(-(this.child.pid as number), "SIGINT");
    const [code] = await once(this.child, "exit");
    return code as number | null;
  }

  /** Mounts, loop devices and processes that are still there. */
  left(): string[] {
    const here = (text: string) => text.split("\n").filter((line) => line.includes(`${folder}/`));
    const commands = readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ");
        } catch {
          return "";
        }
      });
    return [
      ...here(readFileSync("/proc/self/mounts", "utf8")),
      ...here(execFileSync("losetup", ["-a"], { encoding: "utf8" })),
      ...here(commands.join("\n")),
    ];
  }
}

async function until(what: string, holds: () => boolean, terminal: Terminal): Promise<void> {
  const limit = performance.now() + 90_000;
  while (!holds()) {
    if (performance.now() > limit) throw new Error(`never: ${what}\n${terminal.shown}`);
    await sleep(50);
  }
}

test("without an image it shows a living guest, says what to type next, and leaves nothing after Ctrl-C", async () => {
  const terminal = new Terminal("sample", []);
  await until("it serves", () => terminal.shown.includes("slashcloud: serving "), terminal);
  const commands = terminal.shown.split("\n").flatMap((line) => /^ {2}(\S.*)$/.exec(line)?.[1] ?? []);
  const log = join(terminal.mount, hostname(), "web/var/log/app.log");
  expect(commands).toContain(`tail -F ${log}`);
  const file = join(terminal.mount, hostname(), "web/.events");
  expect(commands).toContain(`tail -F ${file}`);
  const follow = commands.find((command) => command.includes("events --follow")) as string;
  const followed = spawn(follow, { shell: true, stdio: ["ignore", "pipe", "inherit"] });
  endWithTests(followed);
  let events = "";
  followed.stdout.setEncoding("utf8").on("data", (text: string) => {
    events += text;
  });
  // What it says can be typed, and those that end succeed.
  for (const command of commands.filter((line) => !/^tail|--follow/.test(line)))
    expect(await run("bash", ["-c", command]), command).not.toBe("");

  await until("the log is there", () => existsSync(log), terminal);
  const size = statSync(log).size;
  const before = readFileSync(file, "utf8").length;
  await until("the log grows", () => statSync(log).size > size, terminal);
  expect(readFileSync(log, "utf8")).toMatch(/^(\S+Z shop\[812\]: GET \/orders\/\d+ 200 \d+ ms\n)+$/);
  await until("events come", () => readFileSync(file, "utf8").length > before, terminal);
  expect(readFileSync(file, "utf8")).toContain('"path":"/var/log/app.log"');

  await until("events are told", () => events.includes("/var/log/app.log"), terminal);

  expect(await terminal.controlC()).toBe(0);
  await until("nothing is left", () => terminal.left().length === 0, terminal);
}, 120_000);

test("with an image it shows that one", async () => {
  const image = join(folder, "mine.img");
  await run("truncate", ["-s", "16M", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", image]);
  const terminal = new Terminal("own", [`mine=${image}`]);
  await until("it serves", () => terminal.shown.includes("slashcloud: serving "), terminal);
  const guest = join(terminal.mount, hostname(), "mine");
  expect(terminal.shown).toContain(`ls -l ${guest}\n`);
  expect(terminal.shown).not.toContain("app.log");
  expect(readdirSync(guest)).toEqual(["lost+found"]);
  expect(await terminal.controlC()).toBe(0);
  await until("nothing is left", () => terminal.left().length === 0, terminal);
}, 120_000);

test.each(["SIGKILL", "SIGHUP"] as const)(
  "killed by %s, it leaves nothing either",
  async (signal) => {
    const terminal = new Terminal(signal, []);
    await until("it serves", () => terminal.shown.includes("slashcloud: serving "), terminal);
    terminal.child.kill(signal);
    await until("nothing is left", () => terminal.left().length === 0, terminal);
  },
  60_000,
);
