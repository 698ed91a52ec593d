import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { deserialize } from "bson";
import type { Redis } from "ioredis";
import { afterAll, describe, expect, test, vi } from "vitest";
import { publishOn } from "../src/daemon/publishing.js";
import { eventsFolder } from "../src/daemon/state-directory.js";
import type { GuestEvent } from "../src/events/event.js";
import { Logs } from "../src/events/logs.js";
import { parseAddress } from "../src/events/redis/address.js";
import { documentOf } from "../src/events/redis/document.js";
import type { Publisher } from "../src/events/redis/publisher.js";
import { cleanUp, endWithTests, mount, run, workFolder } from "./support/images-mount.js";
import { host, main, serve } from "./support/images-serve.js";
import { DURABLE, RedisServer } from "./support/redis-server.js";

vi.setConfig({ testTimeout: 120_000 });

const root = workFolder("redis");
let folders = 0;

afterAll(cleanUp);

function newFolder(name = "state"): string {
  return join(root, `${name}-${++folders}`);
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await condition()); tries++) {
    if (tries > 3000) throw new Error("it did not happen within 30 s");
    await sleep(10);
  }
}

function event(id: number, more: Partial<GuestEvent> = {}): GuestEvent {
  return {
    id,
    time: "2026-01-31T12:00:00.123456789Z",
    event: "created",
    host: "gs1",
    guest: "web",
    volume: "sda1",
    transaction: id,
    path: `/var/log/${id}`,
    ...more,
  };
}

/** The part of a daemon that has to do with events on Redis. */
class Daemon {
  readonly logs: Logs;
  readonly publisher: Publisher;
  readonly lines: string[] = [];
  #id: number;

  constructor(url: string, state: string, { limit = 64 << 20, mostEntries = 1_000_000 } = {}) {
    mkdirSync(state, { recursive: true });
    const log = (line: string) => void this.lines.push(line);
    this.logs = new Logs({ folder: eventsFolder(state), guests: ["web"], limit, log });
    this.#id = this.logs.guest("web").lastId;
    this.publisher = publishOn(
      { address: parseAddress(url), mostEntries, mostData: 0 },
      { host: "gs1", guests: ["web"], logs: this.logs, read: () => undefined, state, log },
    );
  }

  tell(count = 1, more: Partial<GuestEvent> = {}): void {
    const told = Array.from({ length: count }, (_, index) => ({
      event: event(++this.#id, more),
      scopes: ["sda1:2"],
      isLast: index === count - 1,
    }));
    this.logs.guest("web").append(told);
    this.logs.everything.append(told);
    this.publisher.offer(told);
  }

  get lastId(): number {
    return this.#id;
  }

  async allSent(): Promise<void> {
    await until(() => this.publisher.status.isConnected && this.publisher.status.waiting === 0);
  }

  async stop(): Promise<void> {
    await this.publisher.stop();
    this.logs.close();
  }
}

interface StreamEntry {
  readonly streamId: string;
  readonly fields: Record<string, Buffer>;
  readonly event: Record<string, unknown>;
}

async function stream(client: Redis, key = "slashcloud:gs1:web"): Promise<StreamEntry[]> {
  return (await client.xrangeBuffer(key, "-", "+")).map(([streamId, list]) => {
    const fields: Record<string, Buffer> = {};
    for (let at = 0; at < list.length; at += 2) fields[String(list[at])] = list[at + 1] as Buffer;
    return {
      streamId: String(streamId),
      fields,
      event: deserialize(fields.event as Buffer, { promoteBuffers: true }),
    };
  });
}

const ids = (entries: readonly StreamEntry[]) => entries.map(({ event: { id } }) => id as number);
const upTo = (last: number, first = 1) => Array.from({ length: last - first + 1 }, (_, n) => first + n);

/** What comes on channels that match patterns. */
async function listen(server: RedisServer, ...patterns: string[]) {
  const client = server.client();
  const heard: { channel: string; event: Record<string, unknown> }[] = [];
  client.on("pmessageBuffer", (_: Buffer, channel: Buffer, document: Buffer) => {
    heard.push({
      channel: channel.toString("latin1"),
      event: deserialize(document, { promoteBuffers: true }),
    });
  });
  await client.psubscribe(...patterns);
  return heard;
}

interface Command {
  readonly child: ChildProcess;
  output: string;
  readonly ended: Promise<number>;
}

function start(program: string, ...args: string[]): Command {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  endWithTests(child);
  const command: Command = {
    child,
    output: "",
    ended: once(child, "close").then(([code]) => code as number),
  };
  for (const from of [child.stdout, child.stderr])
    from.setEncoding("utf8").on("data", (text: string) => {
      command.output += text;
    });
  return command;
}

describe("the address of a Redis", () => {
  test("has these forms", () => {
    expect(parseAddress("redis://r")).toEqual({
      kind: "server",
      shown: "redis://r",
      endpoints: [{ host: "r", port: 6379 }],
      database: 0,
    });
    expect(parseAddress("rediss://me:p%40s%2Fs@[::1]:7000/2")).toEqual({
      kind: "server",
      shown: "rediss://[::1]:7000/2",
      endpoints: [{ host: "::1", port: 7000 }],
      database: 2,
      username: "me",
      password: "p@s/s",
      tls: {},
    });
    expect(parseAddress("redis+unix://:p@/run/r%20s.sock")).toMatchObject({
      path: "/run/r s.sock",
      password: "p",
    });
    expect(parseAddress("redis+sentinel://a,b:7/mymaster/3?sentinel-password=s")).toMatchObject({
      kind: "sentinel",
      endpoints: [
        { host: "a", port: 26379 },
        { host: "b", port: 7 },
      ],
      master: "mymaster",
      database: 3,
      sentinelPassword: "s",
    });
    expect(parseAddress("rediss+cluster://a,b:7")).toMatchObject({
      kind: "cluster",
      endpoints: [
        { host: "a", port: 6379 },
        { host: "b", port: 7 },
      ],
      tls: {},
    });
  });

  test("is refused in one line that keeps its password to itself", async () => {
    const bad: [string, RegExp][] = [
      ["http://:secret@r", /write it as redis:/],
      ["redis://secret@r", /USER:PASSWORD@/],
      ["redis://", /"" is no HOST/],
      ["redis://:secret@r:70000", /"r:70000" is no HOST/],
      ["redis://a,b", /several hosts/],
      ["redis://r/x", /no number of a database/],
      ["redis+sentinel://r", /master's name is missing/],
      ["redis+cluster://r/1", /one database only/],
      ["redis+unix://run", /redis\+unix:\/\/\/run/],
      ["redis://r?ca=x", /"ca" is not known/],
      ["redis://:%secret@r", /%25/],
    ];
    for (const [url, message] of bad) {
      expect(() => parseAddress(url), url).toThrow(SyntaxError);
      expect(() => parseAddress(url), url).toThrow(message);
      expect(() => parseAddress(url), url).not.toThrow(/secret/);
    }
    const up = (...args: string[]) =>
      start(process.execPath, main, "up", "--mount", root, ...args, "none.img");
    const malformed = up("--redis", "redis:r");
    expect(await malformed.ended).toBe(2);
    expect(malformed.output).toMatch(/^slashcloud: the address of Redis: write it as .*\n$/);
    const unreadable = up("--redis", "rediss://r?ca=/none/ca.pem");
    expect(await unreadable.ended).toBe(1);
    expect(unreadable.output).toMatch(/^slashcloud: the address of Redis names a file .*\/none\/ca.pem.*\n$/);
    const without = up("--redis", "redis://r", "--no-events");
    expect(await without.ended).toBe(2);
    expect(without.output).toMatch(/^slashcloud: --redis publishes events, and --no-events .*\n$/);
  });
});

describe("an event on Redis", () => {
  test("is published on its path's channel, and a rename on both, with the fields that it has in JSON", async () => {
    const server = await RedisServer.start(newFolder("redis"));
    const logs = await listen(server, "gs1:web:/var/log/*");
    const others = await listen(server, "gs1:web:", "gs1:web:/[ft]*");
    const daemon = new Daemon(`redis+unix://${server.socket}`, newFolder());
    const values = { size: 5_000_000_000, mode: "0644", xattrs: { "user.a\0b": "1", _bsontype: "2" } };
    daemon.tell(1, { inode: 4_000_000_000, type: "file", range: [0, 7], old: { size: 0 }, new: values });
    daemon.tell(1, { event: "renamed", path: "/to", from: "/from" });
    const bytes = Buffer.from("2f6602ff", "hex");
    daemon.tell(1, { path: bytes.toString(), pathBytes: bytes.toString("base64") });
    await until(() => logs.length === 1 && others.length === 3);
    expect(logs[0]).toEqual({
      channel: "gs1:web:/var/log/1",
      event: {
        ...event(1, { inode: 4_000_000_000, type: "file", range: [0, 7], old: { size: 0 } }),
        at: new Date("2026-01-31T12:00:00.123Z"),
        new: { ...values, xattrs: { "user.a\ufffdb": "1", _bsontype: "2" } },
      },
    });
    expect(others.map(({ channel }) => channel)).toEqual([
      "gs1:web:/to",
      "gs1:web:/from",
      "gs1:web:/f\x02\xff",
    ]);
    expect(others[0]?.event).toEqual(others[1]?.event);
    expect(others[2]?.event.pathBytes).toEqual(bytes);
    await daemon.allSent();
    const entries = await stream(server.client());
    expect(ids(entries)).toEqual([1, 2, 3]);
    expect(entries[1]?.fields).toMatchObject({
      id: Buffer.from("2"),
      channel: Buffer.from("gs1:web:/to"),
      from: Buffer.from("gs1:web:/from"),
    });
    expect(entries.every(({ streamId }, n) => streamId.endsWith(`-${n + 1}`))).toBe(true);
    // Whole numbers are 64 bits wide, whatever their value.
    const raw = deserialize(documentOf(event(1)), { promoteLongs: false, promoteValues: false });
    expect(raw.id._bsontype).toBe("Long");
    expect(daemon.publisher.status).toMatchObject({ isConnected: true, published: 3, waiting: 0, missed: 0 });
    await daemon.stop();
  });

  test("is in the stream once and in order, though Redis is killed again and again under load", async () => {
    const server = await RedisServer.start(newFolder("redis"), DURABLE);
    const daemon = new Daemon(server.url, newFolder());
    const heard = await listen(server, "gs1:web:*");
    let isDone = false;
    const load = (async () => {
      while (!isDone) {
        daemon.tell(1 + (daemon.lastId % 60));
        await sleep(daemon.lastId % 3);
      }
    })();
    for (let round = 0; round < 4; round++) {
      await sleep(300);
      await server.kill();
      await sleep(100);
      await server.start();
    }
    isDone = true;
    await load;
    await daemon.allSent().catch(() => console.log(daemon.publisher.status, daemon.lines, daemon.lastId));
    expect(daemon.lastId).toBeGreaterThan(1000);
    expect(ids(await stream(server.client()))).toEqual(upTo(daemon.lastId));
    expect(heard.length).toBeGreaterThan(0);
    expect(daemon.lines.filter((line) => line.includes("not published"))).toHaveLength(4);
    await daemon.stop();
  });

  test("waits for a Redis that hangs, in bounded memory, and comes from the log then", async () => {
    const server = await RedisServer.start(newFolder("redis"));
    const state = newFolder();
    const daemon = new Daemon(server.url, state);
    daemon.tell();
    await daemon.allSent();
    server.signal("SIGSTOP");
    // More than waits in memory.
    for (let round = 0; round < 60; round++) {
      daemon.tell(400);
      await sleep(1);
    }
    expect(daemon.publisher.status.waiting).toBe(24_000);
    server.signal("SIGCONT");
    daemon.tell(10);
    await daemon.allSent();
    expect(ids(await stream(server.client()))).toEqual(upTo(24_011));
    await daemon.stop();
    // Another daemon with the same state goes on; events that were told while none published are sent.
    const quiet = new Daemon(`redis+unix://${newFolder("no")}.sock`, state);
    quiet.tell(5);
    await quiet.stop();
    const next = new Daemon(server.url, state);
    next.tell(3);
    await next.allSent();
    expect(ids(await stream(server.client()))).toEqual(upTo(24_019));
    await next.stop();
  });

  test("that no log has any longer is counted by a gap", async () => {
    const server = await RedisServer.start(newFolder("redis"), DURABLE);
    const daemon = new Daemon(server.url, newFolder(), { limit: 64 << 10 });
    daemon.tell(10);
    await daemon.allSent();
    await server.kill();
    for (let round = 0; round < 70; round++) {
      daemon.tell(400);
      await sleep(0);
    }
    await server.start();
    const client = server.client();
    await daemon.allSent();
    const entries = await stream(client);
    expect(ids(entries.slice(0, 10))).toEqual(upTo(10));
    const [gap, ...rest] = entries.slice(10).map((entry) => entry.event);
    const { missed, id } = gap as { missed: number; id: number };
    expect(gap).toMatchObject({
      event: "gap",
      id: 10 + missed,
      reason: expect.stringContaining(`${missed} events were`),
    });
    expect(missed).toBeGreaterThan(20_000);
    expect(rest.map((each) => each.id)).toEqual(upTo(daemon.lastId, id + 1));
    expect(daemon.publisher.status).toMatchObject({ missed, published: rest.length + 10 });
    expect(entries[10]?.fields.channel?.toString()).toBe("gs1:web:");
    await daemon.stop();
  });

  test("is sent again to a Redis that lost it, and counted anew when the daemon's state is lost", async () => {
    const server = await RedisServer.start(newFolder("redis"));
    const state = newFolder();
    const daemon = new Daemon(server.url, state, { mostEntries: 100 });
    daemon.tell(50);
    await daemon.allSent();
    await server.kill();
    daemon.tell(5);
    await server.start();
    await daemon.allSent();
    const client = server.client();
    expect(ids(await stream(client))).toEqual(upTo(55));
    for (let round = 0; round < 20; round++) daemon.tell(50);
    await daemon.allSent();
    // About 100: Redis drops whole nodes of its stream.
    expect(await client.xlen("slashcloud:gs1:web")).toBeLessThan(400);
    await daemon.stop();
    rmSync(state, { recursive: true });
    const before = await stream(client);
    const anew = new Daemon(server.url, state);
    anew.tell(7);
    await anew.allSent();
    const after = (await stream(client)).slice(before.length);
    expect(ids(after)).toEqual(upTo(7));
    // Two of the same name do not mix their events.
    const double = new Daemon(server.url, newFolder());
    double.tell(2);
    await double.allSent();
    anew.tell();
    await until(() => anew.lines.length > 0);
    expect(anew.lines[0]).toMatch(/another slashcloud publishes slashcloud:gs1:web there: give one of them/);
    expect(ids((await stream(client)).slice(before.length))).toEqual([...upTo(7), 1, 2]);
    await Promise.all([anew.stop(), double.stop()]);
  });
});

describe("a Redis with a lock on its door", () => {
  test("is reached by TLS with a certificate of its own, and a user's password", async () => {
    const folder = newFolder("redis");
    mkdirSync(folder);
    const file = (name: string) => join(folder, name);
    await run("openssl", [
      ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
      ...["-keyout", file("key.pem"), "-out", file("cert.pem"), "-subj", "/CN=redis"],
      ...["-addext", "subjectAltName=IP:127.0.0.1"],
    ]);
    const server = await RedisServer.start(folder, [
      ...["--tls-cert-file", file("cert.pem"), "--tls-key-file", file("key.pem"), "--tls-auth-clients", "no"],
      ...["--user", "teller", "on", ">pass/w@rd", "allchannels", "+@all", "~slashcloud:*"],
      ...["--user", "default", "on", ">other", "allchannels", "allkeys", "+@all"],
      ...["--tls-port", "0"],
    ]);
    const client = server.client({ password: "other" });
    const port = server.port + 1;
    for (let tls = port; ; tls++) {
      if (await client.config("SET", "tls-port", tls).catch(() => undefined)) {
        const base = `rediss://teller:pass%2Fw%40rd@127.0.0.1:${tls}`;
        const daemon = new Daemon(`${base}?ca=${file("cert.pem")}`, newFolder());
        daemon.tell(3);
        await daemon.allSent();
        expect(ids(await stream(client))).toEqual([1, 2, 3]);
        const unknown = new Daemon(base, newFolder());
        await until(() => unknown.lines.length > 0);
        expect(unknown.lines).toEqual([
          expect.stringMatching(`^rediss://127.0.0.1:${tls}: events are not published .*certificate`),
        ]);
        const wrong = new Daemon(`redis://teller:wrong@127.0.0.1:${server.port}`, newFolder());
        wrong.tell();
        await until(() => wrong.lines.length > 0);
        expect(wrong.lines).toEqual([expect.stringMatching(/: events are not published .*WRONGPASS/)]);
        expect(wrong.publisher.status).toMatchObject({ published: 0, waiting: 1 });
        expect(wrong.publisher.status.lastError).toMatch(/WRONGPASS/);
        await Promise.all([daemon.stop(), unknown.stop(), wrong.stop()]);
        break;
      }
      if (tls > port + 100) throw new Error("redis-server has no TLS");
    }
  });
});

describe("a served guest", () => {
  test("is watched by monitors in JavaScript and Python, which go on where they were", async () => {
    const server = await RedisServer.start(newFolder("redis"), DURABLE);
    const image = join(root, "guest.img");
    await run("truncate", ["-s", "32M", image]);
    await run("mke2fs", ["-q", "-F", "-t", "ext4", image]);
    const inside = join(root, "inside");
    await mount(image, inside, "loop");
    mkdirSync(join(inside, "var/log"), { recursive: true });
    execFileSync("sync", ["-f", inside]);
    const state = newFolder();
    const mountPoint = newFolder("served");
    const options = ["--state", state, "--redis", server.url, "--redis-data", "16"];
    const served = await serve(mountPoint, { web: image }, options);
    const monitors = join(import.meta.dirname, "../docs/monitors");
    const languages = [
      [process.execPath, join(monitors, "monitor.mjs")],
      // Debian's own, as its packages are.
      ["/usr/bin/python3", join(monitors, "monitor.py")],
    ] as const;
    const listeners = languages.map(([language, file]) =>
      start(language, file, server.url, `${host}:web:/var/log/*`),
    );
    const client = server.client();
    const listening = async () => String(await client.client("LIST")).match(/ psub=2 /g)?.length ?? 0;
    await until(async () => (await listening()) === 2);
    const write = (name: string) => {
      writeFileSync(join(inside, name), "text\n");
      execFileSync("sync", ["-f", inside]);
    };
    write("var/log/one");
    write("elsewhere");
    renameSync(join(inside, "var/log/one"), join(inside, "moved"));
    execFileSync("sync", ["-f", inside]);
    await until(() => listeners.every(({ output }) => output.includes('"renamed"')));
    for (const { output } of listeners) {
      expect(output).toMatch(/^oracle:web:\/var\/log\/one \d{4}-\d\d-\d\dT[\d:.]{12}Z \{.*"created"/m);
      expect(output).not.toContain("elsewhere");
    }
    // Of bytes that were added as many come along as was said.
    const key = `slashcloud:${host}:web`;
    for (const text of ["more\n", "a line that is longer\n", "the end\n"]) {
      appendFileSync(join(inside, "elsewhere"), text);
      execFileSync("sync", ["-f", inside]);
    }
    const added = async () =>
      (await stream(client, key)).filter(
        ({ event: { path, data } }) => path === "/elsewhere" && data !== undefined,
      );
    await until(async () => (await added()).length === 4);
    expect((await added()).map(({ event: { dataOffset, data } }) => [dataOffset, String(data)])).toEqual([
      [0, "text\n"],
      [5, "more\n"],
      [10, "a line that is l"],
      [32, "the end\n"],
    ]);
    // A hanging Redis holds nobody up: neither the tree, nor .events.
    server.signal("SIGSTOP");
    write("var/log/two");
    await until(() => readFileSync(join(served.volume("web"), ".events"), "utf8").includes("/var/log/two"));
    expect(readFileSync(join(served.guest("web"), "var/log/two"), "utf8")).toBe("text\n");
    server.signal("SIGCONT");
    const paths = async () => (await stream(client, key)).map((entry) => entry.event.path);
    await until(async () => (await paths()).includes("/var/log/two"));
    const followers = languages.map(([language, file]) => start(language, file, server.url, `${host}:web`));
    await until(() => followers.every(({ output }) => output.includes("/var/log/two")));
    const last = followers.map(({ output }) => output.trim().split("\n").at(-1)?.split(" ")[0] as string);
    for (const { child } of [...followers, ...listeners]) child.kill();
    // The server is killed, and another one takes over; nobody listens meanwhile.
    const [serverPid] = execFileSync("pgrep", ["-P", String(served.pid)], { encoding: "utf8" }).split("\n");
    process.kill(Number(serverPid), "SIGKILL");
    // Paths come as soon as it has read the guest's names.
    for (let n = 0; !(await paths()).some((path) => String(path).startsWith("/var/log/three")); n++) {
      write(`var/log/three-${n}`);
      await sleep(50);
    }
    const resumed = languages.map(([language, file], n) =>
      start(language, file, server.url, `${host}:web`, last[n] as string),
    );
    await until(() => resumed.every(({ output }) => output.includes("/var/log/three")));
    for (const { output } of resumed) expect(output).not.toContain("/var/log/two");
    const all = ids(await stream(client, key));
    expect(all).toEqual(upTo(all.at(-1) as number));
    const asked = request({ socketPath: join(state, "control.sock"), path: "/v1/status" }).end();
    const [answer] = await once(asked, "response");
    let text = "";
    for await (const piece of answer) text += piece;
    expect(JSON.parse(text).redis).toMatchObject({
      server: server.url,
      isConnected: true,
      waiting: 0,
      missed: 0,
    });
    // Without Redis it ends as soon, and starts.
    await server.kill();
    expect(await served.stop()).toBe(0);
    const without = await serve(mountPoint, { web: image }, options);
    write("var/log/four");
    await until(() => readFileSync(join(without.guest("web"), "var/log/four"), "utf8") === "text\n");
    await until(() => /redis:\/\/[\d.:]+: events are not published until .*ECONNREFUSED/.test(without.log()));
    await server.start();
    for (let n = 0; !(await paths()).some((path) => String(path).startsWith("/var/log/five")); n++) {
      write(`var/log/five-${n}`);
      await sleep(50);
    }
    const sent = ids(await stream(client, key));
    expect(sent).toEqual(upTo(sent.at(-1) as number));
    expect(await without.stop()).toBe(0);
  });
});
