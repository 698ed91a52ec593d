/** The NBD server: real clients, the kernel over nbdfuse, QEMU's mirror, and clients that break the rules. */
import { spawn, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { copyFileSync, existsSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { LOG_SIZE, LogSink } from "../src/capture/log-sink.js";
import { Export, type Store } from "../src/capture/nbd/export.js";
import { openImageStore } from "../src/capture/nbd/image-store.js";
import { MirrorStore } from "../src/capture/nbd/mirror-store.js";
import { NbdServer, type ServerOptions } from "../src/capture/nbd/server.js";
import { WriteQueue } from "../src/queue/write-queue.js";
import type { WriteRecord, WriteSink } from "../src/queue/write-record.js";
import { cleanUp, endWithTests, loopDevice, mount, run, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";
import { nbdfuse, startTap, type TapProcess, until } from "./support/nbd-tap.js";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const folder = workFolder("nbd");

const stores: Store[] = [];

afterAll(async () => {
  for (const store of stores) await store.close();
  cleanUp();
});

const MIB = 1 << 20;

const digest = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");

/**
 * Runs a script in nbdsh, where `uri` is an export's; what it prints is returned. Debian's Python has the module, which
 * another that comes first in the path may not have.
 */
const nbdsh = (uri: string, script: string) =>
  run("/usr/bin/python3", ["-m", "nbd", "-c", `uri = ${JSON.stringify(uri)}`, "-c", script]);

function image(name: string, bytes: number, fill?: string): string {
  const path = join(folder, name);
  writeFileSync(path, fill === undefined ? "" : Buffer.alloc(bytes, fill));
  truncateSync(path, bytes);
  return path;
}

describe("a tap and the clients that there are", () => {
  const web = image("web.img", 16 * MIB + 512, "w");
  const db = image("db.img", 4 * MIB, "d");
  const socket = join(folder, "tap.sock");
  let tap: TapProcess;

  beforeAll(async () => {
    tap = await startTap([`web=${web}`, `db=${db},${db}`, "--listen", `unix:${socket}`, "--listen", "0"], 6);
  });

  test("nbdinfo sees what is offered, under which names, and what can be done with it", async () => {
    expect(tap.urls.map((url) => url.replace(/:\d+\//, ":PORT/"))).toEqual([
      `nbd+unix:///web?socket=${socket}`,
      `nbd+unix:///db/sda?socket=${socket}`,
      `nbd+unix:///db/sdb?socket=${socket}`,
      "nbd://127.0.0.1:PORT/web",
      "nbd://127.0.0.1:PORT/db/sda",
      "nbd://127.0.0.1:PORT/db/sdb",
    ]);
    const list = JSON.parse(await run("nbdinfo", ["--json", "--list", `nbd+unix:///?socket=${socket}`]));
    expect(list.exports.map((one: Record<string, unknown>) => one["export-name"])).toEqual([
      "web",
      "db/sda",
      "db/sdb",
    ]);
    const { exports } = JSON.parse(await run("nbdinfo", ["--json", tap.urls[3]!]));
    expect(exports[0]).toMatchObject({
      "export-size": 16 * MIB + 512,
      is_read_only: false,
      can_multi_conn: true,
      can_fua: true,
      can_flush: true,
      can_trim: true,
      can_zero: true,
      can_cache: true,
      can_df: true,
      contexts: ["base:allocation"],
      block_size_minimum: 1,
      block_size_maximum: 32 * MIB,
    });
    await expect(run("nbdinfo", [`nbd+unix:///none?socket=${socket}`])).rejects.toThrow(
      "No such file or directory for export: none",
    );
  });

  test("nbdcopy, over several connections and over one, copies a disk out and in", async () => {
    const [out, back] = [join(folder, "out.img"), join(folder, "in.img")];
    await run("nbdcopy", [tap.urls[0]!, out]);
    expect(digest(out)).toBe(digest(web));
    writeFileSync(back, randomBytes(16 * MIB + 512));
    await run("nbdcopy", ["--connections=4", "--flush", back, tap.urls[3]!]);
    expect(digest(web)).toBe(digest(back));
    writeFileSync(back, Buffer.concat([Buffer.alloc(8 * MIB), randomBytes(8 * MIB + 512)]));
    await run("nbdcopy", ["--connections=1", "--flush", back, tap.urls[0]!]);
    expect(digest(web)).toBe(digest(back));
  });

  test("qemu-img and qemu-io read and write it", async () => {
    const info = JSON.parse(await run("qemu-img", ["info", "--output=json", tap.urls[0]!]));
    expect(info).toMatchObject({ format: "raw", "virtual-size": 16 * MIB + 512 });
    const commands = ["write -P 1 1k 3k", "write -z 2M 1M", "write -zu 3M 1M", "write -f -P 2 5M 64k"];
    const checks = ["discard 7M 1M", "flush", "read -P 1 1k 3k", "read -P 0 2M 2M", "read -P 2 5M 64k"];
    const args = [...commands, ...checks].flatMap((command) => ["-c", command]);
    const said = await run("qemu-io", ["-f", "raw", ...args, tap.urls[0]!]);
    expect(said).not.toMatch(/failed|error/i);
    const bytes = readFileSync(web);
    expect(bytes.subarray(1024, 4096).equals(Buffer.alloc(3072, 1))).toBe(true);
    expect(bytes.subarray(2 * MIB, 4 * MIB).equals(Buffer.alloc(2 * MIB))).toBe(true);
    const copy = join(folder, "converted.img");
    await run("qemu-img", ["convert", "-f", "raw", "-O", "raw", tap.urls[3]!, copy]);
    expect(await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", copy, tap.urls[0]!])).toContain(
      "identical",
    );
    await run("qemu-img", ["convert", "-n", "-f", "raw", "-O", "raw", copy, tap.urls[3]!]);
    expect(readFileSync(copy).equals(readFileSync(web))).toBe(true);
  });

  test("nbdsh: every command and flag is answered as the protocol has it", async () => {
    const said = await nbdsh(
      tap.urls[1]!,
      `
def refused(what, action):
    try:
        action()
    except nbd.Error as e:
        print(what, e.errno)
    else:
        print(what, "done")
h.add_meta_context("base:allocation")
h.connect_uri(uri)
h.set_strict_mode(0)
size = h.get_size()
h.pwrite(b"\\x05" * 1000, 100, nbd.CMD_FLAG_FUA)
print(h.pread(1002, 99) == b"d" + b"\\x05" * 1000 + b"d", h.pread(8, 100, nbd.CMD_FLAG_DF) == b"\\x05" * 8)
h.zero(1000, 200, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
print(bytes(h.pread(1000, 200)) == bytes(1000))
h.trim(4096, 8192); h.cache(4096, 0); h.flush()
extents = []
h.block_status(size, 0, lambda name, offset, entries, error: extents.append((name, offset, entries)))
print(extents == [("base:allocation", 0, [size, 0])])
refused("fast", lambda: h.zero(4096, 0, nbd.CMD_FLAG_FAST_ZERO))
refused("read beyond", lambda: h.pread(512, size))
refused("read far beyond", lambda: h.pread(512, 2**63 - 512))
refused("write beyond", lambda: h.pwrite(bytes(512), size - 1))
refused("zero beyond", lambda: h.zero(2**32 - 1, 512))
refused("trim beyond", lambda: h.trim(512, size))
refused("flag", lambda: h.pread(512, 0, nbd.CMD_FLAG_NO_HOLE))
refused("large read", lambda: h.pread(33 * 2**20, 0))
refused("large write", lambda: h.pwrite(bytes(33 * 2**20), 0))
print(bytes(h.pread(3, size - 3)) == b"ddd")
h.shutdown()
`,
    );
    expect(said.trim().split("\n")).toEqual([
      "True True",
      "True",
      "True",
      "fast ENOTSUP",
      "read beyond EINVAL",
      "read far beyond EINVAL",
      "write beyond ENOSPC",
      "zero beyond ENOSPC",
      "trim beyond EINVAL",
      "flag EINVAL",
      "large read EINVAL",
      "large write EINVAL",
      "True",
    ]);
  });

  test("nbdsh: the handshake's options, also those of old clients", async () => {
    const said = await nbdsh(
      `nbd+unix://?socket=${socket}`,
      `
h.set_opt_mode(True)
h.connect_unix(${JSON.stringify(socket)})
names = []
print(h.opt_list(lambda name, description: names.append(name)), names)
def answer(action):
    try:
        return action()
    except nbd.Error as e:
        return e.errno
h.set_export_name("none")
print(answer(h.opt_info))
h.set_export_name("db/sda")
h.opt_info()
print(h.get_size())
contexts = []
h.clear_meta_contexts()
print(h.opt_list_meta_context(lambda name: contexts.append(name)), contexts)
h.add_meta_context("x-other:thing")
print(h.opt_list_meta_context(lambda name: contexts.append(name)))
h.opt_go()
print(h.can_meta_context("x-other:thing"))
h.shutdown()
old = nbd.NBD()
old.set_handshake_flags(0)
old.set_export_name("db/sda")
old.connect_unix(${JSON.stringify(socket)})
print(old.get_protocol(), old.get_structured_replies_negotiated(), bytes(old.pread(4, 4096)))
old.shutdown()
simple = nbd.NBD()
simple.set_request_structured_replies(False)
simple.connect_uri(${JSON.stringify(`nbd+unix:///db/sda?socket=${socket}`)})
simple.set_strict_mode(0)
print(simple.get_protocol(), simple.get_structured_replies_negotiated(), bytes(simple.pread(4, 4096)))
try:
    simple.pread(4, 2**40)
except nbd.Error as e:
    print(e.errno)
simple.shutdown()
`,
    );
    expect(said.trim().split("\n")).toEqual([
      "3 ['web', 'db/sda', 'db/sdb']",
      "ENOENT",
      String(4 * MIB),
      "1 ['base:allocation']",
      "0",
      "False",
      "newstyle False b'dddd'",
      "newstyle-fixed False b'dddd'",
      "EINVAL",
    ]);
    const url = JSON.stringify(`nbd+unix:///db/sda?socket=${socket}`);
    const tls = (mode: string) =>
      nbdsh(
        "",
        `h.set_tls(nbd.TLS_${mode})\nh.connect_uri(${url})\nprint(h.get_tls_negotiated(), h.get_size())`,
      );
    expect((await tls("ALLOW")).trim()).toBe(`False ${4 * MIB}`);
    await expect(tls("REQUIRE")).rejects.toThrow("server refused TLS");
  });

  test("a disk for reading only refuses to be written, and its file is not touched", async () => {
    const before = digest(db);
    const readOnly = await startTap([`db=${db}`, "--read-only", "--listen", `unix:${folder}/ro.sock`]);
    const said = await nbdsh(
      readOnly.urls[0]!,
      `
h.connect_uri(uri)
h.set_strict_mode(0)
print(h.is_read_only(), h.can_zero(), h.can_trim())
for action in (lambda: h.pwrite(bytes(512), 0), lambda: h.zero(512, 0), lambda: h.trim(512, 0)):
    try:
        action()
    except nbd.Error as e:
        print(e.errno)
h.flush()
print(len(h.pread(512, 0)))
`,
    );
    expect(said.trim().split("\n")).toEqual(["True False False", "EPERM", "EPERM", "EPERM", "512"]);
    expect(digest(db)).toBe(before);
    expect(await readOnly.stop()).toBe(0);
  });

  test("it ends on SIGTERM, also while clients are connected, and takes its socket away", async () => {
    const idle = connect(socket);
    idle.on("error", () => {});
    await new Promise((resolve) => idle.once("data", resolve));
    expect(await tap.stop()).toBe(0);
    expect(tap.log()).toBe("");
    expect(existsSync(socket)).toBe(false);
  });

  test("one clear line for what cannot be served", async () => {
    const other = await startTap([web, "--listen", `unix:${socket}`]);
    const record = join(folder, "there.rec");
    writeFileSync(record, "");
    const tells = (args: string[], line: RegExp, exit = 1) => {
      const { status, stderr } = spawnSync(process.execPath, [main, "tap", ...args], { encoding: "utf8" });
      expect(stderr).toMatch(line);
      expect(status).toBe(exit);
    };
    const free = `unix:${folder}/free.sock`;
    const never = join(folder, "never.rec");
    tells(
      [web, "--listen", `unix:${socket}`, "--record", never],
      /tap\.sock: somebody listens there already/,
    );
    expect(existsSync(never)).toBe(false);
    tells([web, "--listen", `unix:${web}`], /web\.img: there is a file that is no socket/);
    tells([web, "--listen", "nowhere"], /nowhere: write unix:PATH/, 2);
    tells([join(folder, "none.img"), "--listen", free], /none\.img: no such image/);
    tells([web, "--listen", free, "--record", record], /there\.rec: there is a file already/);
    tells([web, db, "--listen", free, "--record", `${record}2`], /--record takes the writes of one disk/, 2);
    expect(await other.stop()).toBe(0);
  });
});

describe("a kernel's file system over the tap", () => {
  test("after a load, the recording replayed onto the base gives the image, to the byte", async () => {
    const [disk, base, record] = [
      image("fs.img", 64 * MIB),
      join(folder, "fs-base.img"),
      join(folder, "fs.rec.gz"),
    ];
    await run("mkfs.ext4", ["-q", "-F", disk]);
    copyFileSync(disk, base);
    const tap = await startTap([`fs=${disk}`, "--listen", `unix:${folder}/fs.sock`, "--record", record]);
    const { file, end } = await nbdfuse(tap.urls[0]!, join(folder, "fuse"));
    const { device, free } = await loopDevice(file, ["--direct-io=on"]);
    const tree = join(folder, "tree");
    const unmount = await mount(device, tree, "discard");
    const load = `set -e; cd ${tree}; mkdir -p a/b c; for i in $(seq 60); do echo line $i >> a/log; echo $i > a/b/f$i; done
      dd if=/dev/urandom of=c/data bs=64k count=100 status=none; sync; rm a/b/f1*; mv a/b c/b; ln c/data a/link
      fallocate -l 4M c/empty; dd if=/dev/urandom of=c/data bs=4k count=20 seek=30 conv=notrunc,fsync status=none; rm c/empty`;
    await run("bash", ["-c", load]);
    const expected = digest(join(tree, "c/data"));
    unmount();
    free();
    await end();
    expect(await tap.stop()).toBe(0);
    expect(tap.log()).toMatch(/fs\.rec\.gz: \d+ requests recorded\n$/);
    await run("e2fsck", ["-fn", disk]);
    const replayed = spawnSync(process.execPath, [main, "replay", record, "--onto", base], {
      encoding: "utf8",
    });
    expect(replayed.stderr).toBe("");
    expect(digest(base)).toBe(digest(disk));
    const away = await mount(base, tree, "loop,ro");
    expect(digest(join(tree, "c/data"))).toBe(expected);
    away();
  });

  test("fio finds every byte that it wrote, and the recording has them too", async () => {
    const [disk, base, record] = [
      image("fio.img", 16 * MIB),
      image("fio-base.img", 16 * MIB),
      join(folder, "fio.rec"),
    ];
    const tap = await startTap([`fio=${disk}`, "--listen", `unix:${folder}/fio.sock`, "--record", record]);
    const { file, end } = await nbdfuse(tap.urls[0]!, join(folder, "fio"));
    const job = [
      "--name=tap",
      "--rw=randwrite",
      "--bsrange=512-64k",
      "--size=16m",
      "--io_size=12m",
      "--fsync=32",
    ];
    const check = [
      "--verify=crc32c",
      "--do_verify=1",
      "--verify_fatal=1",
      "--verify_state_save=0",
      "--ioengine=psync",
    ];
    await run("fio", [`--filename=${file}`, "--minimal", ...job, ...check]);
    await end();
    expect(await tap.stop()).toBe(0);
    expect(spawnSync(process.execPath, [main, "replay", record, "--onto", base]).status).toBe(0);
    expect(digest(base)).toBe(digest(disk));
  });
});

describe("a tap that is killed", () => {
  test("leaves a recording of what was written until then, and a client that was told so", async () => {
    const [disk, base, record] = [
      image("kill.img", 64 * MIB),
      image("kill-base.img", 64 * MIB),
      join(folder, "k.rec"),
    ];
    const tap = await startTap([`kill=${disk}`, "--listen", `unix:${folder}/kill.sock`, "--record", record]);
    // Piece i is of nothing but its own byte.
    const pieces = 1024;
    const writing = nbdsh(
      tap.urls[0]!,
      `
h.connect_uri(uri)
while True:
    for i in range(${pieces}): h.pwrite(bytes([i % 255 + 1]) * 65536, i * 65536)
`,
    );
    const failed = expect(writing).rejects.toThrow(/pwrite/);
    await until(() => statSync(record).size > 4 * MIB, "nothing is recorded");
    process.kill(tap.pid, "SIGKILL");
    await failed;
    expect(spawnSync(process.execPath, [main, "replay", record, "--onto", base]).status).toBe(0);
    const [replayed, there] = [base, disk].map((path) => readFileSync(path));
    let written = 0;
    for (let i = 0; i < pieces; i++) {
      const piece = replayed!.subarray(i * 65536, (i + 1) * 65536);
      if (piece.equals(Buffer.alloc(65536))) continue;
      written++;
      expect(piece.equals(Buffer.alloc(65536, (i % 255) + 1))).toBe(true);
      expect(piece.equals(there!.subarray(i * 65536, (i + 1) * 65536))).toBe(true);
    }
    expect(written).toBeGreaterThan(50);
    // The socket that it left is no obstacle.
    const next = await startTap([`kill=${disk}`, "--listen", `unix:${folder}/kill.sock`]);
    expect(await next.stop()).toBe(0);
  });
});

/** A server in this process, at a socket of its own. */
async function server(name: string, options: Partial<ServerOptions> = {}) {
  const path = join(folder, `${name}.sock`);
  const lines: string[] = [];
  const nbd = new NbdServer({ log: (line) => lines.push(line), ...options });
  await nbd.listen({ path });
  return { nbd, path, lines, url: (disk: string) => `nbd+unix:///${disk}?socket=${path}` };
}

/** The bytes of an image file; closed at the end. */
async function storeOf(path: string): Promise<Store> {
  const store = await openImageStore(path);
  stores.push(store);
  return store;
}

/** Keeps what it is told. */
class Kept implements WriteSink {
  readonly records: WriteRecord[] = [];

  take(record: WriteRecord): undefined {
    this.records.push(record);
  }
}

describe("a mirror's target", () => {
  test("QEMU mirrors a disk's writes to it: in order, with their data, and nothing is stored", async () => {
    const disk = image("source.img", 8 * MIB, "s");
    const base = readFileSync(disk);
    const { nbd, path } = await server("mirror");
    const kept = new Kept();
    nbd.add(new Export("d0", "a mirror", new MirrorStore(8 * MIB), kept));
    const qmp = join(folder, "qmp.sock");
    const source = join(folder, "source.sock");
    const daemon = spawn("qemu-storage-daemon", [
      "--blockdev",
      `driver=file,node-name=f0,filename=${disk},discard=unmap`,
      "--blockdev",
      "driver=raw,node-name=d0,file=f0",
      "--chardev",
      `socket,id=qmp,path=${qmp},server=on,wait=off`,
      "--monitor",
      "chardev=qmp",
      "--nbd-server",
      `addr.type=unix,addr.path=${source}`,
      "--export",
      "type=nbd,id=e0,node-name=d0,name=d0,writable=on",
    ]);
    endWithTests(daemon);
    await until(() => existsSync(qmp) && existsSync(source), "qemu-storage-daemon does not start");
    const monitor = connect(qmp);
    let said = "";
    monitor.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    const execute = async (command: string, args?: object) => {
      const from = said.length;
      monitor.write(JSON.stringify({ execute: command, arguments: args }));
      await until(() => /"(return|error)": \{[^\n]*\n/.test(said.slice(from)), `${command} is not answered`);
      expect(said.slice(from)).not.toContain('"error": {');
    };
    await execute("qmp_capabilities");
    await execute("blockdev-add", {
      driver: "nbd",
      "node-name": "tap-d0",
      export: "d0",
      server: { type: "unix", path },
    });
    await execute("blockdev-mirror", {
      "job-id": "job-d0",
      device: "d0",
      target: "tap-d0",
      "filter-node-name": "tapf-d0",
      sync: "none",
      "copy-mode": "write-blocking",
      "on-target-error": "report",
    });
    const commands = [
      "write -P 1 0 4k",
      "write -P 2 512 512",
      "write -z 1M 64k",
      "write -P 3 2M 1M",
      "flush",
    ];
    const args = commands.flatMap((command) => ["-c", command]);
    await run("qemu-io", ["-f", "raw", ...args, `nbd+unix:///d0?socket=${source}`]);
    const writes = kept.records.filter(({ kind }) => kind === "write" || kind === "zeroes");
    expect(writes.map(({ offset, length }) => [offset, length])).toEqual([
      [0, 4096],
      [512, 512],
      [MIB, 65536],
      [2 * MIB, MIB],
    ]);
    for (const { data, offset, length } of writes) {
      if (data === undefined) base.fill(0, offset, offset + length);
      else data.copy(base, offset);
    }
    expect(base.equals(readFileSync(disk))).toBe(true);
    // The tap goes away: the guest's disk goes on.
    await nbd.stop();
    await run("qemu-io", ["-f", "raw", "-c", "write -P 4 0 4k", `nbd+unix:///d0?socket=${source}`]);
    expect(readFileSync(disk)[100]).toBe(4);
    monitor.destroy();
    daemon.kill("SIGTERM");
  });

  test("reads answer zeros, it says that it has none, and several connections are not offered", async () => {
    const { nbd, url } = await server("zeros");
    nbd.add(new Export("d0", "a mirror", new MirrorStore(2 ** 45), new Kept()));
    const { exports } = JSON.parse(await run("nbdinfo", ["--json", url("d0")]));
    expect(exports[0]).toMatchObject({ "export-size": 2 ** 45, can_multi_conn: false });
    const said = await nbdsh(
      url("d0"),
      `
h.connect_uri(uri)
h.pwrite(b"x" * 512, 2**45 - 512)
h.zero(2**31, 2**44, nbd.CMD_FLAG_FAST_ZERO)
print(h.pread(512, 2**45 - 512) == bytes(512))
`,
    );
    expect(said.trim()).toBe("True");
    expect(await run("nbdinfo", ["--map", "--totals", url("d0")])).toMatch(/100\.0% +3 +hole,zero/);
    await nbd.stop();
  });
});

describe("the log of QEMU's blklogwrites", () => {
  /** Runs qemu-io's commands on a disk whose log is the export `log` at a socket. */
  const qemuIo = (disk: string, path: string, options: string[], ...commands: string[]) =>
    run("qemu-io", [
      "--image-opts",
      [
        `driver=blklogwrites,file.driver=file,file.filename=${disk}`,
        `log.driver=nbd,log.server.type=unix,log.server.path=${path},log.export=log`,
        ...options,
      ].join(","),
      ...commands.flatMap((command) => ["-c", command]),
    ]);

  async function logging(name: string, sectorSize?: number) {
    const disk = image(`${name}.img`, 16 * MIB, "l");
    const model = readFileSync(disk);
    const made = await server(name);
    const kept = new Kept();
    const log = (line: string) => made.lines.push(line);
    const sink = new LogSink({ diskSize: 16 * MIB, sink: kept, log, ...(sectorSize ? { sectorSize } : {}) });
    made.nbd.add(new Export("log", "", new MirrorStore(LOG_SIZE), sink));
    const apply = () => {
      const there = readFileSync(disk);
      for (const { kind, data, offset, length } of kept.records.splice(0)) {
        if (kind === "write") data!.copy(model, offset);
        if (kind === "zeroes") model.fill(0, offset, offset + length);
        // What a disk holds after a discard is not said.
        if (kind === "discard") there.copy(model, offset, offset, offset + length);
      }
      return model.equals(there);
    };
    return { ...made, disk, kept, apply };
  }

  test("comes out as the disk's writes, flushes and discards, several at a time, and after a new start", async () => {
    const { nbd, path, disk, kept, apply, lines } = await logging("log");
    const many = Array.from(
      { length: 40 },
      (_, i) => `aio_write -P ${i + 1} ${i * 80}k ${4 + (i % 3) * 32}k`,
    );
    await qemuIo(disk, path, [], "write -P 1 0 4k", ...many, "aio_flush", "write -z 8M 3M", "flush");
    const kinds = kept.records.map(({ kind }) => kind);
    expect(kinds).toContain("flush");
    expect(kinds).toContain("zeroes");
    expect(apply()).toBe(true);
    await qemuIo(disk, path, [], "write -P 9 100k 2M", "discard 12M 1M", "flush");
    expect(kept.records.map(({ kind, offset }) => `${kind} ${offset}`)).toContain(`discard ${12 * MIB}`);
    expect(apply()).toBe(true);
    expect(lines).toEqual([]);
    await nbd.stop();
  });

  test("that goes on after the tap died, its beginning lost, tells that anything may have been written", async () => {
    const { nbd, kept, lines, path } = await logging("late");
    await run("qemu-io", ["-f", "raw", "-c", "write -P 1 1M 8k", `nbd+unix:///log?socket=${path}`]);
    const told = kept.records.map(({ kind, length }) => `${kind} ${length}`);
    expect(new Set(told)).toEqual(new Set([`gap ${16 * MIB}`]));
    expect(lines).toEqual([]);
    await nbd.stop();
  });

  test("with other sectors than were agreed on tells so, and that anything may have been written", async () => {
    const { nbd, path, disk, kept, lines } = await logging("sectors", 512);
    await qemuIo(
      disk,
      path,
      ["log-sector-size=4096"],
      "write -P 1 0 4k",
      "flush",
      "write -P 2 8k 4k",
      "flush",
    );
    expect(lines).toEqual(["log: log-sector-size is 4096 in QEMU, and 512 here; make them the same"]);
    const told = kept.records.map(({ kind, length }) => `${kind} ${length}`);
    expect(new Set(told)).toEqual(new Set([`gap ${16 * MIB}`]));
    await nbd.stop();
    const other = await logging("sectors-4096", 4096);
    await qemuIo(
      other.disk,
      other.path,
      ["log-sector-size=4096"],
      "write -P 1 0 4k",
      "write -P 2 8k 64k",
      "flush",
    );
    expect(other.apply()).toBe(true);
    await other.nbd.stop();
  });

  test("that makes no sense is a gap, not a crash", async () => {
    const { nbd, kept, lines, url } = await logging("nonsense");
    await nbdsh(
      url("log"),
      `
import os, random
random.seed(7)
h.connect_uri(uri)
h.pwrite(bytes([0xff]) * 8192, 512)
h.pwrite(bytes(512), 2**40)
for _ in range(200):
    h.pwrite(random.randbytes(random.randrange(1, 5000)), random.choice([512, 1024, random.randrange(2**20)]))
`,
    );
    expect(lines[0]).toBe("log: an entry of the log makes no sense");
    for (const { kind, offset, length } of kept.records) {
      expect(["gap", "flush", "write", "discard"]).toContain(kind);
      expect(offset + length).toBeLessThanOrEqual(16 * MIB);
    }
    await nbd.stop();
  });
});

describe("whoever works on the writes", () => {
  test("can hang: with data-drop no write waits, memory is bounded, and what was lost is told", async () => {
    const disk = image("slow.img", 64 * MIB);
    const { nbd, url } = await server("slow");
    let go = () => {};
    const hang = new Promise<void>((resolve) => {
      go = resolve;
    });
    const all: WriteRecord[] = [];
    const queue = new WriteQueue({
      sizeLimit: 4 * MIB,
      consume: async (batch) => {
        await hang;
        all.push(...batch);
      },
    });
    nbd.add(new Export("slow", "", await storeOf(disk), queue));
    const content = join(folder, "content.img");
    writeFileSync(content, randomBytes(64 * MIB));
    await run("nbdcopy", ["--flush", content, url("slow")]);
    expect(digest(disk)).toBe(digest(content));
    expect(queue.counters.mostBytes).toBeLessThanOrEqual(4 * MIB);
    expect(queue.counters.droppedWrites).toBeGreaterThan(0);
    go();
    await queue.flush();
    let bytes = 0;
    for (const { kind, length } of all) bytes += kind === "write" || kind === "gap" ? length : 0;
    expect(bytes).toBeGreaterThanOrEqual(64 * MIB);
    await nbd.stop();
  });

  test("can be slow: with block the guest waits, nothing is lost, and other disks go on", async () => {
    const { nbd, url } = await server("block");
    let go = () => {};
    const hang = new Promise<void>((resolve) => {
      go = resolve;
    });
    const queue = new WriteQueue({
      sizeLimit: MIB,
      pressure: "block",
      consume: () => hang,
    });
    const kept = new Kept();
    nbd.add(new Export("slow", "", new MirrorStore(64 * MIB), queue));
    nbd.add(new Export("other", "", new MirrorStore(64 * MIB), kept));
    const content = join(folder, "content.img");
    let isDone = false;
    const copying = run("nbdcopy", ["--request-size=262144", content, url("slow")]).then(() => {
      isDone = true;
    });
    await until(() => queue.counters.blocked > 0, "nobody waits");
    await run("nbdcopy", [content, url("other")]);
    expect(kept.records.length).toBeGreaterThan(0);
    expect(isDone).toBe(false);
    go();
    await copying;
    await queue.flush();
    expect(queue.counters).toMatchObject({ droppedWrites: 0, bytes: 64 * MIB });
    await nbd.stop();
  });

  test("can hang for good, and a disk whose guest waits for it can still be taken away", async () => {
    const { nbd, path } = await server("forever");
    const queue = new WriteQueue({ sizeLimit: MIB, pressure: "block", consume: () => new Promise(() => {}) });
    nbd.add(new Export("d", "", new MirrorStore(64 * MIB), queue));
    const client = new Rude(path);
    await client.enter("d");
    for (let i = 0; i < 8; i++) client.socket.write(Buffer.concat([request(1, 0, MIB), Buffer.alloc(MIB)]));
    await until(() => queue.counters.blocked > 0, "nobody waits");
    await nbd.remove("d");
    await until(() => client.isClosed, "it is still connected");
    await nbd.stop();
  });

  test("is told only after the guest was answered and the image has it", async () => {
    const disk = image("after.img", MIB);
    const { nbd, url } = await server("after");
    const seen: boolean[] = [];
    const sink: WriteSink = {
      take({ kind, offset, data }) {
        if (kind === "write")
          seen.push(
            readFileSync(disk)
              .subarray(offset, offset + data!.length)
              .equals(data!),
          );
        return undefined;
      },
    };
    nbd.add(new Export("d", "", await storeOf(disk), sink));
    await nbdsh(
      url("d"),
      "h.connect_uri(uri)\nfor i in range(20): h.pwrite(bytes([i + 1]) * 4096, i * 4096)",
    );
    expect(seen).toEqual(Array.from({ length: 20 }, () => true));
    await nbd.stop();
  });

  test("gets writes to the same bytes in the order in which the image got them", async () => {
    const disk = image("same.img", MIB);
    const { nbd, url } = await server("same");
    const kept = new Kept();
    nbd.add(new Export("d", "", await storeOf(disk), kept));
    await nbdsh(
      url("d"),
      `
h.connect_uri(uri)
buffers = [nbd.Buffer.from_bytearray(bytearray([i % 256]) * 65536) for i in range(60)]
cookies = [h.aio_pwrite(b, (i % 3) * 4096, None, nbd.CMD_FLAG_FUA if i % 7 == 0 else 0) for i, b in enumerate(buffers)]
while not all(h.aio_command_completed(c) for c in cookies[-1:]): h.poll(-1)
while h.aio_in_flight() > 0: h.poll(-1)
h.shutdown()
`,
    );
    const model = Buffer.alloc(MIB);
    for (const { data, offset } of kept.records) data?.copy(model, offset);
    expect(model.equals(readFileSync(disk))).toBe(true);
    expect(kept.records.filter(({ kind }) => kind === "write")).toHaveLength(60);
    await nbd.stop();
  });
});

/** A client that sends what it likes. */
class Rude {
  readonly socket: Socket;
  received = Buffer.alloc(0);
  isClosed = false;

  constructor(path: string, isReading = true) {
    this.socket = connect(path);
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      this.isClosed = true;
    });
    if (isReading) {
      this.socket.on("data", (chunk) => {
        this.received = Buffer.concat([this.received, chunk]);
      });
    }
  }

  /** Sends, and waits until `count` more bytes have come, or the end. */
  async ask(bytes: Buffer, count: number): Promise<Buffer> {
    const from = this.received.length;
    this.socket.write(bytes);
    await until(() => this.isClosed || this.received.length >= from + count, "no answer");
    return this.received.subarray(from);
  }

  /** Goes through the handshake to an export, by EXPORT_NAME. */
  async enter(name: string): Promise<void> {
    await until(() => this.isClosed || this.received.length >= 18, "no greeting");
    this.socket.write(Buffer.from([0, 0, 0, 3]));
    await this.ask(option(1, Buffer.from(name)), 10);
  }

  end(): void {
    this.socket.destroy();
  }
}

function option(number: number, data: Buffer, length = data.length): Buffer {
  const head = Buffer.alloc(16);
  head.write("IHAVEOPT");
  head.writeUInt32BE(number, 8);
  head.writeUInt32BE(length >>> 0, 12);
  return Buffer.concat([head, data]);
}

function request(type: number, offset: number, length: number, flags = 0): Buffer {
  const head = Buffer.alloc(28);
  head.writeUInt32BE(0x25609513);
  head.writeUInt16BE(flags, 4);
  head.writeUInt16BE(type, 6);
  head.writeUInt32BE(7, 12);
  head.writeUInt32BE(Math.floor(offset / 2 ** 32), 16);
  head.writeUInt32BE(offset % 2 ** 32, 20);
  head.writeUInt32BE(length >>> 0, 24);
  return head;
}

describe("clients that break the rules", () => {
  const disk = image("rude.img", 64 * MIB);

  async function serving(name: string, options: Partial<ServerOptions> = {}) {
    const made = await server(name, options);
    made.nbd.add(new Export("d", "", await storeOf(disk), new Kept()));
    /** A client that keeps the rules is served. */
    const works = async () => {
      const script = "h.connect_uri(uri); h.pwrite(b'ok' * 256, 4096); print(h.pread(2, 4096) == b'ok')";
      expect((await nbdsh(made.url("d"), script)).trim()).toBe("True");
    };
    return { ...made, works };
  }

  test("are sent away at once for a wrong beginning, magic or option, and others are served", async () => {
    const { nbd, path, works } = await serving("magic");
    const wrong: Array<[string, Buffer]> = [
      ["unknown client flags", Buffer.from([0, 0, 0, 0xff])],
      ["HTTP", Buffer.from("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")],
      ["no IHAVEOPT", Buffer.concat([Buffer.from([0, 0, 0, 3]), Buffer.alloc(16, 1)])],
      ["an option of 4 GiB", Buffer.concat([Buffer.from([0, 0, 0, 3]), option(7, Buffer.alloc(0), -1)])],
      ["an unknown export", Buffer.concat([Buffer.from([0, 0, 0, 3]), option(1, Buffer.from("none"))])],
      [
        "an option without fixed newstyle",
        Buffer.concat([Buffer.from([0, 0, 0, 0]), option(3, Buffer.alloc(0))]),
      ],
      [
        "options without end",
        Buffer.concat([
          Buffer.from([0, 0, 0, 3]),
          ...Array.from({ length: 300 }, () => option(99, Buffer.alloc(0))),
        ]),
      ],
    ];
    for (const [what, bytes] of wrong) {
      const client = new Rude(path);
      client.socket.write(bytes);
      await until(() => client.isClosed, `${what}: is not sent away`);
    }
    const client = new Rude(path);
    await client.enter("d");
    client.socket.write(Buffer.alloc(28, 0xee));
    await until(() => client.isClosed, "a wrong request is not sent away");
    await works();
    expect(nbd.clients).toBeLessThanOrEqual(1);
    await nbd.stop();
  });

  test("options with wrong lengths inside are refused, and the client may go on", async () => {
    const { nbd, path } = await serving("options");
    const client = new Rude(path);
    await until(() => client.received.length >= 18, "no greeting");
    client.socket.write(Buffer.from([0, 0, 0, 3]));
    const type = async (number: number, data: Buffer) => {
      const answer = await client.ask(option(number, data), 20);
      await sleep(20);
      return answer.readUInt32BE(12) >>> 0;
    };
    const invalid = 0x80000003;
    expect(await type(7, Buffer.from([0xff, 0xff, 0xff, 0xff, 0, 0]))).toBe(invalid);
    expect(await type(7, Buffer.alloc(3))).toBe(invalid);
    expect(await type(6, Buffer.from([0, 0, 0, 1, 0x64, 0xff, 0xff, 0, 3]))).toBe(invalid);
    expect(await type(3, Buffer.from("x"))).toBe(invalid);
    expect(await type(10, Buffer.alloc(8))).toBe(invalid);
    expect(await type(8, Buffer.from("x"))).toBe(invalid);
    expect(await type(5, Buffer.alloc(0))).toBe(0x80000002);
    expect(await type(11, Buffer.alloc(0))).toBe(0x80000001);
    expect(await type(8, Buffer.alloc(0))).toBe(1);
    expect(await type(10, Buffer.from([0, 0, 0, 1, 0x64, 0xff, 0xff, 0xff, 0xff]))).toBe(invalid);
    expect(await type(6, Buffer.from([0, 0, 0, 1, 0x78, 0, 0]))).toBe(0x80000006);
    expect(await type(6, Buffer.from([0, 0, 0, 1, 0x64, 0, 0]))).toBe(3);
    expect(await type(2, Buffer.alloc(0))).toBe(1);
    await until(() => client.isClosed, "it is not let go");
    await nbd.stop();
  });

  test("a payload of 4 GiB is passed over without memory, unknown commands are refused", async () => {
    const { nbd, path, works } = await serving("giant");
    const client = new Rude(path);
    await client.enter("d");
    const error = (answer: Buffer) => answer.readUInt32BE(4);
    expect(error(await client.ask(request(99, 0, 0), 16))).toBe(22);
    expect(error(await client.ask(request(0, 0, -1), 16))).toBe(22);
    expect(error(await client.ask(request(7, 0, 512), 16))).toBe(22);
    expect(error(await client.ask(request(3, 0, 1), 16))).toBe(22);
    expect(error(await client.ask(request(6, 2 ** 63, -1), 16))).toBe(28);
    const before = process.memoryUsage.rss();
    client.socket.write(request(1, 0, -1));
    for (let i = 0; i < 200; i++) {
      if (!client.socket.write(Buffer.alloc(MIB)))
        await new Promise((resolve) => client.socket.once("drain", resolve));
    }
    expect(process.memoryUsage.rss() - before).toBeLessThan(150 * MIB);
    await works();
    client.end();
    await nbd.stop();
  });

  test("half requests, and answers that are not taken, hold no more than the limit, and stop nobody", async () => {
    const { nbd, path, works, lines } = await serving("hold", { memory: 96 * MIB });
    const rude: Rude[] = [];
    for (let i = 0; i < 3; i++) {
      const half = new Rude(path);
      await half.enter("d");
      half.socket.write(request(1, 0, 32 * MIB));
      half.socket.write(Buffer.alloc(1000));
      rude.push(half);
    }
    const deaf = new Rude(path);
    await deaf.enter("d");
    deaf.socket.pause();
    for (let i = 0; i < 40; i++) deaf.socket.write(request(0, 0, 16 * MIB));
    rude.push(deaf);
    await sleep(100);
    await works();
    expect(lines.join("\n")).toContain("others wait for the memory that it holds");
    for (const client of rude) client.end();
    await until(() => nbd.clients === 0, "clients are left");
    await works();
    await nbd.stop();
  });

  test("one that is slow in its handshake is sent away, and no more clients than the limit are let in", async () => {
    const { nbd, path, works, lines } = await serving("many", { handshakeTimeout: 300, mostClients: 4 });
    const rude = Array.from({ length: 6 }, () => new Rude(path));
    await until(() => rude.filter(({ isClosed }) => isClosed).length >= 2, "too many are let in");
    expect(lines.join("\n")).toContain("there are 4 already");
    await until(() => rude.every(({ isClosed }) => isClosed), "they may stay");
    await works();
    await nbd.stop();
  });

  test("one that vanishes in the middle of its requests leaves nothing behind", async () => {
    const { nbd, path, works } = await serving("vanish");
    for (let round = 0; round < 30; round++) {
      const client = new Rude(path);
      await client.enter("d");
      for (let i = 0; i < 10; i++) {
        client.socket.write(request(0, i * MIB, MIB));
        client.socket.write(Buffer.concat([request(1, i * MIB, 4096), Buffer.alloc(4096, i)]));
      }
      client.socket.write(request(1, 0, MIB).subarray(0, 11 + round));
      client.end();
    }
    await until(() => nbd.clients === 0, "clients are left");
    await works();
    await nbd.stop();
  });

  test("random bytes, at any point of the conversation, are answered or end it", async () => {
    const { nbd, path, works } = await serving("random");
    let seed = 42;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const noise = (length: number) => Buffer.from(Array.from({ length }, () => random(256)));
    const clients: Rude[] = [];
    for (let round = 0; round < 150; round++) {
      const client = new Rude(path);
      clients.push(client);
      const parts: Buffer[] = [Buffer.from([0, 0, 0, 3])];
      for (let i = random(4); i > 0; i--) parts.push(option(random(13), noise(random(40))));
      if (random(2) === 0) parts.push(option(1, Buffer.from("d")));
      for (let i = random(6); i > 0; i--)
        parts.push(request(random(9), random(2 ** 27), random(2 ** 25), random(32)));
      parts.push(noise(random(300)));
      client.socket.write(Buffer.concat(parts));
      if (clients.length > 60) clients.shift()!.end();
    }
    await sleep(100);
    for (const client of clients) client.end();
    await until(() => nbd.clients === 0, "clients are left");
    await works();
    await nbd.stop();
  });

  test("a disk that is taken away ends its clients' connections, and no others", async () => {
    const { nbd, path } = await serving("remove");
    nbd.add(new Export("other", "", new MirrorStore(MIB), new Kept()));
    const [one, other] = [new Rude(path), new Rude(path)];
    await one.enter("d");
    await other.enter("other");
    await nbd.remove("d");
    await until(() => one.isClosed, "it is still connected");
    expect((await other.ask(request(3, 0, 0), 16)).readUInt32BE(4)).toBe(0);
    expect(other.isClosed).toBe(false);
    await nbd.stop();
  });
});
