import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test, vi } from "vitest";
import { EventText, sizeText, visible } from "../src/cli/event-text.js";
import { Control } from "../src/daemon/control.js";
import { eventsFolder, StateDirectory, stateDirectoryFor } from "../src/daemon/state-directory.js";
import type { GuestEvent, ScopedEvent } from "../src/events/event.js";
import { Logs } from "../src/events/logs.js";
import { cleanUp, endWithTests, mount, onEnd, run, workFolder } from "./support/images-mount.js";
import { host, main, serve } from "./support/images-serve.js";

vi.setConfig({ testTimeout: 120_000 });

const root = workFolder("events-command");
let folders = 0;

afterAll(cleanUp);

function newFolder(name = "state"): string {
  return join(root, `${name}-${++folders}`);
}

function event(id: number, more: Partial<GuestEvent> = {}): GuestEvent {
  return {
    id,
    time: new Date().toISOString().replace("Z", "000000Z"),
    event: "created",
    host: "gs1",
    guest: "web",
    volume: "sda1",
    transaction: id,
    path: `/var/log/${id}`,
    ...more,
  };
}

function scoped(events: readonly GuestEvent[]): ScopedEvent[] {
  return events.map((each, index) => ({
    event: each,
    scopes: ["sda1:2"],
    isLast: index === events.length - 1,
  }));
}

/** The part of a daemon that has to do with events. */
class Daemon {
  readonly state: string;
  readonly logs: Logs;
  readonly #control: Control;

  private constructor(state: string, limit?: number) {
    this.state = state;
    mkdirSync(state, { recursive: true, mode: 0o700 });
    this.logs = new Logs({
      folder: eventsFolder(state),
      guests: ["web", "db"],
      ...(limit === undefined ? {} : { limit }),
      log: () => {},
    });
    this.#control = new Control({
      directory: state,
      events: this.logs,
      status: () => ({ guests: 2 }),
      metrics: async () => "",
      run: async () => ({ lines: [], guests: [] }),
    });
  }

  static async start(state: string, limit?: number): Promise<Daemon> {
    const daemon = new Daemon(state, limit);
    await daemon.#control.start();
    return daemon;
  }

  tell(...events: GuestEvent[]): void {
    const told = scoped(events);
    this.logs.guest((events[0] as GuestEvent).guest).append(told);
    this.logs.everything.append(told);
  }

  async stop(): Promise<void> {
    await this.#control.stop();
    this.logs.close();
  }
}

interface Command {
  readonly child: ChildProcess;
  output: string;
  errors: string;
  /** The exit code. */
  readonly ended: Promise<number>;
}

function start(program: string, args: readonly string[], environment: NodeJS.ProcessEnv = {}): Command {
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, TZ: "UTC", NO_COLOR: undefined, ...environment },
  });
  endWithTests(child);
  const command: Command = {
    child,
    output: "",
    errors: "",
    ended: once(child, "close").then(([code]) => code as number),
  };
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    command.output += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    command.errors += text;
  });
  return command;
}

async function events(...args: string[]): Promise<{ code: number; output: string; errors: string }> {
  const command = start(process.execPath, [main, "events", ...args]);
  const code = await command.ended;
  return { code, output: command.output, errors: command.errors };
}

function idsIn(output: string): number[] {
  return output
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => (JSON.parse(line) as GuestEvent).id);
}

async function until(what: () => boolean): Promise<void> {
  for (let tries = 0; tries < 1500 && !what(); tries++) await sleep(20);
  expect(what()).toBe(true);
}

describe("slashcloud events", () => {
  test("prints what was told, with and without a daemon, by pattern and by time", async () => {
    const daemon = await Daemon.start(newFolder());
    const { state } = daemon;
    daemon.tell(event(1, { time: "2026-01-01T00:00:00.000000000Z", path: "/etc/passwd" }));
    daemon.tell(event(2), event(3, { path: "/etc/shadow" }));
    daemon.tell(event(1, { guest: "db", path: "/etc/shadow" }));
    const stored = readFileSync(join(eventsFolder(state), "everything/1"), "utf8");
    const lines = [...stored.matchAll(/\t(\{"id.*\n)/g)].map(([, json]) => json);
    expect(lines).toHaveLength(4);
    const check = async () => {
      const all = await events("--state", state, "--json");
      expect(all).toEqual({ code: 0, output: lines.join(""), errors: "" });
      const some = await events("--state", state, "--json", "gs1:*:/etc/s*");
      expect(some.output).toBe(`${lines[2]}${lines[3]}`);
      const one = await events("--state", state, "--json", "*:web:/etc/*");
      expect(one.output).toBe(`${lines[0]}${lines[2]}`);
      const late = await events("--state", state, "--json", "--since", "1h", "*:web:*");
      expect(late.output).toBe(`${lines[1]}${lines[2]}`);
    };
    await check();
    await daemon.stop();
    expect(existsSync(join(state, "control.sock"))).toBe(false);
    await check();
  });

  test("--follow --since has every event once, those before and those as they happen, over rotations", async () => {
    const daemon = await Daemon.start(newFolder(), 30_000);
    const { state, logs } = daemon;
    let id = 0;
    for (; id < 100; ) daemon.tell(event(++id), event(++id));
    const commands = [0, 1, 2].map(() =>
      start(process.execPath, [main, "events", "--state", state, "--follow", "--since", "1h", "--json"]),
    );
    const live = start(process.execPath, [main, "events", "--state", state, "--follow", "--json", "*:web:*"]);
    // Events happen while the commands connect.
    while ([...commands, live].some(({ output }) => output === "")) {
      daemon.tell(event(++id), event(++id));
      await sleep(1);
    }
    const segment = () => Math.max(...readdirSync(join(eventsFolder(state), "everything")).map(Number));
    for (const first = segment(); segment() < first + 3; ) {
      daemon.tell(event(++id), event(++id));
      if (id % 100 === 0) await sleep(1);
    }
    const last = id;
    await until(() => [...commands, live].every(({ output }) => output.includes(`{"id":${last},`)));
    for (const { output } of commands) {
      const ids = idsIn(output);
      const first = ids[0] as number;
      expect(ids.length).toBeGreaterThan(100);
      expect(ids).toEqual(Array.from({ length: last - first + 1 }, (_, index) => first + index));
    }
    const ids = idsIn(live.output);
    expect(ids).toEqual(ids.map((_, index) => (ids[0] as number) + index));
    expect(logs.guest("web").lastId).toBe(last);
    await daemon.stop();
    for (const { ended } of [...commands, live]) expect(await ended).toBe(1);
    expect(live.errors).toBe("slashcloud: the daemon ended\n");
  });

  test("aligns its columns, and shows values before and after", async () => {
    const daemon = await Daemon.start(newFolder());
    const time = "2026-03-04T05:06:07.500000000Z";
    daemon.tell(
      event(1, { time, path: "/a", type: "file", new: { size: 0, mode: "0600", uid: 0 } }),
      event(2, {
        time,
        path: "/a",
        event: "content",
        old: { size: 999 },
        new: { size: 1500 },
        range: [999, 1500],
      }),
      event(3, {
        time,
        path: "/a",
        event: "attributes",
        old: { mode: "0644", uid: 0 },
        new: { mode: "0600", uid: 5 },
      }),
      event(4, { time, path: "/b", event: "renamed", from: "/a" }),
      event(5, {
        time,
        path: "/b",
        event: "xattr",
        old: { xattrs: { "user.x": "1" } },
        new: { xattrs: { "user.y": "2" } },
      }),
      event(6, { time, event: "gap", reason: "the journal was written over" }),
      event(7, { time, path: "/l", event: "symlink", new: { target: "/x\u001b[2J" } }),
    );
    const { output } = await events("--state", daemon.state);
    await daemon.stop();
    expect(output.split("\n")).toEqual([
      "03-04 05:06:07  web     created     /a                        file, 0600, 0 B",
      "03-04 05:06:07  web     content     /a                        999 B → 1.5 kB, bytes 999 to 1500",
      "03-04 05:06:07  web     attributes  /a                        0644 → 0600, uid 0 → 5",
      "03-04 05:06:07  web     renamed     /a → /b",
      '03-04 05:06:07  web     xattr       /b                        user.x removed, user.y = "2"',
      "03-04 05:06:07  web     gap         sda1                      the journal was written over",
      "03-04 05:06:07  web     symlink     /l                        → /x\\x1b[2J",
      "",
    ]);
  });

  test("is coloured on a terminal, unless NO_COLOR is set, and lets no name command the terminal", async () => {
    const daemon = await Daemon.start(newFolder());
    const path = "/x\u001b]0;owned\u0007\u009b31m\n\u202etxt.exe";
    daemon.tell(event(1, { path }));
    const onTerminal = async (environment: NodeJS.ProcessEnv, more = "") => {
      const line = `${process.execPath} ${main} events --state ${daemon.state}${more}`;
      const command = start("script", ["-qec", line, "/dev/null"], environment);
      expect(await command.ended).toBe(0);
      return command.output;
    };
    const shown = "/x\\x1b]0;owned\\x07\\x9b31m\\n\\u{202e}txt.exe";
    const coloured = await onTerminal({});
    expect(coloured).toContain("\u001b[32mcreated\u001b[0m");
    expect(coloured).toContain(shown);
    expect(
      ["\u001b[32m", "\u001b[2m", "\u001b[0m", "\r\n"].reduce(
        (rest, known) => rest.replaceAll(known, ""),
        coloured,
      ),
    ).not.toMatch(/\p{Cc}/u);
    const plain = await onTerminal({ NO_COLOR: "1" });
    expect(plain).not.toContain("\u001b");
    expect(plain).toContain(shown);
    const json = await onTerminal({}, " --json");
    expect(json.replace("\r\n", "")).not.toMatch(/\p{Cc}/u);
    expect((JSON.parse(json) as GuestEvent).path).toBe(path);
    await daemon.stop();
  });

  test("ends quietly when its reader goes away", async () => {
    const daemon = await Daemon.start(newFolder());
    for (let id = 1; id < 5000; ) daemon.tell(...Array.from({ length: 100 }, () => event(id++)));
    const line = `${process.execPath} ${main} events --state ${daemon.state} | head -n 1`;
    const command = start("bash", ["-o", "pipefail", "-c", line]);
    expect(await command.ended).toBe(0);
    expect(command.errors).toBe("");
    expect(command.output).toContain("/var/log/1");
    await daemon.stop();
  });

  test("refuses in one line what it cannot do", async () => {
    const daemon = await Daemon.start(newFolder());
    await daemon.stop();
    const cases: [string[], number, RegExp][] = [
      [
        ["--state", daemon.state, "--follow"],
        1,
        /no daemon keeps its state in .*: start it with slashcloud up/,
      ],
      [["--state", join(root, "none")], 1, /no events: there is no daemon, .*--mount/],
      [["--mount", join(root, "no-mount")], 1, /no events: .*slashcloud.*no%2dmount.*--mount/],
      [["--state", daemon.state, "web"], 2, /web: a pattern is HOST:VM:PATH/],
      [["--state", daemon.state, "*:*:[a"], 2, /no pattern: a "\[" has no "\]"/],
      [["--state", daemon.state, "--since", "noon"], 2, /noon: no time; write one as/],
      [["--state", "a", "--mount", "b"], 2, /cannot be used with option/],
    ];
    for (const [args, code, message] of cases) {
      const refused = await events(...args);
      expect({ args, code: refused.code, output: refused.output }).toEqual({ args, code, output: "" });
      expect(refused.errors.split("\n")[0]).toMatch(message);
    }
  });
});

describe("a daemon that serves a guest", () => {
  test("is followed by its mount point, and keeps a second one out of its state", async () => {
    const image = join(root, "guest.img");
    await run("truncate", ["-s", "32M", image]);
    await run("mke2fs", ["-q", "-F", "-t", "ext4", image]);
    const inside = join(root, "inside");
    await mount(image, inside, "loop");
    writeFileSync(join(inside, "first"), "");
    execFileSync("sync", ["-f", inside]);
    const state = newFolder();
    const served = await serve(join(root, "served"), { web: image }, ["--state", state]);
    const following = start(process.execPath, [
      main,
      "events",
      "--state",
      state,
      "-f",
      "--since",
      "1h",
      `${host}:web:/*.log`,
    ]);
    for (let n = 0; !following.output.includes("/0.log") || n < 3; n++) {
      if (n > 200) throw new Error(`no event came: ${following.output}\n${served.log()}`);
      writeFileSync(join(inside, `${n}.log`), "");
      writeFileSync(join(inside, `${n}.txt`), "");
      execFileSync("sync", ["-f", inside]);
      await sleep(50);
    }
    expect(following.output).toMatch(/^\d\d-\d\d [\d:]{8} {2}web {5}created {5}\/0\.log +file, 0644, 0 B\n/m);
    expect(following.output).not.toContain("txt");
    // Its server is killed, and another one takes over, which has the map of names that was kept.
    await until(() => existsSync(join(state, "maps")) && readdirSync(join(state, "maps")).length > 0);
    const [server] = execFileSync("pgrep", ["-P", String(served.pid)], { encoding: "utf8" }).split("\n");
    expect(Number(server)).toBeGreaterThan(1);
    process.kill(Number(server), "SIGKILL");
    for (let n = 100; n < 110; n++) {
      writeFileSync(join(inside, `${n}.log`), "");
      execFileSync("sync", ["-f", inside]);
      await sleep(50);
    }
    await until(() => following.output.includes("/109.log"));
    const created = [...following.output.matchAll(/created +\/(\d+)\.log/g)].map(([, n]) => Number(n));
    expect(created.filter((n) => n >= 100)).toEqual(Array.from({ length: 10 }, (_, index) => 100 + index));
    expect(created).toEqual([...new Set(created)].sort((a, b) => a - b));
    const second = start(process.execPath, [
      main,
      "up",
      "--mount",
      newFolder("mount"),
      "--state",
      state,
      image,
    ]);
    expect(await second.ended).toBe(1);
    expect(second.errors).toContain(
      `another slashcloud (process ${served.pid}) keeps its state there; stop it`,
    );
    expect(await served.stop()).toBe(0);
    expect(await following.ended).toBe(1);
    const stored = await events("--state", state, "--json", `*:*:/0.log`);
    // A gap concerns all paths.
    expect(
      stored.output.split("\n").filter((line) => line !== "" && !line.includes('"event":"gap"')),
    ).toEqual([expect.stringMatching(/^\{"id":\d+,.*"event":"created".*\}$/)]);
  });
});

describe("a line of text", () => {
  test("has sizes in words", () => {
    expect([0, 999, 1000, 1249, 999_949, 999_950, 5e12].map((size) => sizeText(size))).toEqual([
      "0 B",
      "999 B",
      "1.0 kB",
      "1.2 kB",
      "999.9 kB",
      "1.0 MB",
      "5.0 TB",
    ]);
  });

  test("escapes so that two names never look the same", () => {
    expect(visible("a\\nb")).toBe("a\\\\nb");
    expect(visible("a\nb\ud800")).toBe("a\\nb\\u{d800}");
    expect(visible("größe 😀")).toBe("größe 😀");
  });

  test("shows of an event what is known", () => {
    const text = new EventText(false);
    expect(text.line({ event: "deleted", inode: 12, name: "x" })).toContain("?/x");
    expect(text.line({ event: "content", inode: 12 })).toContain("inode 12");
    expect(text.line({ event: "gap", time: "rubbish", reason: "r" })).toMatch(/^- +- {7}gap +- +r\n$/);
  });
});

describe("the control socket", () => {
  async function get(
    socketPath: string,
    path: string,
    method = "GET",
  ): Promise<{ status: number; body: unknown }> {
    const asked = request({ socketPath, path, method }).end();
    const [answer] = await once(asked, "response");
    let text = "";
    for await (const piece of answer) text += piece;
    return { status: answer.statusCode, body: JSON.parse(text) };
  }

  test("is for its user alone, answers in JSON, and takes the place of one that was left", async () => {
    const state = newFolder();
    mkdirSync(state);
    // What a killed daemon leaves: a socket that nobody listens on.
    const left = spawn(process.execPath, [
      "-e",
      `require("net").createServer().listen(${JSON.stringify(join(state, "control.sock"))}, () => process.kill(process.pid, "SIGKILL"))`,
    ]);
    await once(left, "close");
    expect(statSync(join(state, "control.sock")).isSocket()).toBe(true);
    const daemon = await Daemon.start(state);
    const socket = join(state, "control.sock");
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    expect(await get(socket, "/v1/status")).toEqual({ status: 200, body: { guests: 2 } });
    expect(await get(socket, "/v2/x")).toMatchObject({
      status: 404,
      body: { error: expect.stringMatching(/v2/) },
    });
    expect(await get(socket, "/v1/status", "POST")).toMatchObject({ status: 405 });
    expect(await get(socket, "/v1/events?pattern=x")).toMatchObject({ status: 400 });
    expect(await get(socket, "/v1/events?since=x")).toMatchObject({ status: 400 });
    await daemon.stop();
  });

  test("works in a directory whose name is too long for a socket", async () => {
    const daemon = await Daemon.start(join(newFolder(), "long".repeat(40)));
    daemon.tell(event(1));
    expect(idsIn((await events("--state", daemon.state, "--json")).output)).toEqual([1]);
    await daemon.stop();
    expect(readdirSync(daemon.state)).toEqual(["events"]);
  });

  test("tells a reader that stopped reading how much it missed, and waits for nobody", async () => {
    const daemon = await Daemon.start(newFolder());
    const asked = request({
      socketPath: join(daemon.state, "control.sock"),
      path: "/v1/events?follow=1",
    }).end();
    const [answer] = await once(asked, "response");
    let id = 0;
    const path = `/${"x".repeat(500)}`;
    for (let round = 0; round < 60; round++) {
      daemon.tell(...Array.from({ length: 500 }, () => event(++id, { path })));
      await sleep(1);
    }
    let text = "";
    answer.setEncoding("utf8").on("data", (piece: string) => {
      text += piece;
    });
    // Once it has been told of the gap, it has what comes then.
    await until(() => text.includes("passed over"));
    daemon.tell(event(++id));
    await until(() => text.includes(`{"id":${id},`));
    let expected = 1;
    for (const line of text.trim().split("\n")) {
      const told = JSON.parse(line) as GuestEvent;
      if (told.event === "gap") expected += Number.parseInt(told.reason ?? "", 10);
      else expect(told.id).toBe(expected++);
    }
    expect(expected).toBe(id + 1);
    await daemon.stop();
  });
});

describe("a state directory", () => {
  test("is named after the mount point, for root and for others", () => {
    expect(stateDirectoryFor("/cloud", undefined)).toBe("/var/lib/slashcloud/cloud");
    expect(stateDirectoryFor("/mnt/my-cloud/", undefined)).toBe("/var/lib/slashcloud/mnt-my%2dcloud");
    expect(stateDirectoryFor("/cloud", "some/where")).toBe(join(process.cwd(), "some/where"));
    const long = stateDirectoryFor(`/${"x".repeat(300)}`, undefined);
    expect(long).toMatch(/^\/var\/lib\/slashcloud\/[0-9a-f]{64}$/);
    const asUser = (environment: string) =>
      execFileSync("setpriv", [
        "--reuid=65534",
        "env",
        "HOME=/home/u",
        environment,
        process.execPath,
        "--input-type=module",
        "-e",
        `const { stateDirectoryFor } = await import(${JSON.stringify(join(main, "../daemon/state-directory.js"))});
         console.log(stateDirectoryFor("/mnt/c", undefined));`,
      ])
        .toString()
        .trim();
    expect(asUser("XDG_STATE_HOME=/x/state")).toBe("/x/state/slashcloud/mnt-c");
    expect(asUser("XDG_STATE_HOME=relative")).toBe("/home/u/.local/state/slashcloud/mnt-c");
  });

  test("is one daemon's alone, until it ends or is killed", async () => {
    const path = newFolder();
    const take = (then: string) =>
      start(process.execPath, [
        "--input-type=module",
        "-e",
        `const { StateDirectory } = await import(${JSON.stringify(join(main, "../daemon/state-directory.js"))});
         const state = new StateDirectory(${JSON.stringify(path)});
         console.log("taken");
         ${then}`,
      ]);
    const first = take("setInterval(() => {}, 1000);");
    await until(() => first.output !== "");
    expect(statSync(path).mode & 0o777).toBe(0o700);
    expect(() => new StateDirectory(path)).toThrow(
      `${path}: another slashcloud (process ${first.child.pid}) keeps its state there; stop it, or use another directory with --state`,
    );
    first.child.kill("SIGKILL");
    await first.ended;
    // Many at once want what it left: one gets it.
    const many = Array.from({ length: 6 }, () => take("setInterval(() => {}, 1000);"));
    onEnd(() => {
      for (const { child } of many) child.kill("SIGKILL");
    });
    await until(() => many.filter(({ output, errors }) => output + errors !== "").length === many.length);
    expect(many.filter(({ output }) => output === "taken\n")).toHaveLength(1);
    for (const { child } of many) child.kill("SIGKILL");
    await Promise.all(many.map(({ ended }) => ended));
    const second = new StateDirectory(path);
    second.close();
    const locks = readdirSync(path);
    expect(locks).toHaveLength(1);
    // The number of the process is another one's by now.
    writeFileSync(join(path, locks[0] as string), `${process.pid} 12345\n`);
    new StateDirectory(path).close();
    // It was killed, and its parent does not ask what became of it: /bin/sh goes on as a program that never does.
    const taken = start("/bin/sh", [
      "-c",
      `"$0" --input-type=module -e "$1" & exec sleep 60`,
      process.execPath,
      `const { StateDirectory } = await import(${JSON.stringify(join(main, "../daemon/state-directory.js"))});
       new StateDirectory(${JSON.stringify(path)});
       console.log(process.pid);
       setInterval(() => {}, 1000);`,
    ]);
    await until(() => taken.output !== "");
    expect(Number(taken.output)).toBeGreaterThan(1);
    process.kill(Number(taken.output), "SIGKILL");
    await until(() => / Z /.test(readFileSync(`/proc/${taken.output.trim()}/stat`, "utf8")));
    new StateDirectory(path).close();
    taken.child.kill("SIGKILL");
  });

  test("that cannot be used is told in one line, if it was named; else there are no events", async () => {
    const file = newFolder();
    writeFileSync(file, "");
    const image = join(root, "empty.img");
    await run("truncate", ["-s", "1M", image]);
    const refused = start(process.execPath, [main, "up", "--mount", root, "--state", join(file, "x"), image]);
    expect(await refused.ended).toBe(1);
    expect(refused.errors).toMatch(/^slashcloud: .*x: cannot be used for the daemon's state: ENOTDIR.*\n$/);
    const environment = { HOME: file, XDG_STATE_HOME: "" };
    const up = [process.execPath, main, "up", "--driver", "libfuse", "--mount", "/proc", image];
    const without = start("setpriv", ["--reuid=65534", "--clear-groups", ...up], environment);
    expect(await without.ended).toBe(1);
    expect(without.errors).toMatch(/^slashcloud: no events are told, as .* cannot be used: .*--state\n/);
  });
});
