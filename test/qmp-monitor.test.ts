/** Attaching to QEMU: disks of all kinds, what can go wrong, and monitors that lie. No guest runs in these machines. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, test, vi } from "vitest";
import { attachGuest } from "../src/capture/qmp/attach.js";
import type { GuardedGuest } from "../src/capture/qmp/attachment.js";
import { QmpClient, QmpError } from "../src/capture/qmp/qmp-client.js";
import { watchGuest } from "../src/capture/qmp/watch.js";
import { openRecording } from "../src/capture/recording/open.js";
import { cleanUp, endWithTests, run, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";
import { until } from "./support/nbd-tap.js";
import { Attaching, blockState, waitForState } from "./support/qmp-guest.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("qmp-monitor");

afterAll(cleanUp);

const MIB = 1 << 20;

interface Bare {
  readonly place: string;
  readonly socket: string;
  readonly monitor: QmpClient;
  readonly state: unknown;
}

/** A file in which each byte is a letter. */
function letters(path: string, letter: string, size = 4 * MIB): string {
  writeFileSync(path, Buffer.alloc(size, letter));
  return path;
}

/** A machine whose processor is not started; `devices` are of files in its folder. */
async function bare(name: string, devices: (place: string) => Promise<string[]> | string[]): Promise<Bare> {
  const place = join(folder, name);
  mkdirSync(place);
  const [socket, second] = [join(place, "monitor"), join(place, "second")];
  const machine = ["-machine", "q35", "-accel", "tcg", "-m", "16", "-nodefaults", "-display", "none", "-S"];
  const monitors = [socket, second].flatMap((path) => ["-qmp", `unix:${path},server=on,wait=off`]);
  const child = spawn("qemu-system-x86_64", [...machine, ...monitors, ...(await devices(place))], {
    // It tells of connections that end.
    stdio: "ignore",
  });
  endWithTests(child);
  // The socket is there before QEMU listens at it.
  let monitor: QmpClient | undefined;
  const isThere = async (): Promise<boolean> => {
    monitor = existsSync(second) ? await QmpClient.connect(second).catch(() => undefined) : undefined;
    return monitor !== undefined || child.exitCode !== null;
  };
  await until(isThere, "QEMU does not start");
  if (monitor === undefined) throw new Error(`QEMU has ended with ${child.exitCode}`);
  return { place, socket, monitor, state: await blockState(monitor) };
}

/** One disk of 4 MiB. */
const oneDisk = (place: string) => [
  ...["-drive", `file=${letters(join(place, "a.img"), "a")},format=raw,if=none,id=a`],
  ...["-device", "virtio-blk-pci,drive=a,id=first"],
];

/** Two SCSI disks, a and b. */
const scsiDisks = (place: string) => [
  ...["-device", "virtio-scsi-pci,id=bus"],
  ...["a", "b"].flatMap((name) => [
    ...["-drive", `file=${letters(join(place, name), name)},format=raw,if=none,id=${name}`],
    ...["-device", `scsi-hd,drive=${name},id=scsi-${name}`],
  ]),
];

/** Writes to a drive as its guest might. */
async function write(monitor: QmpClient, drive: string, command = "write -P 5 1M 64k"): Promise<void> {
  await monitor.execute("human-monitor-command", { "command-line": `qemu-io ${drive} "${command}"` });
}

async function kindsIn(recording: string): Promise<string[]> {
  const kinds = new Set<string>();
  for await (const { kind } of (await openRecording(recording)).records) kinds.add(kind);
  return [...kinds].sort();
}

/** The line with which attaching fails. */
async function refusal(place: string, options: { socket: string; disks?: string[] }): Promise<string> {
  const guarded = new Set<string>();
  const guard = {
    guard: async ({ socket }: GuardedGuest) => void guarded.add(socket),
    release: (socket: string) => void guarded.delete(socket),
  };
  const exportSocket = join(place, "refused.sock");
  const tapFor = () => ({ socket: join(place, "none.sock"), exportName: "none" });
  const error = await attachGuest({ ...options, exportSocket, tapFor, guard, log: () => {} }).then(
    () => undefined,
    (why: Error) => why,
  );
  expect(error).toBeInstanceOf(QmpError);
  expect([...guarded]).toEqual([]);
  return error!.message;
}

test("disks of every kind are found by any of their names, read and mirrored; CD-ROMs, firmware and drives of no device are none of them", async () => {
  const devices = async (place: string) => {
    const image = (letter: string) => letters(join(place, `${letter}.img`), letter);
    const qcow2 = async (letter: string) => {
      const path = join(place, `${letter}.qcow2`);
      await run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", image(letter), path]);
      return path;
    };
    return [
      ...["-object", "iothread,id=thread", "-object", "throttle-group,id=slow"],
      ...["-drive", `file=${image("a")},format=raw,if=virtio,throttling.iops-total=1000`],
      ...[
        "-drive",
        `file=${await qcow2("b")},if=none,id=second,discard=unmap`,
        "-device",
        "nvme,drive=second,serial=2",
      ],
      ...["-blockdev", `qcow2,node-name=inner,file.driver=file,file.filename=${await qcow2("c")}`],
      ...["-blockdev", "throttle,node-name=top,file=inner,throttle-group=slow"],
      ...["-device", "virtio-blk-pci,drive=top,id=third,iothread=thread"],
      ...["-drive", `file=${image("d")},format=raw,media=cdrom,if=ide`],
      ...["-drive", `file=${image("e")},format=raw,if=none,id=unused`],
      ...["-drive", `file=${letters(join(place, "f.img"), "f")},format=raw,if=pflash,readonly=on`],
      ...["-blockdev", `raw,node-name=fixed,read-only=on,file.driver=file,file.filename=${image("g")}`],
      ...["-device", "virtio-blk-pci,drive=fixed"],
    ];
  };
  const { place, socket, monitor, state } = await bare("kinds", devices);
  const attaching = new Attaching(join(place, "all"), { socket });
  const disks = await attaching.attached();
  expect(disks.map((disk) => [disk.index, disk.name, disk.format, disk.isRaw, disk.isReadOnly])).toEqual([
    [0, "virtio0", "raw", true, false],
    [1, "second", "qcow2", false, false],
    [2, "third", "throttle", false, false],
    [3, "fixed", "raw", true, true],
  ]);
  for (const [i, { exportUrl, size }] of disks.entries()) {
    expect(size).toBe(4 * MIB);
    const copy = join(place, "copy");
    await run("nbdcopy", [exportUrl, copy]);
    await run("cmp", [copy, join(place, `${"abcg"[i]}.img`)]);
  }
  for (const drive of ["virtio0", "second"]) {
    await write(monitor, drive);
    await write(monitor, drive, "write -z 2M 1M");
    // QEMU's filter drops it: neither the disk changes, nor is anything told.
    await write(monitor, drive, "discard 3M 64k");
  }
  await attaching.detach();
  expect(await blockState(monitor)).toEqual(state);
  for (const [i, format] of ["raw", "qcow2"].entries()) {
    const before = join(place, `${"ab"[i]}.before`);
    letters(before, "ab"[i]!);
    const recording = join(place, "all", `disk${i}.rec`);
    expect(await kindsIn(recording)).toEqual(["flush", "write", "zeroes"]);
    const said = await run(process.execPath, [main, "replay", recording, "--onto", before]);
    expect(said).toContain("(1114112 bytes)");
    const path = join(place, `${"ab"[i]}.${format === "raw" ? "img" : format}`);
    const same = ["compare", "-U", "-f", format, "-F", "raw", path, before];
    expect(await run("qemu-img", same)).toContain("identical");
  }
  for (const name of ["second", "top", "third", "fixed"]) {
    const one = new Attaching(join(place, `only-${name}`), { socket, disks: [name] });
    expect((await one.attached()).length).toBe(1);
    await one.detach();
  }
  expect(await refusal(place, { socket, disks: ["second", "cd0"] })).toBe(
    `${socket}: the guest has no disk cd0; it has virtio0, second, third, fixed`,
  );
  expect(await blockState(monitor)).toEqual(state);
});

test("what keeps it from attaching is told in a line, and nothing is changed in QEMU", async () => {
  const { place, socket, monitor, state } = await bare("refused", oneDisk);
  expect(await refusal(place, { socket: join(place, "none") })).toContain("no QEMU listens there");
  const other = await QmpClient.connect(socket);
  expect(await refusal(place, { socket })).toContain(
    "another program (libvirt?) is connected to this monitor",
  );
  other.close();

  const data = { path: join(place, "others.sock") };
  await monitor.execute("nbd-server-start", { addr: { type: "unix", data } });
  expect(await refusal(place, { socket })).toContain("another program has QEMU serve disks by NBD");
  const [{ "node-name": node }] = (await monitor.execute("query-named-block-nodes")) as [
    { "node-name": string },
  ];
  const taken = { type: "nbd", id: "mine", name: "mine", "node-name": node };
  await monitor.execute("block-export-add", taken);
  expect(await refusal(place, { socket })).toContain("another program has QEMU serve disks by NBD");
  expect(await run("nbdinfo", ["--size", `nbd+unix:///mine?socket=${data.path}`])).toBe(`${4 * MIB}\n`);
  await monitor.execute("nbd-server-stop");
  await waitForState(monitor, state);

  const first = new Attaching(join(place, "first"), { socket: join(place, "monitor") });
  await first.attached();
  monitor.close();
  expect(await refusal(place, { socket: join(place, "second") })).toBe(
    `${join(place, "second")}: slashcloud is attached already (process ${first.pid}); detach that first`,
  );
  await write(await QmpClient.connect(join(place, "second")), "a");
  await first.detach();
  expect(first.find("lost")).toBeUndefined();
});

test("of a guest that is watched only what is not raw is exported: again when the export was ended, another way after a snapshot, and not once it was unplugged; raw disks can grow", async () => {
  const devices = async (place: string) => {
    const qcow2 = join(place, "a.qcow2");
    await run("qemu-img", ["convert", "-O", "qcow2", letters(join(place, "a"), "a"), qcow2]);
    const drives = [`file=${qcow2},format=qcow2`, `file=${letters(join(place, "b"), "b")},format=raw`];
    return [
      ...["-device", "virtio-scsi-pci,id=bus"],
      ...drives.flatMap((drive, i) => [
        ...["-drive", `${drive},if=none,id=${"ab"[i]}`],
        ...["-device", `scsi-hd,drive=${"ab"[i]},id=scsi-${"ab"[i]}`],
      ]),
    ];
  };
  const { place, socket, monitor } = await bare("watched", devices);
  const log: string[] = [];
  const exportSocket = join(place, "watched.sock");
  const guard = { guard: async () => {}, release: () => {} };
  const begin = () => watchGuest({ socket, exportSocket, guard, log: (line) => log.push(line) });
  const exports = async () => (await monitor.execute("query-block-exports")) as Array<{ id: string }>;

  const others = { addr: { type: "unix", data: { path: join(place, "others.sock") } } };
  await monitor.execute("nbd-server-start", others);
  await expect(begin()).rejects.toThrow(/another program has QEMU serve disks by NBD/);
  await monitor.execute("nbd-server-stop");

  const guest = await begin();
  let images = guest.images;
  guest.onMoved((now) => {
    images = now;
  });
  const [first, raw] = images as [string, string];
  expect(raw).toBe(join(place, "b"));
  const read = async (url: string) => {
    const copy = join(place, "copy");
    await run("nbdcopy", [url.replace(/#.*/, ""), copy]);
    await run("cmp", [copy, join(place, "a")]);
  };
  await read(first);
  expect(await monitor.execute("query-jobs")).toEqual([]);
  expect((await exports()).length).toBe(1);

  await monitor.execute("block-export-del", { id: (await exports())[0]!.id, mode: "hard" });
  await until(() => images[0] !== first, "it is not exported again");
  await read(images[0]!);

  await monitor.execute("block_resize", { device: "b", size: 8 * MIB });
  await expect(monitor.execute("block_resize", { device: "a", size: 8 * MIB })).rejects.toThrow(/resize/);
  const overlay = { "snapshot-file": join(place, "overlay"), format: "qcow2" };
  await monitor.execute("blockdev-snapshot-sync", { device: "b", ...overlay });
  await until(() => images[1] !== raw, "the snapshot is not noticed");
  expect(images[1]).toContain(`#file=${join(place, "overlay")}`);
  const size = await run("nbdinfo", ["--size", images[1]!.replace(/#.*/, "")]);
  expect(Number(size)).toBe(8 * MIB);

  for (const name of ["b", "a"]) {
    await monitor.execute("device_del", { id: `scsi-${name}` });
    const left = name === "b" ? 1 : 0;
    for (const limit = performance.now() + 20_000; (await exports()).length !== left; await sleep(20))
      if (performance.now() > limit) throw new Error(`${name} is exported still\n${log.join("\n")}`);
  }
  expect(images.length).toBe(1);
  await guest.detach();
  expect(log).toEqual([]);
  expect(await exports()).toEqual([]);
  await monitor.execute("nbd-server-start", others);
  await monitor.execute("nbd-server-stop");
  monitor.close();
});

test("a mirror that ends is told of and can be begun again; a disk that is unplugged is told of, and the others go on", async () => {
  const { place, socket, monitor, state } = await bare("lost", scsiDisks);
  const attaching = new Attaching(join(place, "tap"), { socket });
  const disks = await attaching.attached();
  await attaching.does("drop 0");
  await write(monitor, "a");
  expect(await attaching.hears("lost")).toMatchObject({ index: 0, canReattach: true });
  expect(attaching.find("lost")!.reason).toMatch(/^its mirror ended \(.+\)$/);
  await attaching.does("reattach 0");
  await write(monitor, "a");
  // Others cannot change its size as long as it is mirrored, but they can try.
  await expect(monitor.execute("block_resize", { device: "a", size: 8 * MIB })).rejects.toThrow("in use");
  await monitor.execute("device_del", { id: "scsi-b" });
  const unplugged = () => attaching.told.find(({ canReattach }) => canReattach === false);
  await until(() => unplugged() !== undefined, "nobody tells that it was unplugged");
  expect(unplugged()).toMatchObject({ index: 1, reason: "it was unplugged" });
  await write(monitor, "a", "write -P 6 2M 4k");
  expect(await run("nbdinfo", ["--size", disks[0]!.exportUrl])).toBe(`${4 * MIB}\n`);
  await attaching.detach();
  const after = JSON.stringify(await blockState(monitor));
  expect(after).not.toMatch(/slashcloud-[0-9a-z]+\./);
  expect(after).not.toContain("scsi-b");
  expect(after.length).toBeLessThan(JSON.stringify(state).length);
  // The mirror that ended missed one write.
  const recording = join(place, "tap", "disk0.rec");
  const copy = letters(join(place, "copy"), "a");
  expect(await run(process.execPath, [main, "replay", recording, "--onto", copy])).toContain("(69632 bytes)");

  const again = new Attaching(join(place, "again"), { socket });
  await again.attached();
  await monitor.execute("quit");
  expect((await again.hears("lost")).reason).toBe("the guest was switched off (host-qmp-quit)");
  expect(again.told.filter(({ kind }) => kind === "lost").length).toBe(1);
  await again.detach();
});

test("what a slashcloud left that died with its watchdog is taken away by the next", async () => {
  const { place, socket, monitor, state } = await bare("left", oneDisk);
  // As early as it can die: QEMU serves, and exports nothing.
  const data = { path: join(place, "next", "export.sock") };
  mkdirSync(join(place, "next"));
  await monitor.execute("nbd-server-start", { addr: { type: "unix", data } });
  await monitor.execute("blockdev-add", { driver: "null-co", "node-name": "slashcloud-1.1-t0", size: 4096 });
  const next = new Attaching(join(place, "next"), { socket });
  await next.attached();
  await next.detach();
  expect(await blockState(monitor)).toEqual(state);
});

test("a machine that stood still as a whole costs nobody his mirrors; a watchdog that hangs is replaced", async () => {
  const { place, socket, monitor, state } = await bare("still", oneDisk);
  const attaching = new Attaching(join(place, "tap"), { socket });
  await attaching.attached();
  const { watchdog } = attaching;
  for (let round = 0; round < 3; round++) {
    process.kill(watchdog, "SIGSTOP");
    attaching.kill("SIGSTOP");
    await sleep(1000);
    process.kill(watchdog, "SIGCONT");
    attaching.kill("SIGCONT");
    await sleep(300);
  }
  await write(monitor, "a");
  expect(attaching.hasEnded).toBe(false);
  process.kill(watchdog, "SIGSTOP");
  await until(() => attaching.find("log") !== undefined, "nobody misses the watchdog");
  expect(attaching.find("log")!.line).toBe("the watchdog died (SIGKILL) and is started again");
  await attaching.detach();
  expect(await blockState(monitor)).toEqual(state);
});

describe("a monitor that is none, or whose QEMU is its guest's", () => {
  const greeting = { QMP: { version: { qemu: { major: 7, minor: 2, micro: 0 } }, capabilities: [] } };

  /** Says hello as QEMU does, and answers commands by `answer`. */
  const likeQemu = (answer: (command: string, id: number, socket: Socket) => string) => (socket: Socket) => {
    socket.write(`${JSON.stringify(greeting)}\r\n`);
    socket.setEncoding("utf8").on("data", (text: string) => {
      for (const line of text.split("\n").filter((part) => part !== "")) {
        const { execute, id } = JSON.parse(line);
        if (execute === "qmp_capabilities") socket.write(`{"return":{},"id":${id}}\r\n`);
        else socket.write(answer(execute, id, socket));
      }
    });
  };

  const disk = (inserted: unknown) => JSON.stringify([{ device: "a", qdev: "/machine/x", inserted }]);
  const answers = (block: string) =>
    likeQemu((command, id) => `{"id":${id},"return":${command === "query-block" ? block : "[]"}}\n`);

  const monitors: Record<string, [(socket: Socket) => void, string]> = {
    "speaks another protocol": [
      (socket) => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"),
      "no monitor of QEMU's",
    ],
    "greets with something else": [(socket) => socket.write("[1]\n"), "no monitor of QEMU's"],
    "is of an old QEMU": [
      (socket) => socket.write('{"QMP":{"version":{"qemu":{"major":4,"minor":2}}}}\n'),
      "QEMU 4.2 is too old",
    ],
    "hangs up": [(socket) => socket.end(), "QEMU closed its monitor"],
    "hangs up amid its work": [
      likeQemu((command, id, socket) => {
        if (command === "query-block") socket.end();
        return `{"return":[],"id":${id}}\n`;
      }),
      "QEMU closed its monitor",
    ],
    "never ends a message": [
      (socket) => {
        const piece = Buffer.alloc(1 << 20, " ");
        const more = () => {
          while (!socket.destroyed && socket.write(piece));
        };
        socket.on("drain", more);
        more();
      },
      "a message is too long",
    ],
    "nests without an end": [answers("[".repeat(1 << 20)), "no monitor of QEMU's"],
    "answers what was not asked": [
      likeQemu(
        (_command, id) =>
          `{"return":7,"id":"x"}\n{"id":99}\n[]\nnull\n{"event":{}}\n{"return":{},"id":${id}}\n`,
      ),
      "the guest has no disk",
    ],
    "has disks of no size": [
      answers(disk({ "node-name": "n", drv: "raw", image: { filename: "/x", "virtual-size": 1e300 } })),
      "QEMU does not tell what disk /machine/x is",
    ],
    "has disks without names": [answers(disk({ drv: 3, image: [] })), "QEMU does not tell what disk"],
    "refuses in many lines": [
      likeQemu((_command, id) => `{"error":{"desc":"no\\nno\\u001b[2J${"!".repeat(100_000)}"},"id":${id}}\n`),
      "query-jobs: no no [2J!!!",
    ],
  };

  test("a file that QEMU names and does not have open is not taken for a disk's", async () => {
    const place = join(folder, "named");
    mkdirSync(place);
    const socket = join(place, "monitor");
    const image = { filename: "/etc/passwd", "virtual-size": 512 };
    const server = createServer(answers(disk({ "node-name": "n", drv: "raw", ro: true, image })));
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    const isRaw = async () => {
      const attachment = await attachGuest({
        socket,
        exportSocket: join(place, "export.sock"),
        tapFor: () => ({ socket: "", exportName: "" }),
        guard: { guard: async () => {}, release: () => {} },
        log: () => {},
      });
      await attachment.detach();
      return attachment.disks[0]!.isRaw;
    };
    expect(await isRaw()).toBe(false);
    const opened = await open("/etc/passwd");
    expect(await isRaw()).toBe(true);
    await opened.close();
    server.close();
  });

  test.each(Object.entries(monitors))("%s: it is told in a line", async (name, [act, line]) => {
    const place = join(folder, name.replaceAll(" ", "-"));
    mkdirSync(place);
    const socket = join(place, "monitor");
    const server = createServer((peer) => {
      peer.on("error", () => {});
      act(peer);
    });
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    const told = await refusal(place, { socket });
    server.close();
    expect(told).toContain(`${socket}: `);
    expect(told).toContain(line);
    expect(told.length).toBeLessThan(1000);
    expect(told).not.toMatch(/\p{Cc}/u);
  });
});
