/** The tree as a Samba of its own shows it, by the configuration that slashcloud writes, to Samba's own client. */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import {
  append,
  fill,
  hashes,
  hashOf,
  install,
  liveGuest,
  promised,
  type Running,
  settle,
  smbConf,
  smbclient,
  smbd,
  smbRead,
} from "./support/exported.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { host, type Served, serve } from "./support/images-serve.js";

const LIMIT = 60_000;
vi.setConfig({ testTimeout: LIMIT });

const folder = workFolder("samba");
// Samba looks at it as an ordinary user.
chmodSync(folder, 0o711);
const cloud = join(folder, "cloud");
const prefix = join(folder, "server");

let inside: string;
let served: Served;
let server: Running;

beforeAll(async () => {
  const image = join(folder, "g.img");
  inside = await liveGuest(folder, image);
  await fill(inside);
  served = await serve(cloud, { g: image });
  install(prefix, cloud, ["samba", "--guest-ok", "--hosts-allow", "127.0.0.1"]);
  server = await smbd(prefix);
}, LIMIT);

afterAll(cleanUp, LIMIT);

/** A path in the guest, for smbclient. */
const inGuest = (path: string): string => `${host}\\g\\${path.replaceAll("/", "\\")}`;

test(
  "10,000 files are copied by their names, with their contents",
  async () => {
    const copy = join(folder, "copy");
    mkdirSync(copy);
    await smbclient(server.port, "cloud", `recurse; prompt; lcd ${copy}; cd ${inGuest("many")}; mget *`);
    const found = hashes(copy);
    expect(Object.keys(found).length).toBe(10_000);
    expect(found).toEqual(hashes(join(served.guest("g"), "many")));
  },
  3 * LIMIT,
);

test("names that Windows cannot have are short ones, what is not UTF-8 is left out, and all others are the guest's", async () => {
  const plain = [" ümlaut ü", ".hidden", "~tilde", "Case", "case", "日本", "😀", "e\u0301", "x".repeat(255)];
  const short = [
    "a:b",
    "dots...",
    "end ",
    "CON",
    "NUL.log",
    'q"uote',
    "back\\slash",
    "star*",
    "lt<gt>",
    "nl\n",
    "\x01",
  ];
  const names = join(inside, "names");
  mkdirSync(names);
  for (const name of [...plain, ...short]) writeFileSync(join(names, name), `in ${name}`);
  writeFileSync(Buffer.concat([Buffer.from(`${names}/caf`), Buffer.from([0xe9])]), "not UTF-8");
  await run("sync", ["-f", inside]);
  await promised(() => existsSync(join(served.guest("g"), "names")), true);
  const copy = join(folder, "names");
  mkdirSync(copy);
  await smbclient(server.port, "cloud", `recurse; prompt; lcd ${copy}; cd ${inGuest("names")}; mget *`);
  const found = hashes(copy);
  const latin1 = (name: string): string => `/${Buffer.from(name).toString("latin1")}`;
  for (const name of plain) expect(found[latin1(name)], name).toBe(hashOf(`in ${name}`));
  const others = Object.entries(found).filter(([path]) => !plain.some((name) => latin1(name) === path));
  expect(others.map(([, hash]) => hash).sort()).toEqual(short.map((name) => hashOf(`in ${name}`)).sort());
  for (const [path] of others) expect(path).toMatch(/^\/[A-Z0-9_]{1,6}~[A-Z0-9](\.[A-Z]{1,3})?$/);
});

test("what the guest appends, writes over, rotates, cuts short and deletes is seen within a second", async () => {
  const log = join(inside, "log/syslog");
  const read = (name = "syslog"): Promise<string> => smbRead(server.port, "cloud", inGuest(`log/${name}`));
  let text = readFileSync(log, "latin1");
  for (let line = 1; line <= 5; line++) {
    append(log, `line ${line}\n`);
    text += `line ${line}\n`;
    expect(await promised(read, text)).toBe(text);
  }
  renameSync(log, `${log}.1`);
  append(log, "a new log\n");
  expect(await promised(read, "a new log\n")).toBe("a new log\n");
  expect(await promised(() => read("syslog.1"), text)).toBe(text);
  truncateSync(log, 0);
  append(log, "cut\n");
  expect(await promised(read, "cut\n")).toBe("cut\n");
  unlinkSync(`${log}.1`);
  settle(join(inside, "log"));
  const listed = async (): Promise<boolean> =>
    /syslog\.1 /.test(await smbclient(server.port, "cloud", `ls "${inGuest("log/*")}"`));
  expect(await promised(listed, false)).toBe(false);
  expect(await read("syslog.1")).toContain("NT_STATUS_OBJECT_NAME_NOT_FOUND");
});

test("links lead where they lead in the guest, and never out of it", async () => {
  const links = join(inside, "links");
  mkdirSync(join(links, "deep"), { recursive: true });
  const climbing = "../".repeat(12);
  symlinkSync("/etc/passwd", join(links, "absolute"));
  symlinkSync(`${climbing}etc/passwd`, join(links, "climbs"));
  symlinkSync("../../etc/passwd", join(links, "deep/relative"));
  symlinkSync(climbing + folder.slice(1), join(links, "out"));
  symlinkSync(folder, join(links, "out-absolute"));
  symlinkSync(`/proc/1/root${folder}/g.img`, join(links, "proc"));
  symlinkSync("deep/../../../../../../../etc/passwd", join(links, "mixed"));
  settle(links);
  const read = (name: string): Promise<string> => smbRead(server.port, "cloud", inGuest(`links/${name}`));
  for (const name of ["absolute", "climbs", "deep/relative", "mixed"])
    expect(await promised(() => read(name), "the guest's users\n"), name).toBe("the guest's users\n");
  for (const name of ["out/g.img", "out-absolute/g.img", "out", "proc"])
    expect(await read(name), name).toMatch(/NT_STATUS_OBJECT_(NAME|PATH)_NOT_FOUND/);
});

/** Asks for paths as no client does that cleans them first. */
const RAW = `
import json, sys
from samba import credentials
from samba.samba3 import libsmb_samba_internal as smb, param
conf = param.get_context()
conf.load(sys.argv[1])
who = credentials.Credentials()
who.set_anonymous()
share = smb.Conn("127.0.0.1", "cloud", lp=conf, creds=who)
told = {}
for path in json.loads(sys.argv[2]):
    try:
        told[path] = share.loadfile(path).decode()
    except Exception as error:
        told[path] = "refused: %s" % error
print(json.dumps(told))
`;

test("a client that asks for .. gets nothing, whoever it is", async () => {
  const raw = join(folder, "raw");
  install(raw, cloud, ["samba", "--guest-ok", "--hosts-allow", "127.0.0.1", "--as-root", "a test"]);
  // This client knows no other port, so there is a network of its own.
  const conf = smbConf(raw, 445);
  const fine = `${host}\\g\\etc\\passwd`;
  const paths = [fine, ...[1, 2, 3, 9].map((n) => `${"..\\".repeat(n)}${basename(folder)}\\g.img`)];
  paths.push(
    `${host}\\g\\${"..\\".repeat(12)}etc\\passwd`,
    `${host}/../../g.img`,
    `\\\\..\\..\\g.img`,
    `${host}\\..\\..\\g.img`,
  );
  const script = `ip link set lo up
setsid smbd --foreground --no-process-group --configfile="$1" & server=$!
for i in $(seq 100); do smbclient -N //127.0.0.1/IPC$ -c exit >/dev/null 2>&1 && break; sleep 0.1; done
/usr/bin/python3 -c "$2" "$1" "$3"
status=$?; kill $server; wait $server; exit $status`;
  const told = JSON.parse(
    execFileSync(
      "unshare",
      ["-n", "--kill-child", "-f", "sh", "-c", script, "sh", conf, RAW, JSON.stringify(paths)],
      {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "pipe"],
      },
    ),
  ) as Record<string, string>;
  expect(told[fine]).toBe("the guest's users\n");
  for (const path of paths.slice(1)) expect(told[path], path).toMatch(/^refused: /);
}, 120_000);

test("nothing can be written, and what only the guest's root may read is read by none but who is root by the settings", async () => {
  const put = await smbclient(
    server.port,
    "cloud",
    `put ${join(folder, "server/smb.conf")} ${inGuest("etc/new")}`,
  );
  expect(put).toMatch(/NT_STATUS_(MEDIA_WRITE_PROTECTED|ACCESS_DENIED)/);
  expect(await smbRead(server.port, "cloud", inGuest("etc/shadow"))).toContain("NT_STATUS_ACCESS_DENIED");
  const other = join(folder, "as-root");
  const options = ["samba", "--guest-ok", "--hosts-allow", "127.0.0.1", "--as-root", "auditors read all"];
  install(other, cloud, options);
  const asRoot = await smbd(other);
  expect(await smbRead(asRoot.port, "cloud", inGuest("etc/shadow"))).toBe("the guest's secrets\n");
  await asRoot.stop();
  install(other, cloud, [...options, "--of", "guests"]);
  const perGuest = await smbd(other);
  expect(await smbRead(perGuest.port, "g", "etc\\shadow")).toBe("the guest's secrets\n");
  expect(await smbRead(perGuest.port, "cloud", inGuest("etc/shadow"))).toContain(
    "NT_STATUS_BAD_NETWORK_NAME",
  );
  await perGuest.stop();
});

test("Samba goes on when slashcloud was stopped and started", async () => {
  const log = join(inside, "log/again");
  append(log, "before\n");
  const read = (): Promise<string> => smbRead(server.port, "cloud", inGuest("log/again"));
  expect(await promised(read, "before\n")).toBe("before\n");
  expect(await served.stop()).toBe(0);
  served = await serve(cloud, { g: join(folder, "g.img") });
  append(log, "after\n");
  expect(await promised(read, "before\nafter\n")).toBe("before\nafter\n");
});
