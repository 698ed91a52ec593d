/** `slashcloud trace`: which files a guest reads and writes. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test, vi } from "vitest";
import { guestImage, Machine } from "./support/guest-machine.js";
import { cleanUp, endWithTests, mount, run, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";

vi.setConfig({ testTimeout: 180_000 });

const folder = workFolder("trace");

afterAll(cleanUp);

/** A trace that runs. */
class Trace {
  said = "";
  printed = "";
  readonly socket: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<number | null>;

  private constructor(image: string, socket: string, options: readonly string[]) {
    this.socket = socket;
    const child = spawn(process.execPath, [main, "trace", image, "--listen", `unix:${socket}`, ...options]);
    this.#child = child;
    endWithTests(child);
    child.stdout?.setEncoding("latin1").on("data", (text: string) => {
      this.printed += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.said += text;
    });
    this.#ended = new Promise((resolve) => child.on("close", resolve));
  }

  static async start(image: string, name: string, ...options: string[]): Promise<Trace> {
    const trace = new Trace(image, join(folder, `${name}.sock`), options);
    for (const end = performance.now() + 90_000; !trace.said.includes("serving"); await sleep(20)) {
      if (performance.now() > end || trace.#child.exitCode !== null) throw new Error(trace.said);
    }
    return trace;
  }

  get url(): string {
    return `nbd+unix:///g?socket=${this.socket}`;
  }

  /** SIGINT; returns the lines that it has printed, without their times. */
  async stop(): Promise<string[]> {
    this.#child.kill("SIGINT");
    expect(await this.#ended, this.said).toBe(0);
    return this.printed.trim().split("\n");
  }
}

const untimed = (lines: readonly string[]) => lines.map((line) => line.replace(/^-?\d+\.\d{3} /, ""));

/** A disk with one partition, and a file on it that is in two pieces. */
async function disk(): Promise<{ image: string; start: (path: string) => number }> {
  const image = join(folder, "disk.img");
  if (!existsSync(image)) {
    await run("truncate", ["-s", "48M", image]);
    await run("bash", ["-c", `printf 'label: gpt\\nsize=40M\\n' | sfdisk -q ${image}`]);
    const root = join(folder, "root");
    mkdirSync(join(root, "etc"), { recursive: true });
    writeFileSync(join(root, "etc/one"), "1".repeat(20_000));
    writeFileSync(join(root, "etc/two"), "2".repeat(20_000));
    await run("mke2fs", [
      "-q",
      "-F",
      "-t",
      "ext4",
      "-b",
      "1024",
      "-d",
      root,
      "-E",
      "offset=1048576",
      image,
      "40M",
    ]);
  }
  const { stdout } = spawnSync(process.execPath, [main, "map", image, "--json"], { encoding: "utf8" });
  const ranges = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  return { image, start: (path) => ranges.find((range) => range.path === path && range.offset === 0).start };
}

test("each access is a line of what lies there; what goes on is one line", async () => {
  const { image, start } = await disk();
  const one = start("/etc/one");
  const two = start("/etc/two");
  const trace = await Trace.start(`g=${image}`, "lines");
  await run("qemu-io", [
    ...["-f", "raw", "-r"],
    ...["-c", `read ${one} 4096`, "-c", `read ${two + 4096} 8192`, "-c", `read ${one + 4096} 4096`],
    ...[
      "-c",
      "read 512 512",
      "-c",
      `read ${(1 << 20) + 1024} 1024`,
      "-c",
      `read ${47 << 20} 4096`,
      trace.url,
    ],
  ]);
  const lines = untimed(await trace.stop());
  // What qemu-io itself looks at as it opens the disk is among them.
  const expected = [
    "read 0 8192 f /dev/sda1 /etc/one",
    "read 4096 8192 f /dev/sda1 /etc/two",
    "read 1024 1024 m /dev/sda1 superblock",
    `read ${47 << 20} 4096 v /dev/sda`,
  ];
  expect(lines).toEqual(expect.arrayContaining(expected));
  expect(lines.some((line) => /^read \d+ \d+ t \/dev\/sda gpt$/.test(line))).toBe(true);
  expect(lines.filter((line) => line.includes("/etc/")).length).toBe(2);
});

test("as JSON into a file; a write changes the image, unless it is refused", async () => {
  const { image, start } = await disk();
  const one = start("/etc/one");
  const output = join(folder, "trace.json");
  const trace = await Trace.start(`g=${image}`, "json", "--json", "-o", output);
  await run("qemu-io", ["-f", "raw", "-c", `write -P 0x41 ${one + 1024} 2048`, trace.url]);
  expect((await trace.stop()).join("")).toBe("");
  const lines = readFileSync(output, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const written = lines.filter(({ operation }) => operation === "write");
  expect(written).toEqual([
    {
      time: expect.stringMatching(/^\d{4}-.*Z$/),
      operation: "write",
      offset: 1024,
      length: 2048,
      kind: "f",
      device: "/dev/sda1",
      path: "/etc/one",
      inode: expect.any(Number),
    },
  ]);
  expect(readFileSync(image).toString("latin1", one + 1024, one + 1028)).toBe("AAAA");

  const again = spawnSync(process.execPath, [main, "trace", image, "--listen", "unix:/x", "-o", output], {
    encoding: "utf8",
  });
  expect(again.stderr).toBe(
    `slashcloud: ${output}: there is a file already; name another, or move it away\n`,
  );
  expect(again.status).toBe(1);
  const nowhere = join(folder, "no.img");
  const unmade = join(folder, "unmade");
  const none = spawnSync(process.execPath, [main, "trace", nowhere, "--listen", "unix:/x", "-o", unmade], {
    encoding: "utf8",
  });
  expect(none.stderr).toMatch(/^slashcloud: .*no such image.*\n$/);
  expect(existsSync(unmade)).toBe(false);

  const refusing = await Trace.start(`g=${image}`, "read-only", "--read-only");
  await expect(
    run("qemu-io", ["-f", "raw", "-c", `write -P 0x42 ${one} 1024`, refusing.url]),
  ).rejects.toThrow();
  await refusing.stop();
  expect(readFileSync(image).toString("latin1", one, one + 4)).toBe("1111");
});

test("a guest in QEMU boots from it: the lines name the files that it reads, and those that it makes", async () => {
  const place = join(folder, "guest");
  mkdirSync(place);
  const image = await guestImage(place);
  const trace = await Trace.start(`g=${image}`, "guest");
  const machine = await Machine.qemu(trace.url, join(place, "monitor"), "writeback");
  await machine.started();
  await machine.does("lines 20");
  await machine.does("work first");
  await machine.does("rotate");
  await machine.does("work second");
  await machine.does("lines 5");
  machine.tell("off");
  await machine.ended();
  const lines = untimed(await trace.stop());
  const busybox = readFileSync("/bin/busybox").length;
  const inside = join(place, "inside");
  const unmount = await mount(image, inside, "ro,loop");
  try {
    const accesses = lines.map((line) => {
      const found = /^(read|write|zeroes|discard) (\d+) (\d+) ([a-z]) \/dev\/sda(?: (.*))?$/.exec(line);
      expect(found, line).not.toBeNull();
      const [, operation, offset, length, kind, what] = found as RegExpExecArray;
      return { operation, offset: Number(offset), length: Number(length), kind, what };
    });
    const of = (operation: string, kind: string, what: string) =>
      accesses.filter((one) => one.operation === operation && one.kind === kind && one.what === what);
    const sum = (list: readonly { length: number }[]) => list.reduce((all, { length }) => all + length, 0);

    // Reading: its programs, the metadata that leads to them.
    expect(of("read", "f", "/sbin/init").length).toBeGreaterThan(0);
    const program = of("read", "f", "/bin/busybox");
    expect(sum(program)).toBeGreaterThan(busybox / 4);
    const blockSize = 1024;
    for (const { offset, length } of program)
      expect(offset + length).toBeLessThanOrEqual(Math.ceil(busybox / blockSize) * blockSize);
    expect(of("read", "d", "/bin").length).toBeGreaterThan(0);
    expect(of("read", "m", "superblock").length).toBeGreaterThan(0);
    expect(of("read", "m", "inode-table").length).toBeGreaterThan(0);

    // Writing: the journal, the log under the names that it had, and what is new.
    expect(sum(of("write", "m", "journal"))).toBeGreaterThan(50_000);
    expect(of("write", "f", "/var/log/app.log").length).toBeGreaterThan(0);
    const eight = of("write", "f", "/srv/second/8");
    const { size } = statSync(join(inside, "srv/second/8"));
    expect(sum(eight)).toBeGreaterThanOrEqual(size);
    // Nobody's are only what was gone again before it was committed whose it was.
    const nobodys = accesses.filter(({ operation, kind }) => operation === "write" && kind === "u");
    const data = accesses.filter(({ operation, kind }) => operation === "write" && kind === "f");
    expect(sum(nobodys)).toBeLessThan(sum(data) / 4);
  } finally {
    unmount();
  }
});
