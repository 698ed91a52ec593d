/** Disks read from NBD servers without a mount: those that are in use, and those that mean no good. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Connection } from "../src/images/nbd/connection.js";
import { isNbdUrl, parseNbdUrl, resolveNbdUrl } from "../src/images/nbd/url.js";
import { cleanUp, endWithTests, onEnd, run, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";
import { nbdkit, qemuNbd, startServer } from "./support/nbd-servers.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const folder = workFolder("nbd-client");
const image = join(folder, "disk.img");
const source = join(folder, "source");
const at = (name: string): string => join(folder, `${name}.sock`);

beforeAll(async () => {
  mkdirSync(join(source, "etc"), { recursive: true });
  writeFileSync(join(source, "etc", "hostname"), "web\n");
  writeFileSync(join(source, "holes"), Buffer.alloc(3 << 20));
  writeFileSync(
    join(source, "large"),
    Buffer.from(Array.from({ length: 500_000 }, (_, line) => `${line}\n`).join("")),
  );
  await run("truncate", ["-s", "64M", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-d", source, image]);
});
afterAll(cleanUp);

/** Runs slashcloud; returns its output, its error output and its exit code. */
async function slashcloud(...args: string[]): Promise<{ out: string; errors: string; code: number }> {
  const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  endWithTests(child);
  let out = "";
  let errors = "";
  child.stdout.setEncoding("latin1").on("data", (text: string) => {
    out += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  const [code] = (await once(child, "close")) as [number];
  return { out, errors, code };
}

/** All that the one-shot commands say of a disk. */
async function everything(name: string): Promise<string> {
  const inside = ["etc/hostname", "large", "holes"].map((path) => `${name}:/${path}`);
  const said = [
    await slashcloud("volumes", name),
    await slashcloud("ls", "-lR", `${name}:/`),
    await slashcloud("cat", ...inside),
    await slashcloud("stat", `${name}:/etc/hostname`),
  ];
  expect(said.map(({ errors, code }) => `${errors}${code}`)).toEqual(["0", "0", "0", "0"]);
  return said.map(({ out }) => out).join("");
}

describe("a disk on an NBD server", () => {
  test.each([
    ["qemu-nbd", "/web", (socket: string) => qemuNbd(socket, image, "-r", "-f", "raw", "-x", "web")],
    ["qemu-nbd that may be written to", "/", (socket: string) => qemuNbd(socket, image, "-f", "raw")],
    ["nbdkit", "/", (socket: string) => nbdkit(socket, image)],
    ["nbdkit with simple replies", "/", (socket: string) => nbdkit(socket, image, "--no-sr")],
    [
      "nbdkit without a fixed handshake",
      "/",
      (socket: string) => nbdkit(socket, image, "--mask-handshake=0"),
    ],
    [
      "nbdkit that takes only whole blocks, and few at a time",
      "/",
      (socket: string) =>
        nbdkit(
          socket,
          image,
          "--filter=blocksize-policy",
          ...["blocksize-minimum=4096", "blocksize-preferred=4096", "blocksize-maximum=8192"],
          "blocksize-error-policy=error",
        ),
    ],
    [
      "nbdkit that splits its answers",
      "/",
      (socket: string) =>
        nbdkit(socket, image, "--filter=noparallel", "--filter=blocksize", "minblock=512", "maxdata=1024"),
    ],
  ] as const)("reads as the disk itself: %s", async (name, path, start) => {
    const socket = at(name.replaceAll(/\W/g, ""));
    const server = await start(socket);
    expect(await everything(`nbd+unix://${path}?socket=${socket}`)).toBe(await everything(image));
    await server.kill();
  });

  test("is read over TCP, too", async () => {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    const pid = join(folder, "tcp.pid");
    const options = ["-f", "-r", "-i", "127.0.0.1", "-p", `${port}`, "-P", pid];
    const nbd = await startServer(pid, "nbdkit", ...options, "file", image);
    for (const url of [`nbd://127.0.0.1:${port}`, `nbd://localhost:${port}/any`])
      expect((await slashcloud("cat", `${url}:/etc/hostname`)).out).toBe("web\n");
    await nbd.kill();
  });

  test("whose sectors fail: only the file that lies there cannot be read", async () => {
    // A block amid the file, far from all that tells where it lies.
    const block = Number((await run("debugfs", ["-R", "bmap /large 500", image])).trim());
    const size = Number(/Block size:\s+(\d+)/.exec(await run("dumpe2fs", ["-h", image]))?.[1]);
    const script = join(folder, "failing.sh");
    writeFileSync(
      script,
      `case "$1" in
        get_size) stat -c %s ${image};;
        pread)
          if [ $4 -le ${block * size} ] && [ $(($4 + $3)) -gt ${block * size} ]; then
            echo EIO bad sector >&2
            exit 1
          fi
          dd if=${image} bs=64k iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none;;
        *) exit 2;;
      esac\n`,
      { mode: 0o755 },
    );
    const socket = at("failing");
    const server = await startServer(socket, "nbdkit", "-f", "-r", "-U", socket, "sh", script);
    const url = `nbd+unix:///?socket=${socket}`;
    const large = await slashcloud("cat", `${url}:/large`);
    expect(large.code).toBe(1);
    expect(large.errors).toMatch(/^slashcloud: .*:\/large: .*the NBD server answers with error 5\n$/);
    expect((await slashcloud("cat", `${url}:/etc/hostname`)).out).toBe("web\n");
    await server.kill();
  });
});

describe("what cannot be read is said in one line", () => {
  test.each([
    ["nbds://host/x", "TLS is not spoken here"],
    ["nbd+unix:///x?socket=/s&tls-hostname=h", "TLS is not spoken here"],
    ["nbd+unix:///x", "the socket is missing"],
    ["nbd+unix:///x?sokcet=/s", 'the parameter "sokcet" is not known'],
    ["nbd://host/x?socket=/s", 'the parameter "socket" is not known'],
    ["nbd:///x", "write nbd://HOST:PORT/EXPORT"],
    ["nbd+vsock://3/x", "write nbd://HOST:PORT/EXPORT"],
    [`nbd+unix:///x?socket=${join(folder, "none")}`, "there is no such socket"],
    [`nbd+unix:///x?socket=${folder}`, "nobody listens there"],
  ])("%s", async (url, words) => {
    const { errors, code, out } = await slashcloud("volumes", url);
    expect(errors).toContain(`slashcloud: ${url}: `);
    expect(errors).toContain(words);
    expect(errors.split("\n")).toHaveLength(2);
    expect({ code, out }).toEqual({ code: 1, out: "" });
  });

  test("an export that is not there", async () => {
    const socket = at("names");
    const server = await qemuNbd(socket, image, "-r", "-f", "raw", "-x", "web");
    const { errors, code } = await slashcloud("ls", `nbd+unix:///nope?socket=${socket}`);
    expect(errors).toContain('the NBD server has no export "nope"');
    expect(code).toBe(1);
    await server.kill();
  });

  test("a server that hangs is given up after a while", async () => {
    const socket = at("hanging");
    const server = await nbdkit(socket, image);
    server.stall();
    const { errors, code } = await slashcloud("ls", `nbd+unix:///?socket=${socket}`);
    expect(errors).toContain("the NBD server has not answered for");
    expect(code).toBe(1);
    await server.kill();
  });
});

describe("an NBD URL", () => {
  test("is taken apart as its standard says", () => {
    expect(parseNbdUrl("nbd://example.com")).toEqual({
      place: { host: "example.com", port: 10809 },
      name: "",
    });
    expect(parseNbdUrl("nbd://[::1]:99//disk")).toEqual({ place: { host: "::1", port: 99 }, name: "/disk" });
    expect(parseNbdUrl("nbd://h/hello%20world").name).toBe("hello world");
    expect(parseNbdUrl("nbd+unix:///d?socket=/run/a%20b")).toEqual({
      place: { path: "/run/a b" },
      name: "d",
    });
    expect(parseNbdUrl("nbd+unix:///d?socket=/run/a#file=/srv/a%23b.qcow2")).toEqual({
      place: { path: "/run/a" },
      name: "d",
      file: "/srv/a#b.qcow2",
    });
    expect(parseNbdUrl("nbd+unix:///?socket=%00/abstract").place).toEqual({ path: "\0/abstract" });
    expect(isNbdUrl("nbd.img")).toBe(false);
    expect(isNbdUrl("/srv/nbd://x")).toBe(false);
  });

  test("names the same socket from any directory", () => {
    expect(resolveNbdUrl("nbd+unix:///d?socket=a b")).toBe(
      `nbd+unix:///d?socket=${encodeURIComponent(join(process.cwd(), "a b")).replaceAll("%2F", "/")}`,
    );
    expect(resolveNbdUrl("nbd://h/x")).toBe("nbd://h/x");
  });
});

/** What an honest server says, byte by byte, to a client that reads 1024 bytes at 512 of a disk of 1 MiB. */
const GREETING = Buffer.from("NBDMAGICIHAVEOPT\0\x03", "latin1");
const DISK = 1 << 20;

function optionReply(option: number, type: number, data: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.from("0003e889045565a9000000000000000000000000", "hex");
  head.writeUInt32BE(option, 8);
  head.writeUInt32BE(type, 12);
  head.writeUInt32BE(data.length, 16);
  return Buffer.concat([head, data]);
}

function exportInfo(high: number, low: number): Buffer {
  const info = Buffer.alloc(12);
  info.writeUInt32BE(high, 2);
  info.writeUInt32BE(low, 6);
  info.writeUInt16BE(3, 10);
  return info;
}

function blockSizes(minimum: number, most: number): Buffer {
  const info = Buffer.alloc(14);
  info.writeUInt16BE(3, 0);
  info.writeUInt32BE(minimum, 2);
  info.writeUInt32BE(4096, 6);
  info.writeUInt32BE(most, 10);
  return info;
}

const STRUCTURED = optionReply(8, 1);
const AGREED = Buffer.concat([
  optionReply(7, 3, exportInfo(0, DISK)),
  optionReply(7, 3, blockSizes(512, 1 << 25)),
  optionReply(7, 1),
]);

/** A structured reply; `cookie` is that of the client's first request. */
function chunk(type: number, flags: number, payload: Buffer, length = payload.length, cookie = 64): Buffer {
  const head = Buffer.alloc(20);
  head.writeUInt32BE(0x668e33ef, 0);
  head.writeUInt16BE(flags, 4);
  head.writeUInt16BE(type, 6);
  head.writeUInt32BE(cookie, 12);
  head.writeUInt32BE(length, 16);
  return Buffer.concat([head, payload]);
}

function data(offset: number, length: number, flags = 0): Buffer {
  const payload = Buffer.alloc(8 + length, 7);
  payload.writeUInt32BE(0, 0);
  payload.writeUInt32BE(offset, 4);
  return chunk(1, flags, payload);
}

function hole(offset: number, length: number, flags = 0): Buffer {
  const payload = Buffer.alloc(12);
  payload.writeUInt32BE(offset, 4);
  payload.writeUInt32BE(length, 8);
  return chunk(2, flags, payload);
}

function failure(flags: number): Buffer {
  return chunk(0x8001, flags, Buffer.from("000000050003626164", "hex"));
}

/** What is said in the handshake's two turns after the greeting, and to the read; then the server hangs up. */
interface Script {
  readonly greeting: Buffer;
  readonly structured: Buffer;
  readonly go: Buffer;
  readonly read: Buffer;
}

const HONEST: Script = {
  greeting: GREETING,
  structured: STRUCTURED,
  go: AGREED,
  read: Buffer.concat([hole(512, 512), data(1024, 512, 1)]),
};

function play(script: Script, socket: Socket): void {
  socket.on("error", () => {});
  const turns = [script.structured, script.go, script.read];
  // The client's flags and its option come together or one after the other; each of its further turns comes at once.
  let got = 0;
  const due = [4 + 16, 4 + 16 + 16 + 8, 4 + 16 + 16 + 8 + 28];
  const idle = setTimeout(() => socket.end(), 100);
  socket.write(script.greeting);
  socket.on("close", () => clearTimeout(idle));
  socket.on("data", (bytes) => {
    idle.refresh();
    got += bytes.length;
    while (turns.length > 0 && got >= (due[3 - turns.length] as number)) {
      socket.write(turns.shift()!);
      if (turns.length === 0) socket.end();
    }
  });
}

let servers = 0;

/** Connects to a server that keeps to a script; returns how a read of 1024 bytes at 512 ended. */
async function readFrom(script: Script | ((socket: Socket) => void)): Promise<string> {
  const behave = typeof script === "function" ? script : (socket: Socket) => play(script, socket);
  const server: Server = createServer(behave);
  const path = at(`hostile${servers++}`);
  server.listen(path);
  await once(server, "listening");
  const window = Buffer.alloc(4096, 1);
  const how = await new Promise<string>((resolve) => {
    const connection = new Connection({ place: { path }, name: "" }, window, {
      agreed: () => connection.read(512, 1024),
      answered: (error) => {
        connection.close();
        resolve(error === 0 ? `read ${window[0]} ${window[512]}` : `error ${error}`);
      },
      ended: resolve,
    });
    onEnd(() => connection.close());
  });
  await new Promise((resolve) => server.close(resolve));
  expect(window.subarray(1024).every((byte) => byte === 1)).toBe(true);
  return how;
}

describe("a server that breaks the rules", () => {
  test("while an honest one is read", async () => {
    expect(await readFrom(HONEST)).toBe("read 0 7");
    expect(
      await readFrom({
        ...HONEST,
        read: Buffer.concat([failure(0), hole(512, 512), chunk(0, 1, Buffer.alloc(0))]),
      }),
    ).toBe("error 5");
  });

  const senseless =
    /makes no sense|make no sense|what was not asked|too short|no NBD server|oldstyle|hung up|hangs up|how large|come to an end|larger than/;
  const none = Buffer.alloc(0);
  const scripts: Record<string, Partial<Script>> = {
    "another protocol": { greeting: Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n") },
    "the handshake of 2010": {
      greeting: Buffer.concat([Buffer.from("NBDMAGIC"), Buffer.from("00004202818612530000", "hex")]),
    },
    "no answer to an option": { structured: none },
    "an answer to another option": { structured: optionReply(6, 1) },
    "an option's answer of 4 GiB": {
      structured: Buffer.concat([STRUCTURED.subarray(0, 16), Buffer.from("ffffffff", "hex")]),
    },
    "answers to an option without end": {
      go: Buffer.concat(Array.from({ length: 100 }, () => optionReply(7, 3, blockSizes(512, 4096)))),
    },
    "no size": { go: optionReply(7, 1) },
    "a size beyond all disks": {
      go: Buffer.concat([optionReply(7, 3, exportInfo(0xffffffff, 0)), optionReply(7, 1)]),
    },
    "a size that is cut off": {
      go: Buffer.concat([optionReply(7, 3, exportInfo(0, DISK).subarray(0, 7)), optionReply(7, 1)]),
    },
    "blocks of 0 bytes": {
      go: Buffer.concat([
        optionReply(7, 3, exportInfo(0, DISK)),
        optionReply(7, 3, blockSizes(0, 4096)),
        optionReply(7, 1),
      ]),
    },
    "blocks of 768 bytes": {
      go: Buffer.concat([
        optionReply(7, 3, exportInfo(0, DISK)),
        optionReply(7, 3, blockSizes(768, 4096)),
        optionReply(7, 1),
      ]),
    },
    "blocks of 2 GiB": {
      go: Buffer.concat([
        optionReply(7, 3, exportInfo(0, DISK)),
        optionReply(7, 3, blockSizes(2 ** 31, 2 ** 32 - 1)),
        optionReply(7, 1),
      ]),
    },
    "requests smaller than a block": {
      go: Buffer.concat([
        optionReply(7, 3, exportInfo(0, DISK)),
        optionReply(7, 3, blockSizes(4096, 512)),
        optionReply(7, 1),
      ]),
    },
    "data before anything was asked": { go: Buffer.concat([AGREED, Buffer.alloc(1 << 20)]) },
    "an answer that is none": { read: Buffer.alloc(20) },
    "a simple reply in place of a structured one": {
      read: Buffer.from("67446698000000000000000000000040", "hex"),
    },
    "an answer to what was not asked": { read: chunk(0, 1, none, 0, 65) },
    "no bytes, and success": { read: chunk(0, 1, none) },
    "fewer bytes than asked for, and success": { read: data(512, 512, 1) },
    "more bytes than asked for": { read: Buffer.concat([data(512, 1024), data(512, 512, 1)]) },
    "bytes before those asked for": { read: data(0, 1024, 1) },
    "bytes beyond those asked for": { read: data(1024, 1024, 1) },
    "bytes at no place on any disk": { read: chunk(1, 1, Buffer.alloc(16, 0xff)) },
    "a chunk of 4 GiB": {
      read: chunk(
        1,
        1,
        Buffer.concat([Buffer.from("0000000000000200", "hex"), Buffer.alloc(64)]),
        0xffffffff,
      ),
    },
    "a hole of 4 GiB": { read: hole(512, 0xffffffff, 1) },
    "a hole of nothing": { read: hole(512, 0, 1) },
    "a hole without its length": { read: chunk(2, 1, Buffer.alloc(8)) },
    "an error without its value": { read: chunk(0x8001, 1, Buffer.alloc(2)) },
    "an error with 4 GiB of words": { read: chunk(0x8001, 1, Buffer.alloc(6), 0xffffffff) },
    "errors without end": { read: Buffer.concat(Array.from({ length: 10_000 }, () => failure(0))) },
    "a chunk of no kind that is known": { read: chunk(77, 1, Buffer.alloc(8)) },
    "half an answer": { read: data(512, 1024, 1).subarray(0, 600) },
  };
  test.each(Object.entries(scripts))("ends the connection: %s", async (_, part) => {
    expect(await readFrom({ ...HONEST, ...part })).toMatch(senseless);
  });

  test("by sending without end takes no memory", async () => {
    const before = process.memoryUsage().arrayBuffers;
    const flood = (socket: Socket): void => {
      socket.on("error", () => {});
      const junk = Buffer.concat([GREETING, STRUCTURED, AGREED, Buffer.alloc(1 << 20)]);
      const more = (error?: Error | null): void => {
        if (!error && socket.writable) socket.write(junk, more);
      };
      more();
    };
    expect(await readFrom(flood)).toMatch(senseless);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 << 20);
  });

  test("anywhere, by a byte or two, is answered by an end and never by a crash", async () => {
    let state = 20_260_101;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return (state >>> 8) % below;
    };
    const outcomes = new Map<string, number>();
    for (let round = 0; round < 400; round++) {
      const script = {
        greeting: Buffer.from(HONEST.greeting),
        structured: Buffer.from(HONEST.structured),
        go: Buffer.from(HONEST.go),
        read: Buffer.from(HONEST.read),
      };
      const parts = Object.values(script);
      for (let flips = 1 + random(2); flips > 0; flips--) {
        const part = parts[random(parts.length)] as Buffer;
        part[random(Math.min(part.length, 64))] = [0, 0xff, random(256)][random(3)] as number;
      }
      const how = (await readFrom(script)).replace(/".*"|\d+/g, "");
      outcomes.set(how, (outcomes.get(how) ?? 0) + 1);
    }
    expect(outcomes.size).toBeGreaterThan(4);
    expect(outcomes.get("read  ") ?? 0).toBeGreaterThan(0);
  });
});
