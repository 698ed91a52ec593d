/** The tree as an NFS-Ganesha of its own shows it, by the configuration that slashcloud writes, to clients of libnfs. */
import { execFileSync } from "node:child_process";
import {
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import {
  append,
  fill,
  ganesha,
  hashes,
  hashOf,
  install,
  liveGuest,
  NfsClient,
  promised,
  type Running,
  settle,
} from "./support/exported.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { host, type Served, serve } from "./support/images-serve.js";
import { freePort } from "./support/redis-server.js";

const LIMIT = 60_000;
vi.setConfig({ testTimeout: LIMIT });

const folder = workFolder("ganesha");
const cloud = join(folder, "cloud");
const image = join(folder, "g.img");
const prefix = join(folder, "server");

let inside: string;
let served: Served;
let server: Running;
let client: NfsClient;

/** Has slashcloud write the configuration and starts a server with it. */
async function start(port: number, ...options: string[]): Promise<Running> {
  const listen = ["--address", "127.0.0.1", "--port", `${port}`];
  install(prefix, cloud, ["nfs", "--ganesha", "--client", "127.0.0.1", ...listen, ...options]);
  return ganesha(prefix, cloud, port);
}

beforeAll(async () => {
  inside = await liveGuest(folder, image);
  await fill(inside);
  served = await serve(cloud, { g: image });
  server = await start(await freePort());
  client = await NfsClient.mount(server.port, cloud);
}, LIMIT);

afterAll(cleanUp, LIMIT);

const inGuest = (path: string): string => `/${host}/g/${path}`;
const read = (path: string): Promise<string> => client.try<string>("cat", inGuest(path));
const url = (path: string): string =>
  `nfs://127.0.0.1${cloud}${inGuest(path)}?version=4&nfsport=${server.port}`;

test(
  "10,000 files have their names and contents",
  async () => {
    const found = await client.ask<Record<string, string>>("hashes", inGuest("many"));
    const wanted = hashes(join(served.guest("g"), "many"));
    expect(Object.keys(wanted).length).toBe(10_000);
    const below = inGuest("many").length;
    expect(
      Object.fromEntries(Object.entries(found).map(([path, hash]) => [path.slice(below), hash])),
    ).toEqual(wanted);
  },
  3 * LIMIT,
);

test("names are the guest's bytes, and libnfs' own programs read them", async () => {
  const names = [
    "with space",
    "ümlaut",
    "a:b",
    "dots...",
    "CON",
    'q"uote',
    "back\\slash",
    "nl\n",
    "\x01",
    ".hidden",
  ];
  const folderOfNames = join(inside, "names");
  mkdirSync(folderOfNames);
  for (const name of names) writeFileSync(join(folderOfNames, name), `in ${name}`);
  writeFileSync(Buffer.concat([Buffer.from(`${folderOfNames}/caf`), Buffer.from([0xe9])]), "not UTF-8");
  await run("sync", ["-f", inside]);
  const wanted: Record<string, string> = { [inGuest("names/caf\xe9")]: hashOf("not UTF-8") };
  for (const name of names)
    wanted[inGuest(`names/${Buffer.from(name).toString("latin1")}`)] = hashOf(`in ${name}`);
  const listed = async (): Promise<string[]> =>
    (await client.try<string[]>("list", inGuest("names"))) as string[];
  await promised(async () => (await listed()).length, names.length + 1);
  expect(await client.ask("hashes", inGuest("names"))).toEqual(wanted);
  expect(await run("nfs-ls", [url("names")])).toMatch(/-rw-r--r-- .* with space$/m);
  expect(await run("nfs-cat", [url("etc/passwd")])).toBe("the guest's users\n");
  const copy = join(folder, "copied");
  await run("nfs-cp", [url("many/3/file 77"), copy]);
  expect(readFileSync(copy)).toEqual(readFileSync(join(inside, "many/3/file 77")));
});

test("what the guest appends, rotates, cuts short and deletes is seen within a second, by those who have it open too", async () => {
  const log = join(inside, "log/syslog");
  let text = "line 0\n";
  // A client of its own: libnfs closes for all who have the same file open in one.
  const holder = await NfsClient.mount(server.port, cloud);
  const held = await holder.ask<number>("open", inGuest("log/syslog"));
  for (let line = 1; line <= 20; line++) {
    const more = `line ${line}\n`;
    append(log, more);
    expect(await promised(() => holder.try("read", held, text.length, 100), more)).toBe(more);
    text += more;
    expect(await promised(() => read("log/syslog"), text)).toBe(text);
    const sizeOf = async (): Promise<number> => (await holder.ask<{ size: number }>("fstat", held)).size;
    expect(await promised(sizeOf, text.length)).toBe(text.length);
  }
  for (let rotation = 1; rotation <= 10; rotation++) {
    renameSync(log, `${log}.1`);
    append(log, `log ${rotation}\n`);
    expect(await promised(() => read("log/syslog"), `log ${rotation}\n`)).toBe(`log ${rotation}\n`);
    expect(await promised(() => read("log/syslog.1"), text)).toBe(text);
    // Who has it open has the file, not its name.
    if (rotation === 1) expect(await holder.ask("read", held, 0, 7)).toBe("line 0\n");
    unlinkSync(`${log}.1`);
    settle(join(inside, "log"));
    expect(await promised(() => client.try<string[]>("list", inGuest("log")), ["syslog"])).toEqual([
      "syslog",
    ]);
    text = `log ${rotation}\n`;
  }
  holder.end();
  truncateSync(log, 0);
  append(log, "cut\n");
  expect(await promised(() => read("log/syslog"), "cut\n")).toBe("cut\n");
});

test("links lead nowhere but where they lead in the guest, and there is no way up", async () => {
  const links = join(inside, "links");
  mkdirSync(links);
  const climbing = "../".repeat(12);
  symlinkSync("../etc/passwd", join(links, "relative"));
  symlinkSync(`${climbing}etc/passwd`, join(links, "climbs"));
  symlinkSync(climbing + folder.slice(1), join(links, "out"));
  symlinkSync("/etc/passwd", join(links, "absolute"));
  settle(links);
  const target = (name: string): Promise<string> => client.try<string>("readlink", inGuest(`links/${name}`));
  const out = `../${folder.slice(1)}`;
  expect(await promised(() => target("out"), out)).toBe(out);
  expect(await target("climbs")).toBe("../etc/passwd");
  for (const name of ["relative", "climbs", "absolute"])
    expect(await read(`links/${name}`), name).toBe("the guest's users\n");
  expect(await read("links/out/g.img")).toMatch(/NOENT/);
  // LOOKUPP: the guests of this host, the hosts of the tree, and above it what the server makes up.
  expect(await client.ask("up", inGuest("log"), 2)).toEqual(["g"]);
  expect(await client.ask("up", inGuest("log"), 3)).toEqual([host]);
  expect(await client.ask("up", inGuest("log"), 4)).toEqual(["cloud"]);
});

test("nothing can be written, and what only root may read is read by none but who is root by the settings", async () => {
  expect(await client.try("create", inGuest("etc/new"))).toMatch(/ROFS/);
  expect(await read("etc/shadow")).toMatch(/ACCES/);
  const port = await freePort();
  await server.stop();
  const asRoot = await start(port, "--as-root", "auditors read all");
  const auditor = await NfsClient.mount(port, cloud, 1000);
  expect(await auditor.ask("cat", inGuest("etc/shadow"))).toBe("the guest's secrets\n");
  await asRoot.stop();
  auditor.end();
  const other = await ganesha(prefix, cloud, port);
  await other.stop();
  install(prefix, cloud, [
    "nfs",
    "--ganesha",
    "--client",
    "192.0.2.1",
    "--address",
    "127.0.0.1",
    "--port",
    `${port}`,
  ]);
  const elsewhere = await ganesha(prefix, cloud, port);
  await expect(NfsClient.mount(port, cloud)).rejects.toThrow(/NOENT|ACCES|PERM/);
  await elsewhere.stop();
  server = await start(await freePort());
  client = await NfsClient.mount(server.port, cloud);
});

/** Drops what the kernel has cached of files and directories. */
const dropCaches = (): void => writeFileSync("/proc/sys/vm/drop_caches", "3");

test("an open file stays open while slashcloud's server is killed and caches are dropped", async () => {
  const log = join(inside, "log/held");
  append(log, "one\n");
  await promised(() => read("log/held"), "one\n");
  const holder = await NfsClient.mount(server.port, cloud);
  const held = await holder.ask<number>("open", inGuest("log/held"));
  const before = await holder.ask<{ ino: string }>("fstat", held);
  dropCaches();
  append(log, "two\n");
  expect(await promised(() => holder.try("read", held, 0, 100), "one\ntwo\n")).toBe("one\ntwo\n");
  for (const pid of execFileSync("pgrep", ["-P", `${served.pid}`, "-f", "server.js"], {
    encoding: "utf8",
  }).split("\n"))
    if (pid !== "") process.kill(Number(pid), "SIGKILL");
  dropCaches();
  append(log, "three\n");
  const text = "one\ntwo\nthree\n";
  await vi.waitFor(async () => expect(await holder.try("read", held, 0, 100)).toBe(text), {
    timeout: 10_000,
    interval: 50,
  });
  expect((await holder.ask<{ ino: string }>("fstat", held)).ino).toBe(before.ino);
  holder.end();
  expect(await client.ask("read-handle", await client.ask("handle", inGuest("log/held")), 0, 100)).toBe(text);
});

/** What names a file to the kernel's own NFS server, and its contents by that. */
const KERNEL_HANDLE = `
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
tree, path, known = sys.argv[1:]
buffer = ctypes.create_string_buffer(bytes.fromhex(known) or (128).to_bytes(4, sys.byteorder) + bytes(132))
mount = ctypes.c_int()
if not known:
    if libc.name_to_handle_at(-100, os.fsencode(path), buffer, ctypes.byref(mount), 0) != 0:
        raise OSError(ctypes.get_errno(), "name_to_handle_at")
    print(buffer.raw[: 8 + int.from_bytes(buffer.raw[:4], sys.byteorder)].hex())
else:
    top = os.open(tree, os.O_RDONLY)
    file = libc.open_by_handle_at(top, buffer, os.O_RDONLY)
    if file < 0:
        raise OSError(ctypes.get_errno(), "open_by_handle_at")
    print(os.read(file, 100).decode(), end="")
`;

const kernelHandle = (path: string, known = ""): string =>
  execFileSync("/usr/bin/python3", ["-c", KERNEL_HANDLE, cloud, path, known], { encoding: "utf8" });

/** The mount's number while it is there. The next mount has the lowest that is free. */
const device = (): number => statSync(cloud).dev;

/** A handle of NFS-Ganesha's but for the mount's number: its minor is 4 bytes after 6 and the major. */
const withoutDevice = (handle: string): string => handle.slice(0, 20) + handle.slice(28);

test("handles are the same after slashcloud was stopped and started: NFS-Ganesha's but for the mount's number", async () => {
  const log = join(inside, "log/over");
  append(log, "one\n");
  await promised(() => read("log/over"), "one\n");
  const file = join(served.guest("g"), "log/over");
  const inKernel = kernelHandle(file).trim();
  const inGanesha = await client.ask<string>("handle", inGuest("log/over"));
  const number = device();
  client.end();
  // As its unit does: it holds the mount.
  await server.stop();
  expect(await served.stop()).toBe(0);
  served = await serve(cloud, { g: image });
  server = await ganesha(prefix, cloud, server.port);
  client = await NfsClient.mount(server.port, cloud);
  append(log, "two\n");
  const text = "one\ntwo\n";
  expect(await promised(() => read("log/over"), text)).toBe(text);
  expect(withoutDevice(await client.ask("handle", inGuest("log/over")))).toBe(withoutDevice(inGanesha));
  dropCaches();
  expect(kernelHandle(file, inKernel)).toBe(text);
  const staleStatus = "NFS status 70";
  expect(await client.try("read-handle", inGanesha, 0, 100)).toBe(device() === number ? text : staleStatus);
});
